"""Probing: walks of one or two features a step that go to and fro over the boundary of both models."""

from __future__ import annotations

from separation.crafted import BURSTS, probe
from separation.episode import Episode
from separation.world import Setting

STRENGTHS = BURSTS


def build(setting: Setting, *, size: int, sources: int, direction: str = "hide", mean: float = 1.0) -> Episode:
    """See above."""
    return probe(setting, size=size, sources=sources, direction=direction, mean=mean)
