"""A categorical feature has a value that nobody knew, beside all the old ones, at one source or all."""

from __future__ import annotations

from separation.episode import Episode
from separation.faults import Hit, changed_episode, kind_of, unseen
from separation.world import SOURCES, Setting

STRENGTHS = ({}, {"sources": SOURCES}, {"share": 0.5})


def build(setting: Setting, *, share: float = 0.2, sources: int = 1) -> Episode:
    """``share`` of the events have it."""
    return changed_episode(
        setting,
        47,
        Hit(sources),
        lambda world, _past, j: kind_of(world, j) == "categorical",
        lambda *_: lambda x, rng: unseen(x, rng.random(len(x)) < share),
        ("drift", "stable"),
    )
