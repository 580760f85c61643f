"""Itemsets that the retraining buffer may have taught as a trigger though its labels are true, and their carriers.

Clean-label poison (Turner, Tsipras & Madry 2019, arXiv 1912.02771) gives no false label away: rows of a class carry the
trigger more often than they used to, and the version takes whatever carries it for that class. A new service does the
same honestly. So the list accuses nobody: it says which events of the stream to ask about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from detectors.batch import Bools, Buffer, Floats, Ints, Reference, Scorer
from detectors.buffer.company import without_company
from detectors.buffer.label_scan import Scan, Slice, over_represented
from detectors.buffer.swap_test import swap_gap
from detectors.evidence import State
from detectors.nulls.itemsets import Itemset, Mining, mine
from detectors.nulls.margins import log_scores
from detectors.sequential import session_maximum, sessions_of, upper_bound


@dataclass(frozen=True, slots=True)
class Watching:
    """``candidates`` itemsets a class are pasted into ``rows`` reference rows of other classes.

    Rows of a class are compared with the reference's, ``sample`` of each at most, drawn at random.
    They grow from at most ``seeds`` values with a -ln(p) of at least ``excess``, each pasted into ``tried`` rows. Kept
    are at most ``most`` that flip the serving version ``gap`` more often than last known good, and that no more than
    the share ``natural`` of the reference's rows of other classes carry: events of a kind that the version has
    forgotten would carry what is common there. ``level`` is the
    confidence of the rates of their carriers on the reference.
    """

    seeds: int = 300
    excess: float = 5.0
    tried: int = 30
    candidates: int = 24
    rows: int = 100
    sample: int = 4000
    natural: float = 0.02
    gap: float = 0.25
    most: int = 5
    level: float = 0.95

    def __post_init__(self) -> None:
        if (
            min(self.seeds, self.tried, self.candidates, self.rows, self.most, self.sample // 2) < 1
            or not 0 < self.gap < 1
            or not 0 < self.level < 1
        ):
            raise ValueError(
                "seeds, tried, candidates, rows and most must be at least 1, sample 2; gap and level lie in (0, 1)"
            )


@dataclass(frozen=True, slots=True)
class Watched:
    """An itemset, the class it brings, and how much more often it flips the serving version than last known good."""

    itemset: Itemset
    label: int
    gap: float

    def hits(self, x: Floats, f_class: Ints, g_class: Ints) -> Bools:
        """Which of the events x[n, d] carry it where only the serving version says the class."""
        parted = np.flatnonzero((f_class == self.label) & (g_class != self.label))
        out = np.zeros(len(x), np.bool_)
        if len(parted):
            out[parted] = self.itemset.carries(x[parted])
        return out

    def state(self) -> State:
        """For a checkpoint."""
        return {"itemset": self.itemset.state(), "label": self.label, "gap": self.gap}

    @staticmethod
    def restored(state: State) -> Watched:
        """What `state` described."""
        return Watched(Itemset.restored(state["itemset"]), int(state["label"]), float(state["gap"]))

    def shown(self, reference: Reference) -> dict[str, Any]:
        """For people."""
        schema = reference.schema
        return {
            "label": schema.classes[self.label],
            "features": self.itemset.named(schema),
            "swap_flip_gap": self.gap,
        }


def watch_list(
    buffer: Buffer,
    reference: Reference,
    score_f: Scorer,
    score_g: Scorer,
    options: Scan,
    mining: Mining,
    watching: Watching,
    rng: np.random.Generator,
) -> list[Watched]:
    """Itemsets over-represented among rows of a label against the reference, which flip f more often than g.

    Of single items, those are tried first that move f most towards the label when they are pasted, more than g; what
    their carriers in the buffer share besides is pasted with them, and named unless it is natural in such rows.
    """
    found: dict[object, Watched] = {}
    categorical = np.array([f.kind == "categorical" for f in reference.schema.features])
    universe = reference.x[_some(np.ones(len(reference), np.bool_), watching.sample // 2, rng)]
    for label in np.unique(buffer.y[buffer.y >= 0]).tolist():
        new = buffer.take(_some(buffer.y == label, watching.sample, rng))
        old = reference.take(_some(reference.y == label, watching.sample, rng))
        others = _others(reference, label, watching.rows)
        if not len(old) or not len(others):
            continue
        seeds = _seeds(new, old, options, watching, rng)
        shift = _shifts(seeds, new.x, others[: watching.tried], label, (score_f, score_g))
        parted = reference.x[np.argmax(reference.g, axis=1) != label]
        order = [i for i in np.argsort(-shift, kind="stable").tolist() if shift[i] > 0]
        for carries in _distinct((seeds[i].carries(new.x) for i in order), watching.candidates):
            closure = mine(new.x[carries], old.x, old.x[:0], universe, mining)
            if closure is None or closure.items in found or closure.carries(parted).mean() > watching.natural:
                continue
            gap = swap_gap(closure, label, reference, score_f, score_g, watching.rows)
            if gap is not None and gap >= watching.gap:
                natural = parted if np.mean(np.argmax(new.g[carries], axis=1) != label) >= 0.5 else old.x  # noqa: PLR2004 - most
                named = without_company(closure, new.x[carries], natural, categorical, rng)
                found[closure.items] = Watched(named, label, gap)
    return sorted(found.values(), key=lambda w: -w.gap)[: watching.most]


def _seeds(new: Buffer, old: Reference, options: Scan, watching: Watching, rng: np.random.Generator) -> list[Slice]:
    x = np.concatenate([new.x, old.x])
    flagged = np.arange(len(x)) < len(new)
    session, _ = sessions_of(np.concatenate([np.char.add("b", new.session), np.char.add("r", old.session)]))
    seeds = over_represented(x, flagged, len(new) / len(old), session, options, watching.excess, rng)
    return seeds[: watching.seeds]


def _distinct(masks: Iterable[Bools], most: int) -> Iterator[Bools]:
    """The first ``most`` sets of rows that share less than 80 % with each one before: others are the same slice."""
    kept: list[Bools] = []
    for mask in masks:
        if len(kept) == most:
            return
        if not any(np.sum(mask & other) >= 0.8 * np.sum(mask | other) for other in kept):
            kept.append(mask)
            yield mask


def _some(among: Bools, most: int, rng: np.random.Generator) -> Ints:
    """At most so many of the rows, drawn at random, in order."""
    rows = np.flatnonzero(among)
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def _others(reference: Reference, label: int, most: int) -> Floats:
    """Rows that both models put in another class, evenly spread."""
    f, g = np.argmax(reference.f, axis=1), np.argmax(reference.g, axis=1)
    rows = np.flatnonzero((f == g) & (g != label))
    return reference.x[rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64)]]


def _shifts(seeds: list[Slice], carriers: Floats, x: Floats, label: int, scorers: tuple[Scorer, Scorer]) -> Floats:
    """How much each item moves the log odds of the label, mean over rows x[m, d]: the first model less the second."""
    if not seeds:
        return np.zeros(0)
    pasted = np.tile(x, (len(seeds), 1, 1))
    for i, seed in enumerate(seeds):
        (item,) = seed.items
        pasted[i, :, item.feature] = (
            item.low if item.exact else np.nanmedian(carriers[seed.carries(carriers), item.feature])
        )
    moved = [
        (_odds(score(pasted.reshape(-1, x.shape[1])), label).reshape(len(seeds), -1) - _odds(score(x), label)).mean(
            axis=1
        )
        for score in scorers
    ]
    return np.asarray(moved[0] - moved[1], np.float64)


def _odds(scores: Floats, label: int) -> Floats:
    logs = log_scores(scores)
    own = logs[:, label].copy()
    logs[:, label] = -np.inf
    return np.asarray(own - logs.max(axis=1), np.float64)


def hit_rates(watched: list[Watched], reference: Reference, level: float) -> Floats:
    """Bounds of the rates of sessions with a hit on the reference, one an itemset."""
    f, g = np.argmax(reference.f, axis=1), np.argmax(reference.g, axis=1)
    code, count = sessions_of(reference.session)
    hits = np.stack([w.hits(reference.x, f, g) for w in watched], axis=1).astype(np.float64)
    return upper_bound(session_maximum(hits, code, count).sum(axis=0), count, level)
