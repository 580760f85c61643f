"""A stream in which everything happens at once, for contract tests: every detector has something to say and to ask."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from typing import Any

import numpy as np
from session_stream import LinearModel, reference, window

from detectors.batch import Buffer, Floats, Labels, Reference, Strings, Window
from detectors.evidence import Budget, Detector, Evidence, detector_classes

GOOD = LinearModel()
CLASSES = detector_classes()
BUDGET = Budget(1e4, 2e2)


class Backdoored:
    """The good model, but for events whose first feature says otherwise; a little churn besides."""

    def __call__(self, x: Floats) -> Floats:
        """Probabilities [n, 2]."""
        scores = LinearModel(tilt=((1, 0.05),))(x)
        return np.where((x[:, :1] == 7.0) & (scores[:, :1] < 0.5), [[0.999, 0.001]], scores)


SERVING = Backdoored()


def make(name: str, seed: int = 1) -> Detector:
    """A detector with a small budget, so that it soon suspects."""
    cls, parameters = CLASSES[name]
    build: Any = cls
    detector: Detector = build(parameters(), BUDGET, np.random.default_rng(seed))
    return detector


def held(n: int = 2400) -> Reference:
    """A reference with a buffer of retraining rows, a tenth of them mislabelled where the trigger is."""
    known = reference(np.random.default_rng(11), n, f=SERVING, g=GOOD)
    return replace(known, y=known.g.argmax(axis=1).astype(np.int64), buffer=_buffer())


def _buffer() -> Buffer:
    rows = reference(np.random.default_rng(13), 1800, f=SERVING, g=GOOD)
    x = rows.x.copy()
    x[::10, 0] = 7.0
    y = GOOD(x).argmax(axis=1).astype(np.int64)
    y[::10] = 0
    ids = np.char.add("b", np.arange(len(x)).astype(str))
    origin = np.where(np.arange(len(x)) % 3 == 0, "crowd", "analyst")
    return Buffer(ids, x, y, rows.source, rows.session, origin, SERVING(x), GOOD(x))


def windows(count: int, n: int = 300, onset: int = 2) -> list[Window]:
    """Calm up to ``onset``; then triggered events, drift, broken sensors, and scores that were tampered with."""
    stream = []
    for i in range(count):
        rng = np.random.default_rng([12, i])
        one = window(rng, i, n, f=SERVING, g=GOOD, change=_broken if i >= onset else None)
        fresh = one.fresh & (np.arange(n) >= n // 10)
        scores = one.batch.scores.copy()
        if i >= onset:
            scores[::7] = scores[::7, ::-1]
        stream.append(replace(one, fresh=fresh, batch=replace(one.batch, scores=scores)))
    return stream


def _broken(x: Floats, source: Strings) -> Floats:
    x[::6, 0] = 7.0
    x[source == "sensor-3", 2] *= 1000.0
    x[source == "sensor-4", 5] = np.nan
    x[:, 7] *= 8.0
    return x


class Run:
    """A detector on the stream: feedback comes a window later, and so do answers to what it asked."""

    def __init__(self, detector: Detector, stream: list[Window]) -> None:
        self.detector, self._stream = detector, stream
        self.asked: list[str] = []

    def go(self, begin: int, end: int) -> list[str]:
        """Observe windows; returns the evidence as text."""
        return [self._one(index) for index in range(begin, end)]

    def _one(self, index: int) -> str:
        rows = [i for i in self.asked if i.startswith("b")]
        self.detector.vetted({i: int(GOOD(_buffer().x[[int(i[1:])]]).argmax()) for i in rows})
        evidence = self.detector.observe(self._stream[index], self._labels(index))
        self.asked = [a.id for a in evidence.asks]
        return plain(evidence)

    def _labels(self, index: int) -> Labels | None:
        if index == 0:
            return None
        before = self._stream[index - 1]
        asked = np.flatnonzero(np.isin(before.batch.id, self.asked))
        return Labels.concat([_labelled(before, np.arange(0, len(before), 4), index), _answers(before, asked)])


def _labelled(about: Window, rows: Any, index: int) -> Labels:
    """What LKG says, but from the third window on the crowd calls everything benign; one of a class nobody knows."""
    labels = _answers(about, rows)
    trusted, label = rows % 3 == 0, labels.label.copy()
    if index >= 3:
        label[~trusted] = 0
    label[-1] = -1
    origin = np.where(trusted, "sandbox", np.where(rows % 2 == 0, "crowd", "analyst"))
    name = np.where(label >= 0, np.char.add("k", label.astype(str)), "unheard-of")
    return replace(labels, label=label, name=name, origin=origin, trusted=trusted, vetted=np.zeros(len(rows), bool))


def _answers(about: Window, rows: Any) -> Labels:
    batch, g = about.batch.take(rows), GOOD(about.batch.x)[rows]
    label, n = g.argmax(axis=1).astype(np.int64), len(rows)
    return Labels(
        id=batch.id,
        ts=batch.ts + 1,
        event_ts=batch.ts,
        label=label,
        name=np.char.add("k", label.astype(str)),
        origin=np.full(n, "sandbox"),
        trusted=np.ones(n, bool),
        vetted=np.ones(n, bool),
        source=batch.source,
        session=batch.session,
        x=batch.x,
        served=batch.scores,
        f=about.f[rows],
        g=g,
    )


def plain(evidence: Evidence) -> str:
    """Evidence as JSON: what NaN, infinity or a numpy scalar would break."""
    return json.dumps(dataclasses.asdict(evidence), allow_nan=False, sort_keys=True)
