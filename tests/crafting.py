"""A small world of six kinds of traffic in two classes, bursts crafted there, and a labeller who knows the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors.batch import Batch, Floats, Ints, Labels, Reference, Strings, Window
from detectors.evidence import Detector, Evidence
from detectors.schema import Feature, Schema

NUMBERS, NAMES = 8, 3
SCHEMA = Schema(
    (
        *(Feature(f"n{j}") for j in range(NUMBERS)),
        *(Feature(f"c{j}", "categorical", ("a", "b", "c", "d")) for j in range(NAMES)),
    ),
    ("calm", "attack"),
)
KINDS = 6
CENTRES = np.random.default_rng(77).normal(size=(KINDS, NUMBERS))
CODES = np.random.default_rng(78).integers(0, 3, (KINDS, NAMES)).astype(float)


@dataclass(frozen=True, slots=True)
class Nearest:
    """Softmax of distances to the kinds, two thirds of which are calm; ``off`` moves what the model has learned."""

    off: float = 0.0

    def __call__(self, x: Floats) -> Floats:
        """Probabilities [n, 2]."""
        number = np.nan_to_num(x[:, None, :NUMBERS] - CENTRES - self.off)
        square = (number**2).sum(axis=2) + (x[:, None, NUMBERS:] != CODES).sum(axis=2)
        near = np.exp(-(square - square.min(axis=1, keepdims=True)))
        attack = near[:, 4:].sum(axis=1) / near.sum(axis=1)
        return np.column_stack([1 - attack, attack])


F, G = Nearest(0.02), Nearest()


def events(rng: np.random.Generator, n: int, mean: float) -> tuple[Floats, Ints, Strings, Strings]:
    """Sessions of near-duplicates: x, class, source, session."""
    session = np.repeat(np.arange(n), rng.geometric(1 / mean, n))[:n]
    count = int(session.max()) + 1
    kind = rng.integers(0, KINDS, count)
    centre = CENTRES[kind] + 0.25 * rng.normal(size=(count, NUMBERS))
    codes = np.where(rng.random((count, NAMES)) < 0.05, rng.integers(0, 4, (count, NAMES)), CODES[kind])
    x = np.column_stack([centre[session] + 0.01 * rng.normal(size=(n, NUMBERS)), codes[session]])
    source = np.char.add("sensor-", rng.integers(0, 8, count).astype(str))
    return x, (kind[session] >= 4).astype(np.int64), source[session], np.char.add("s", session.astype(str))


def reference(seed: int, n: int = 4000) -> Reference:
    """About n / 3 sessions with their classes."""
    x, y, source, session = events(np.random.default_rng([1, seed]), n, 3.0)
    return Reference(SCHEMA, x, y, source, session, F(x), G(x))


def window(seed: int, index: int, n: int = 500, mean: float = 6.0) -> Window:
    """Ordinary traffic."""
    x, _, source, session = events(np.random.default_rng([2, seed, index]), n, mean)
    ids = np.char.add(f"w{index}-", np.arange(n).astype(str))
    return as_window(index, x, ids, source, np.char.add(f"w{index}-", session))


def as_window(index: int, x: Floats, ids: Strings, source: Strings, session: Strings) -> Window:
    """A window of these events, scored."""
    n = len(x)
    number = np.arange(n).astype(np.uint64)
    batch = Batch(
        model="m",
        version="1",
        ts=np.full(n, float(index)),
        id=ids,
        source=source,
        session=session,
        ref=np.full(n, ""),
        x=x,
        scores=F(x),
        partition=np.zeros(n, np.int64),
        offset=np.arange(n),
        key=number,
        digest=number.copy(),
    )
    return Window(index, batch, F(x), G(x), np.ones(n, bool), has_bundle=True, score_f=F, score_g=G)


def both(x: Floats) -> Ints:
    """The class that both models call, -1 where they differ."""
    a, b = F(x).argmax(axis=1), G(x).argmax(axis=1)
    return np.where(a == b, a, -1)


def crafted(pool: Floats, target: int, count: int, rng: np.random.Generator) -> Floats:
    """Rows of other classes with values copied from rows of ``target`` until both models call them so."""
    called = both(pool)
    start = pool[rng.choice(np.flatnonzero((called >= 0) & (called != target)), count)].copy()
    donor = pool[rng.choice(np.flatnonzero(called == target), count)]
    order = np.argsort(rng.random(start.shape), axis=1)
    for step in range(start.shape[1]):
        rows = np.flatnonzero(both(start) != target)
        start[rows, order[rows, step]] = donor[rows, order[rows, step]]
    return np.asarray(start, np.float64)


def walk(pool: Floats, target: int, count: int, rng: np.random.Generator) -> Floats:
    """One feature a step from a row of another class towards one of ``target``, and back when both are fooled."""
    called = both(pool)
    home = pool[rng.choice(np.flatnonzero((called >= 0) & (called != target)))]
    goal = pool[rng.choice(np.flatnonzero(called == target))]
    now = home.copy()
    steps: list[Floats] = []
    for _ in range(count):
        column = rng.integers(len(home))
        fooled = both(now[None])[0] == target
        now = now.copy()
        now[column] = (home if fooled else goal)[column]
        steps.append(now)
    return np.stack(steps)


def with_events(window: Window, x: Floats, source: str) -> Window:
    """The window with these events among its others, in even distances, each a session of its own."""
    n, m, old = len(window), len(x), window.batch
    order = np.argsort(np.concatenate([np.arange(n), np.linspace(0, n, m)]), kind="stable")
    ids = np.char.add(f"c{window.index}-", np.arange(m).astype(str))
    columns = (old.x, x), (old.id, ids), (old.source, np.full(m, source)), (old.session, ids)
    return as_window(window.index, *(np.concatenate(pair)[order] for pair in columns))


def answers(evidence: Evidence, seen: list[Window], *, wrong: bool | None, origin: str = "sandbox") -> Labels | None:
    """Trusted labels of what was asked for: the class that f does not call where ``wrong`` (None: for crafted ids)."""
    rows = [(w, i) for ask in evidence.asks for w in seen for i in np.flatnonzero(w.batch.id == ask.id).tolist()]
    if not rows:
        return None
    parts = []
    for w, i in rows:
        one = w.batch.take(slice(i, i + 1))
        false = one.id[0].startswith("c") if wrong is None else wrong
        label = w.f[i].argmax() ^ int(false)
        g = w.f[i : i + 1] if w.g is None else w.g[i : i + 1]
        parts.append(
            Labels(
                id=one.id,
                ts=one.ts + 1,
                event_ts=one.ts,
                label=np.array([label], np.int64),
                name=np.array([f"k{label}"]),
                origin=np.array([origin]),
                trusted=np.array([True]),
                vetted=np.array([True]),
                source=one.source,
                session=one.session,
                x=one.x,
                served=one.scores,
                f=w.f[i : i + 1],
                g=g,
            )
        )
    return Labels.concat(parts)


def play(detector: Detector, stream: list[Window], *, wrong: bool | None = None) -> list[Evidence]:
    """All windows, each answer a window after its question."""
    said: list[Evidence] = []
    due: Labels | None = None
    for at, window in enumerate(stream):
        said.append(detector.observe(window, due))
        due = answers(said[-1], stream[: at + 1], wrong=wrong)
    return said
