"""Data sets as a trusted base, batches of new rows of several sources, and rows to test on.

Nothing here knows what a data set is about: any table that `separation.tables` reads will do. Sources are eight mixes
of clusters, as in `sanitise_data`; the generated traffic has sensors and sessions of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sanitise_data import eight_sources, phishing
from separation import tables

from detectors.batch import Bools, Strings
from detectors.schema import Feature, Schema
from monitor.demo.flows import table as flow_table
from monitor.demo.traffic import TrafficConfig, generate
from rollback.reference import reference_rows
from rollback.sanitise.conformal import session_folds
from rollback.sanitise.rows import Rows
from rollback.tables.table import Table, infer_schema

BASE = 0.6
"""Of ``rows`` so many are the trusted base, the others a batch of new ones."""
TEST = 3000
LARGEST_FAMILY = 0.3
"""A family that is held out is the largest one with at most this share of its class."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows and the family of each."""

    rows: Rows
    family: Strings

    def take(self, mask: Bools) -> Part:
        """Some of them."""
        return Part(self.rows.take(mask), self.family[mask])


@dataclass(frozen=True, slots=True)
class Buffers:
    """``batches`` are new rows (one batch, or one a round). ``benign`` is the class that lets things pass.

    ``redrawn``: the table is too small for batches of their own, so that a row can be in several of them.
    """

    name: str
    seed: int
    base: Part
    batches: tuple[Part, ...]
    test: Part
    benign: int
    redrawn: bool = False

    def without(self, family: str) -> Buffers:
        """The base has no row of that family, and all new ones come from one source."""
        new = self.batches[0]
        names, counts = np.unique(new.rows.source[new.family == family], return_counts=True)
        source = np.where(new.family == family, names[counts.argmax()], new.rows.source)
        moved = Part(replace(new.rows, source=source), new.family)
        return replace(self, base=self.base.take(self.base.family != family), batches=(moved, *self.batches[1:]))

    def family_of(self, *, benign: bool) -> str | None:
        """The largest family of the benign (or of the other) classes that is no large part of them; None without."""
        known, new = self.base, self.batches[0]
        own = (known.rows.y == self.benign) == benign
        names, counts = np.unique(known.family[own], return_counts=True)
        coming = {name: np.count_nonzero(new.family == name) for name in names.tolist()}
        fit = [i for i, n in enumerate(names.tolist()) if counts[i] <= LARGEST_FAMILY * own.sum() and coming[n] >= 20]
        return str(names[max(fit, key=lambda i: counts[i])]) if fit else None


def load(name: str, folder: Path | None, seed: int, rows: int, batches: int = 1) -> Buffers:
    """The data set of this name, drawn (or generated) by the seed. Raises `KeyError` for an unknown one."""
    if name == "generated":
        return _generated(seed, rows, batches)
    whole, family, benign = _phishing(folder, seed) if name == "phishing" else _any(name, folder, seed)
    base, batch = round(BASE * rows), rows - round(BASE * rows)
    test = min(TEST, len(whole) // 4)
    rng = np.random.default_rng([seed, 21])
    order = rng.permutation(len(whole))
    pool = order[base + test :]
    batch = min(batch, len(pool))
    redrawn = len(pool) < batches * batch
    # one after another while they last, else each a draw of its own from all that are left
    several = [rng.permutation(pool)[:batch] if redrawn else pool[i * batch :][:batch] for i in range(batches)]
    parts = [Part(whole.take(at), family[at]) for at in (order[:base], order[base : base + test], *several)]
    return Buffers(name, seed, parts[0], tuple(parts[2:]), parts[1], benign, redrawn)


def _any(name: str, folder: Path | None, seed: int) -> tuple[Rows, Strings, int]:
    read = tables.load(name, folder, seed)
    rng = np.random.default_rng([seed, 20])
    picked = rng.permutation(len(read))[:40_000]
    x = read.x[picked]
    session = np.char.add("s", np.arange(len(picked)).astype(np.str_))
    rows = Rows(schema=read.schema, x=x, y=read.y[picked], source=eight_sources(x, rng), session=session)
    return rows, read.kind[picked], read.benign


def _phishing(folder: Path | None, seed: int) -> tuple[Rows, Strings, int]:
    """With its 30 attributes as categories; families are clusters of each class."""
    if folder is None:
        raise ValueError("phishing needs a data folder")
    read = phishing(folder, seed)
    rows = Rows.concat([read.base, read.new, read.test])
    # the classes' own clusters stand in for families, of which the table says nothing
    kind = tables.clusters(rows.x, rows.y, np.random.default_rng([seed, 20]))
    return rows, kind, 0


def _generated(seed: int, rows: int, batches: int) -> Buffers:
    """Sessions of similar flows, seen by twelve sensors."""
    base, batch = round(BASE * rows), rows - round(BASE * rows)
    wanted = base + TEST + batches * batch
    flows = generate(TrafficConfig(), np.random.default_rng([seed, 20]), wanted, 1.7e9 + seed)
    columns = Table("flows", flow_table(flows), np.arange(wanted))
    specs = infer_schema(columns, exclude=["id", "ts", "source", "session", "label"])
    classes = ("benign", "attack")
    coded = reference_rows(columns, specs, classes, label="label", source="source", session="session")
    schema = Schema(tuple(Feature(f.name, f.kind, f.vocabulary) for f in specs), classes)
    whole = Rows(schema=schema, x=coded.x, y=coded.y, source=coded.source, session=coded.session)
    # whole sessions, in a hundred folds that are dealt out by size
    fold = session_folds(whole, 100, np.random.default_rng([seed, 21]))
    ends = np.round(100 * np.cumsum([base, TEST, *[batch] * batches]) / wanted)
    part = np.searchsorted(ends, fold, side="right")
    parts = [Part(whole.take(part == i), flows.family[part == i]) for i in range(2 + batches)]
    return Buffers("generated", seed, parts[0], tuple(parts[2:]), parts[1], 0)
