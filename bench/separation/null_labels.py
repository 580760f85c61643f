"""`label_agreement` on honest labels, a session each, many at a time: it looks at nothing else."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.special import ndtri

from detectors.batch import Batch, Floats, Labels, Reference, Window
from detectors.evidence import Budget
from detectors.label_agreement import LabelAgreement, Parameters
from detectors.schema import Feature, Schema
from separation.crossings import Crossings, Law

_SCHEMA: Final = Schema(tuple(Feature(f"n{j}") for j in range(4)), ("benign", "attack"))
_NOISE: Final = 0.01
_TRUSTED: Final = 0.2
_BATCH: Final = 200


def label_votes(rng: np.random.Generator, law: Law, streams: int, votes: int, budget: Budget) -> Crossings:
    """The good model errs unequally (a fifth of the inputs holds most errors), honest labellers err in 1% besides.

    After an alarm the detector is fitted again; it asks once until then.
    """
    counted = Crossings()
    for _ in range(streams):
        detector = LabelAgreement(Parameters(), budget, np.random.default_rng(rng.integers(2**31)))
        known = _reference(rng, law.sessions)
        detector.fit(known)
        window, asked, alarmed = _empty(known), False, False
        for number in range(-(-votes // _BATCH)):
            evidence = detector.observe(window, _labels(rng, number))
            counted.votes += _BATCH
            counted.requests += int(evidence.suspects and not asked)
            asked = evidence.suspects
            if evidence.status == "fired":
                counted.alarms += 1
                alarmed, asked = True, False
                detector.fit(known)
        counted.bad += int(alarmed)
    return counted


def _scores(x: Floats) -> Floats:
    one = 1 / (1 + np.exp(-3 * (x[:, 0] + x[:, 1])))
    return np.column_stack([1 - one, one])


def _given(rng: np.random.Generator, x: Floats, noise: float) -> np.ndarray:
    label = _scores(x).argmax(axis=1).astype(np.int64)
    rate = np.where(x[:, 2] > ndtri(0.8), 0.02, 0.002)
    return np.where(rng.random(len(x)) < rate * (1 - noise) + noise, 1 - label, label)


def _reference(rng: np.random.Generator, n: int) -> Reference:
    x = rng.standard_normal((n, 4))
    g, session = _scores(x), np.char.add("r", np.arange(n).astype(str))
    return Reference(_SCHEMA, x, _given(rng, x, 0.0), _sources(rng, n), session, g, g.copy())


def _sources(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.char.add("sensor-", rng.integers(0, 12, n).astype(str))


def _labels(rng: np.random.Generator, number: int) -> Labels:
    x, n = rng.standard_normal((_BATCH, 4)), _BATCH
    label, trusted, g = _given(rng, x, _NOISE), rng.random(n) < _TRUSTED, _scores(x)
    ids = np.char.add(f"w{number}-", np.arange(n).astype(str))
    return Labels(
        id=ids,
        ts=np.full(n, float(number)),
        event_ts=np.full(n, float(number)),
        label=label,
        name=np.array(_SCHEMA.classes)[label],
        origin=np.where(trusted, "sandbox", np.char.add("analyst-", rng.integers(0, 4, n).astype(str))),
        trusted=trusted,
        vetted=np.zeros(n, np.bool_),
        source=_sources(rng, n),
        session=ids.copy(),
        x=x,
        served=g.copy(),
        f=g.copy(),
        g=g,
    )


def _empty(known: Reference) -> Window:
    none, text = np.zeros(0), np.zeros(0, "<U1")
    x, scores = np.zeros((0, known.x.shape[1])), np.zeros((0, 2))
    number, key = np.zeros(0, np.int64), np.zeros(0, np.uint64)
    columns = (none, text, text.copy(), text.copy(), text.copy(), x, scores, number, number.copy(), key, key.copy())
    batch = Batch("m", "1", *columns)
    return Window(0, batch, scores, scores, np.zeros(0, np.bool_))
