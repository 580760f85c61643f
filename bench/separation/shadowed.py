"""Where no version is known to be good: a shadow that learns one half of the reference, compared on the other half."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from separation.episode import Episode
from separation.models import fit
from separation.world import Events, World


class HalvedWorld:
    """A world whose reference is one half of it, by whole sessions; all else is as it was."""

    def __init__(self, world: World, reference: Events) -> None:
        self._world = world
        self.reference = reference

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)


def shadowed(episode: Episode, seed: int) -> Episode:
    """The same episode with a shadow (a small network) in place of the good model."""
    world = episode.world
    known = world.reference
    names = np.unique(known.session)
    learned = np.isin(known.session, np.random.default_rng([seed, 5]).permutation(names)[: len(names) // 2])
    shadow = fit("mlp", world.schema, known.x[learned], known.y[learned], seed)
    halved: Any = HalvedWorld(world, known.take(np.flatnonzero(~learned)))
    return replace(episode, world=halved, score_g=shadow)
