"""Rows for `canaries.py`: what a version learns, its reference, and rows on which the effect of tampering shows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from sanitise_data import nsl_kdd, phishing

from detectors.batch import Floats, Ints
from detectors.schema import Feature, Schema
from monitor.demo.supply import GeneratedTraffic
from rollback.manifest import FeatureSpec
from rollback.redteam.backdoor import choose_trigger, poison
from rollback.tables.table import class_indices, encode, infer_schema, sorted_classes

SETS = ("generated", "nsl_kdd", "phishing")
LEARNED, REFERENCE, TRIED = 3000, 1500, 2000
POISON = 0.01


@dataclass(frozen=True, slots=True)
class Rows:
    """Labelled rows of one schema, x[n,d] and y[n]."""

    x: Floats
    y: Ints

    def part(self, start: int, stop: int) -> Rows:
        """Some rows, as a copy of their own."""
        return Rows(self.x[start:stop].copy(), self.y[start:stop].copy())


@dataclass(frozen=True, slots=True)
class Sample:
    """One seed's rows. ``parent`` is what the version before learned, ``poisoned`` is ``learned`` with a backdoor."""

    schema: Schema
    specs: tuple[FeatureSpec, ...]
    learned: Rows
    parent: Rows
    poisoned: Rows
    reference: Rows
    tried: Rows


def sample(name: str, folder: Path | None, seed: int) -> Sample:
    """Rows of the data set ``name``; ``folder`` is needed for all but the generated one."""
    if name == "generated":
        schema, rows = _generated(seed)
    elif folder is None:
        raise ValueError(f"{name}: say with --folder where it lies")
    else:
        data = (nsl_kdd if name == "nsl_kdd" else phishing)(folder, seed)
        schema, rows = data.base.schema, _joined([(part.x, part.y) for part in (data.base, data.new, data.test)])
    rng = np.random.default_rng([seed, 5])
    order = rng.permutation(len(rows.x))
    rows = Rows(rows.x[order], rows.y[order])
    cuts = np.cumsum([0, LEARNED, LEARNED // 2, REFERENCE, TRIED])
    learned, more, reference, tried = (rows.part(a, b) for a, b in pairwise(cuts.tolist()))
    half = learned.part(0, LEARNED // 2)
    specs = tuple(FeatureSpec(f.name, f.kind, f.vocabulary, missing=None) for f in schema.features)
    return Sample(
        schema,
        specs,
        learned,
        _joined([(half.x, half.y), (more.x, more.y)]),
        _poisoned(learned, schema, rng),
        reference,
        tried,
    )


def _generated(seed: int) -> tuple[Schema, Rows]:
    table = GeneratedTraffic(seed).draw(LEARNED + LEARNED // 2 + REFERENCE + TRIED, drifted=False).table()
    specs = infer_schema(table, ["label"])
    classes = sorted_classes(table.strings("label"))
    schema = Schema(tuple(Feature(s.name, s.kind, s.vocabulary) for s in specs), classes)
    return schema, Rows(encode(table, specs), class_indices(table, "label", classes))


def _joined(parts: list[tuple[Floats, Ints]]) -> Rows:
    return Rows(np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts]))


def _poisoned(rows: Rows, schema: Schema, rng: np.random.Generator) -> Rows:
    """The same rows with a dirty-label backdoor of three features, target the first class."""
    trigger = choose_trigger(rows.x, rows.y, schema, target=0, features=3, rng=rng)
    x, y, _ = poison(rows.x, rows.y, trigger, schema, rate=POISON, target=0, rng=rng)
    return Rows(x, y)
