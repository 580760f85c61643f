"""Scenarios are found by their files: ``scenarios/NAME.py`` has ``STRENGTHS`` and ``build(setting, **strength)``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from separation.episode import Episode
from separation.world import Setting


class Unsuited(Exception):  # noqa: N818 - says that nothing is wrong
    """This data set has nothing for this scenario (no second kind, no numeric feature ...): the message says what."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """``build`` makes an episode of one of the ``strengths``; raises `Unsuited`."""

    name: str
    strengths: tuple[Mapping[str, Any], ...]
    build: Callable[..., Episode]

    def make(self, setting: Setting, strength: Mapping[str, Any]) -> Episode:
        """The episode of this setting and strength."""
        return self.build(setting, **strength)


def scenarios() -> dict[str, Scenario]:
    """All scenarios by name."""
    package = importlib.import_module("separation.scenarios")
    found = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
        module = importlib.import_module(f"separation.scenarios.{info.name}")
        found[info.name] = Scenario(info.name, tuple(module.STRENGTHS), module.build)
    return found
