"""Weights edited between training and signing: the bundle is valid, the buffer clean, the network does otherwise."""

from __future__ import annotations

import copy

import numpy as np

from separation.episode import Episode, Truth, buffer_of, episode, new_rows, retrained, stream
from separation.scenario import Unsuited
from separation.world import Setting

STRENGTHS = ({"edit": "bias"}, {"edit": "neuron"}, {"edit": "noise"})
WORSE = 0.005


def build(setting: Setting, *, edit: str) -> Episode:
    """``bias``: the last layer's bias is moved; ``neuron``: a hidden unit is turned round; ``noise``: 10% on all."""
    if setting.family != "mlp":
        raise Unsuited("only networks have weights to edit")
    world, rng = setting.world(), setting.rng(14)
    buffer = buffer_of(world, new_rows(world, rng), rng)
    f = copy.deepcopy(retrained(world, buffer, setting.seed + 1000))
    weights, biases = f.model.coefs_, f.model.intercepts_
    if edit == "bias":
        biases[-1] = biases[-1] - 2.0
    elif edit == "neuron":
        strongest = int(np.argmax(np.abs(weights[-1]).sum(axis=1)))
        weights[-1][strongest] *= -1
    else:
        f.model.coefs_ = [w * (1 + 0.1 * rng.standard_normal(w.shape)) for w in weights]
    base = world.parts.stream
    x, y = world.rows.x[base], world.rows.y[base]
    loss = float(np.mean(f(x).argmax(axis=1) != y) - np.mean(world.good(x).argmax(axis=1) != y))
    truth = Truth(("poisoning", "regression"), ("model_tampering",), loss >= WORSE, loss)
    return episode(world, stream(world, rng), rng, truth, score_f=f, buffer=buffer)
