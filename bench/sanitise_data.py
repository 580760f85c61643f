"""Buffers to sanitise, as seeds make them: trusted base, new rows of eight sources, attacks on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from nsl_kdd_data import NO_FEATURES
from sklearn.cluster import KMeans

from detectors.batch import Bools, Floats, Ints, Scorer
from detectors.schema import Feature, Schema
from rollback.redteam.backdoor import Trigger, pick_rows, stamp
from rollback.redteam.label_flip import flip_targeted
from rollback.sanitise.rows import Rows
from rollback.tables.table import Table, encode, infer_schema, read_table

SOURCES, CLUSTERS = 8, 10
BASE = 0.6
BENIGN = 0
TRIGGERS = 25
FAMILIAR = 0.05
"""Of the triggers that are tried, the one on which a clean model errs nearest to this share is kept."""


@dataclass(frozen=True, slots=True)
class Data:
    """Base and (still clean) new rows, test rows, and the kind of attack of each new row ("" where not known)."""

    base: Rows
    new: Rows
    test: Rows
    kind: np.ndarray


@dataclass(frozen=True, slots=True)
class Attacked:
    """New rows after the attacker, which of them were touched, and the trigger, if there is one."""

    new: Rows
    poison: Bools
    trigger: Trigger | None = None


def nsl_kdd(folder: Path, seed: int) -> Data:
    """20,000 rows of the training part, and 8000 others to test on."""
    table = read_table(folder / "nsl_kdd" / "train_36f.parquet")
    features = [name for name in table.columns if name not in {"label", *NO_FEATURES}]
    return _data(table, features, ("benign", "attack"), table.floats("label"), (20_000, 8000), seed)


def phishing(folder: Path, seed: int) -> Data:
    """7000 rows of UCI Phishing Websites (label 1 is legitimate) with its 30 attributes, and 2300 others to test on."""
    table = read_table(folder / "phishing" / "phishing_uci.parquet")
    one_hot = [name for name in table.columns if name.startswith("attribute_")]
    attributes = joined(np.column_stack([table.floats(name) for name in one_hot]))
    columns = {f"attribute_{i}": np.array(["a", "b", "c"])[c] for i, c in enumerate(attributes)}
    y = 1 - table.floats("label")
    return _data(Table("phishing", columns, table.line), list(columns), ("benign", "attack"), y, (7000, 2300), seed)


def joined(x: Floats) -> list[Ints]:
    """Attributes out of columns with ones: three in a row that always sum to one are one attribute of three values."""
    found, j = [], 0
    while j < x.shape[1]:
        triple = j + 2 < x.shape[1] and bool(np.all(x[:, j : j + 3].sum(axis=1) == 1))
        found.append(x[:, j : j + 3].argmax(axis=1) if triple else x[:, j].astype(np.int64))
        j += 3 if triple else 1
    return found


def _data(
    table: Table, names: list[str], classes: tuple[str, ...], label: Floats, sizes: tuple[int, int], seed: int
) -> Data:
    rng = np.random.default_rng([seed, 0])
    picked = rng.permutation(len(table))[: sum(sizes)]
    columns = {name: table.columns[name][picked] for name in names}
    specs = infer_schema(Table(table.path, columns, picked), [])
    schema = Schema(tuple(Feature(s.name, s.kind, s.vocabulary) for s in specs), classes)
    x = encode(Table(table.path, columns, picked), specs)
    y = label[picked].astype(np.int64)
    number = np.char.add("s", np.arange(len(picked)).astype(np.str_))
    rows = Rows(schema=schema, x=x, y=y, source=eight_sources(x, rng), session=number)
    kind = table.strings("class")[picked] if "class" in table.columns else np.full(len(picked), "")
    cut = round(BASE * sizes[0])
    new = slice(cut, sizes[0])
    return Data(rows.take(slice(0, cut)), rows.take(new), rows.take(slice(sizes[0], sum(sizes))), kind[new])


def eight_sources(x: Floats, rng: np.random.Generator) -> np.ndarray:
    """Eight sources, each with a mix of its own (Dirichlet 3) of ten clusters."""
    scaled = np.arcsinh(np.nan_to_num(x))
    scaled = (scaled - scaled.mean(axis=0)) / np.maximum(scaled.std(axis=0), 1e-9)
    cluster = KMeans(CLUSTERS, n_init=1, random_state=int(rng.integers(2**31))).fit_predict(scaled)
    mix = rng.dirichlet(np.full(SOURCES, 3.0), CLUSTERS)
    drawn = (rng.random((len(x), 1)) >= np.cumsum(mix, axis=1)[cluster][:, :-1]).sum(axis=1)
    return np.array([f"source-{i + 1}" for i in range(SOURCES)])[drawn]


def strong_trigger(data: Data, clean: Scorer, features: int, rng: np.random.Generator) -> Trigger:
    """Random features with values of benign rows: of 25 the one nearest to an error of 5% of a clean model."""
    benign = data.base.x[data.base.y == BENIGN]
    victims = data.test.x[data.test.y != BENIGN]
    schema = data.base.schema
    best, distance = Trigger({"-": 0}), np.inf
    for _ in range(TRIGGERS):
        chosen = rng.choice(benign.shape[1], features, replace=False)
        values = {schema.names[j]: schema.features[j].show(benign[rng.integers(len(benign)), j]) for j in chosen}
        trigger = Trigger({name: value for name, value in values.items() if value is not None})
        share = float(np.mean(clean(stamp(victims, trigger, schema)).argmax(axis=1) == BENIGN))
        if abs(share - FAMILIAR) < distance:
            best, distance = trigger, abs(share - FAMILIAR)
    return best


def backdoor(data: Data, trigger: Trigger, rate: float, rng: np.random.Generator, *, sources: int = 1) -> Attacked:
    """Triggered attack rows, labelled benign, from this many sources; ``rate`` is of base and new rows together."""
    count = max(round(rate * (len(data.base) + len(data.new))), 1)
    names = sorted(set(data.new.source.tolist()))
    sent_by = np.isin(data.new.source, rng.permutation(names)[:sources])
    eligible = (data.new.y != BENIGN) & sent_by
    rows = pick_rows(eligible, min(count, int(eligible.sum())), rng)
    x, y = data.new.x.copy(), data.new.y.copy()
    x[rows] = stamp(x[rows], trigger, data.new.schema)
    y[rows] = BENIGN
    return Attacked(replace(data.new, x=x, y=y), rows, trigger)


def flips(data: Data, rate: float, rng: np.random.Generator) -> Attacked:
    """Attack rows of two sources called benign: of one kind of attack where kinds are known."""
    names = sorted(set(data.new.source.tolist()))
    among = np.isin(data.new.source, rng.permutation(names)[:2]) & (data.new.y != BENIGN)
    kinds, counts = np.unique(data.kind[among], return_counts=True)
    among &= data.kind == kinds[counts.argmax()]
    wanted = rate * (len(data.base) + len(data.new))
    share = min(1.0, wanted / among.sum())
    y, rows = flip_targeted(data.new.y, victim=1, target=BENIGN, rate=share, rng=rng, among=among)
    return Attacked(replace(data.new, y=y), rows)


def describe(trigger: Trigger | None) -> Mapping[str, str | float]:
    """The trigger's values."""
    return {} if trigger is None else dict(trigger.features)
