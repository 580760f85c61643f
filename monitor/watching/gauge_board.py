"""Gauges that tell of the latest window of each model version: written together, and gone together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from prometheus_client import Gauge


class Reading(NamedTuple):
    """A value for one series of ``gauge``; ``labels`` are those after model and version."""

    gauge: Gauge
    labels: tuple[str, ...]
    value: float


Series: TypeAlias = tuple[Gauge, tuple[str, ...]]


class GaugeBoard:
    """The readings of the latest window of each (model, version).

    A series that a window no longer has is removed, and so is every series of the version that was quiet for longest
    once there are more than ``versions``: the number of series stays bounded however long the process runs.
    """

    def __init__(self, versions: int = 32) -> None:
        self._versions = versions
        self._shown: OrderedDict[tuple[str, str], dict[Series, Gauge]] = OrderedDict()

    def show(self, model: str, version: str, readings: Iterable[Reading]) -> None:
        """Replace what is shown of this version."""
        before = self._shown.pop((model, version), {})
        now = _set(model, version, readings, before)
        _remove(model, version, before.keys() - now.keys())
        self._keep(model, version, now)

    def add(self, model: str, version: str, readings: Iterable[Reading]) -> None:
        """Show this; what else is shown of this version stays as it is."""
        before = self._shown.pop((model, version), {})
        self._keep(model, version, before | _set(model, version, readings, before))

    def _keep(self, model: str, version: str, now: dict[Series, Gauge]) -> None:
        self._shown[model, version] = now
        while len(self._shown) > self._versions:
            (old_model, old_version), series = self._shown.popitem(last=False)
            _remove(old_model, old_version, series)


def _set(model: str, version: str, readings: Iterable[Reading], known: dict[Series, Gauge]) -> dict[Series, Gauge]:
    found: dict[Series, Gauge] = {}
    for gauge, labels, value in readings:
        child = known.get((gauge, labels)) or gauge.labels(model, version, *labels)  # slow to look up
        child.set(value)
        found[gauge, labels] = child
    return found


def _remove(model: str, version: str, series: Iterable[Series]) -> None:
    for gauge, labels in series:
        gauge.remove(model, version, *labels)
