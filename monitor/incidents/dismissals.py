"""Incidents that an operator has closed: the orders, and what must not be told again because of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Final

import msgspec

from detectors.evidence import State
from monitor.incidents.fields import Face, Sighting
from monitor.incidents.severity import MOST
from monitor.messages import Incident

MOST_ORDERS: Final = 1000
"""Orders that were followed are remembered, as they are read again at each start."""


class Dismissal(msgspec.Struct, frozen=True):
    """An order to close ``incident``, given with its last message as it was published then.

    ``given_at`` is seconds since the epoch; ``id`` tells one order from the other.
    """

    id: str
    incident: Incident
    by: str
    reason: str
    given_at: float


@dataclass(slots=True)
class _Muted:
    """What was closed, how grave it was then, for how many windows it was away, and how long nothing is told of it."""

    family: str
    hypothesis: str | None
    quiet: int = 0
    severity: int = MOST
    until: float = 0.0


class Dismissed:
    """What was closed by hand, by (model, version), until it is over by itself or something else is found.

    At the longest for ``seconds`` of event time after the last message before the order: what goes on for longer
    is told again, and an order that a cold start reads once more silences nothing of today.
    """

    def __init__(self, quiet_windows: int, seconds: float) -> None:
        self._quiet_windows = quiet_windows
        self._seconds = seconds
        self._muted: dict[tuple[str, str], _Muted] = {}
        self._followed: dict[str, None] = {}

    def is_new(self, order: Dismissal) -> bool:
        """Whether this order was not followed yet."""
        return order.id not in self._followed

    def note(self, order: Dismissal) -> None:
        """This order is followed."""
        self._followed[order.id] = None
        while len(self._followed) > MOST_ORDERS:
            del self._followed[next(iter(self._followed))]

    def add(self, order: Dismissal, keys: Sequence[tuple[str, str]], face: Face, severity: int) -> None:
        """The same: from now on nothing is told of such findings, as long as they are no graver than ``severity``."""
        self.note(order)
        until = order.incident.at + self._seconds
        self._muted |= {key: _Muted(face.family, face.hypothesis, 0, severity, until) for key in keys}

    def covers(self, key: tuple[str, str], seen: Sighting, severity: int) -> bool:
        """Whether this window shows no more than what was dismissed; another finding or a graver one ends that.

        Else whoever gets something harmless dismissed could do the same on any scale, unseen.
        """
        muted = self._muted.get(key)
        if muted is None:
            return False
        if seen.at >= muted.until:
            del self._muted[key]
            return False
        if not seen.finding:
            muted.quiet += 1
            if muted.quiet >= self._quiet_windows:
                del self._muted[key]
            return True
        same = (seen.family, seen.verdict.hypothesis) == (muted.family, muted.hypothesis)
        if (same and severity <= muted.severity) or seen.family == "inconclusive":
            muted.quiet = 0
            return True
        del self._muted[key]
        return False

    def state(self) -> State:
        """For the checkpoint."""
        muted = [[*key, *astuple(each)] for key, each in self._muted.items()]
        return {"muted": muted, "followed": list(self._followed)}

    def restore(self, state: State) -> None:
        """Take back `state`."""
        self._muted = {(model, version): _Muted(*each) for model, version, *each in state.get("muted", ())}
        self._followed = dict.fromkeys(state.get("followed", ()))
