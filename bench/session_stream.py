"""A stream of correlated sessions for the tests of detectors: small, seeded, with a model that can be asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from detectors.batch import Batch, Floats, Ints, Labels, Reference, Scorer, Strings, Window
from detectors.schema import Feature, Schema

NUMERIC = 12
CATEGORICAL = 6
Change = Callable[[Floats, Strings], Floats]
_LOADINGS = np.random.default_rng(99).normal(size=(4, NUMERIC))


def schema(classes: int = 2) -> Schema:
    """12 numeric features n0.. and 6 categorical ones c0.. with 3, 6, ... values."""
    numbers = [Feature(f"n{j}") for j in range(NUMERIC)]
    names = [Feature(f"c{j}", "categorical", tuple(f"v{v}" for v in range(3 + 3 * j))) for j in range(CATEGORICAL)]
    return Schema((*numbers, *names), tuple(f"k{c}" for c in range(classes)))


@dataclass(frozen=True, slots=True)
class LinearModel:
    """Softmax of a linear function of log-like numeric features and one category; ``tilt`` adds weight by feature."""

    classes: int = 2
    tilt: tuple[tuple[int, float], ...] = ()

    def __call__(self, x: Floats) -> Floats:
        """Probabilities [n, classes]."""
        weights = (
            np.random.default_rng(5).normal(size=(NUMERIC, self.classes)) * np.array([1.0] * 6 + [0.02] * 6)[:, None]
        )
        for feature, weight in self.tilt:
            weights[feature, 0] += weight
        logits = np.nan_to_num(np.arcsinh(x[:, :NUMERIC] / 20.0)) @ weights * 0.5
        logits[:, 0] += (x[:, NUMERIC] == 0) * 0.8
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True), np.float64)


def _events(rng: np.random.Generator, n: int, mean_session: float) -> tuple[Floats, Strings, Strings]:
    """Sessions of near-duplicates (x[n, d], source, session); features of a session share four hidden causes."""
    session = np.repeat(np.arange(n), rng.geometric(1 / mean_session, n))[:n]
    count = int(session.max()) + 1
    size = np.exp(0.8 * rng.normal(size=(count, 4)) @ _LOADINGS + 0.5 * rng.normal(size=(count, NUMERIC)) + 3)
    size *= rng.random((count, NUMERIC)) < 0.9
    names = [np.minimum(rng.geometric(0.4, count), 3 + 3 * j) - 1 for j in range(CATEGORICAL)]
    source = rng.integers(0, 8, count)
    x = np.column_stack([size[session] * np.exp(0.05 * rng.normal(size=(n, NUMERIC))), np.column_stack(names)[session]])
    x[rng.random(x.shape) < 0.002] = np.nan
    return x, np.char.add("sensor-", source[session].astype(str)), np.char.add("s", session.astype(str))


def reference(
    rng: np.random.Generator,
    n: int = 6000,
    f: Scorer | None = None,
    g: Scorer | None = None,
    classes: int = 2,
    mean_session: float = 6.0,
) -> Reference:
    """A reference of ``n`` events, about n/``mean_session`` sessions."""
    f = LinearModel(classes) if f is None else f
    x, source, session = _events(rng, n, mean_session)
    scores = f(x)
    lkg = np.full_like(scores, np.nan) if g is None else g(x)
    return Reference(schema(classes), x, scores.argmax(axis=1).astype(np.int64), source, session, scores, lkg)


def window(
    rng: np.random.Generator,
    index: int,
    n: int = 1000,
    *,
    f: Scorer | None = None,
    g: Scorer | None = None,
    classes: int = 2,
    change: Change | None = None,
    asked: bool = True,
    mean_session: float = 6.0,
) -> Window:
    """A window of ``n`` events, after ``change(x, source)``; ``asked``: the model can be asked (level 2)."""
    f = LinearModel(classes) if f is None else f
    x, source, session = _events(rng, n, mean_session)
    if change is not None:
        x = change(x.copy(), source)
    number = np.arange(n)
    ids = np.char.add(f"w{index}-", number.astype(str))
    scores = f(x)
    batch = Batch(
        model="m",
        version="1",
        ts=index + number / n,
        id=ids,
        source=source,
        session=np.char.add(f"w{index}-", session),
        ref=np.full(n, ""),
        x=x,
        scores=scores,
        partition=np.zeros(n, np.int64),
        offset=index * n + number,
        key=number.astype(np.uint64),
        digest=number.astype(np.uint64),
    )
    lkg = None if g is None else g(x)
    return Window(index, batch, scores, lkg, np.ones(n, bool), asked, f if asked else None, g if asked else None)


def labelled(about: Window, rows: slice, label: Ints) -> Labels:
    """These labels of the rows of a window (with g), given a second later: by a trusted origin and another in turn."""
    batch, f, g = about.batch.take(rows), about.f[rows].copy(), np.array(about.g)[rows]
    n = len(batch)
    trusted = np.arange(n) % 2 == 0
    return Labels(
        id=batch.id,
        ts=batch.ts + 1,
        event_ts=batch.ts,
        label=np.asarray(label, np.int64),
        name=np.char.add("k", np.asarray(label, np.int64).astype(str)),
        origin=np.where(trusted, "sandbox", "crowd"),
        trusted=trusted,
        vetted=np.zeros(n, bool),
        source=batch.source,
        session=batch.session,
        x=batch.x,
        served=batch.scores,
        f=f,
        g=g,
    )
