"""All detectors as they run, on correlated sessions and an honest retrain, with labels: nothing happens."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from session_stream import NUMERIC, LinearModel, reference, window

from detectors.batch import Floats, Labels, Window
from detectors.evidence import make_detectors
from monitor.panel import Panel, Versions
from separation.crossings import Crossings, Law

WINDOWS: Final = 40
EVENTS: Final = 1000
_LABELLED: Final = 8  # one event in so many gets a label
_WRONG: Final = 0.01
_TRUSTED: Final = 0.2


class Retrained:
    """The truth with a little noise on its weights, as training on some rows of the traffic gives."""

    def __init__(self, seed: int, size: float, *, coarse: bool) -> None:
        rng = np.random.default_rng(seed)
        tilt = tuple((j, float(size * rng.normal())) for j in range(NUMERIC))
        self._model, self._coarse = LinearModel(tilt=tilt), coarse

    def __call__(self, x: Floats) -> Floats:
        """Probabilities [n, 2]; of a coarse model they are multiples of a tenth, zero and one too."""
        scores = self._model(x)
        return np.round(scores, 1) if self._coarse else scores


def watch(law: Law, seed: int, alarm: float, ask: float, windows: int = WINDOWS) -> dict[str, Crossings]:
    """Crossings of every detector, and of all together (``any``), on one stream; a detector's alarm counts once.

    ``alarm`` and ``ask`` are the model's budgets, over all detectors.
    """
    rng = np.random.default_rng([seed, 3])
    f, g = (Retrained(2 * seed + i, 0.15 * law.churn**0.5, coarse=law.coarse) for i in range(2))
    known = reference(rng, law.sessions * law.mean_session, f, g, mean_session=law.mean_session)
    known = replace(known, y=_given(rng, known.x))
    panel = Panel(Versions(known.schema, f, g, known), make_detectors(alarm, ask, seed, {}))
    found: dict[str, Crossings] = {}
    before: Window | None = None
    for index in range(windows):
        now = window(rng, index, EVENTS, f=f, g=g, mean_session=law.mean_session)
        labels = None if before is None else _feedback(rng, before)
        votes = len(np.unique(now.batch.session))
        for one in panel.observe(now, labels):
            crossings = found.setdefault(one.detector, Crossings())
            crossings.votes += votes
            crossings.alarms = crossings.bad = max(crossings.alarms, int(one.status in {"fired", "error"}))
            crossings.requests = max(crossings.requests, int(one.suspects))
        before = now
    most = max(found.values(), key=lambda c: (c.alarms, c.requests))
    alarms = max(c.alarms for c in found.values())
    found["any"] = Crossings(most.votes, alarms, max(c.requests for c in found.values()), alarms)
    return found


def _given(rng: np.random.Generator, x: Floats) -> np.ndarray:
    """Labels as honest labellers give them: the truth, one in a hundred wrong."""
    label = LinearModel()(x).argmax(axis=1).astype(np.int64)
    return np.where(rng.random(len(label)) < _WRONG, 1 - label, label)


def _feedback(rng: np.random.Generator, about: Window) -> Labels:
    assert about.g is not None  # noqa: S101 - this stream has a good model: it tells mypy
    rows = np.flatnonzero(rng.random(len(about)) < 1 / _LABELLED)
    batch, trusted = about.batch.take(rows), rng.random(len(rows)) < _TRUSTED
    label = _given(rng, batch.x)
    origin = np.where(trusted, "sandbox", np.char.add("analyst-", rng.integers(0, 4, len(rows)).astype(str)))
    f, g = about.f[rows], about.g[rows]
    return Labels(
        id=batch.id,
        ts=batch.ts + 1,
        event_ts=batch.ts,
        label=label,
        name=np.char.add("k", label.astype(str)),
        origin=origin,
        trusted=trusted,
        vetted=np.zeros(len(rows), bool),
        source=batch.source,
        session=batch.session,
        x=batch.x,
        served=batch.scores,
        f=f,
        g=g,
    )
