"""Generated traffic as a trusted base and new rows, and a model that is quick to fit."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from detectors.batch import Bools, Floats, Scorer
from detectors.schema import Feature, Schema
from monitor.demo.flows import table
from monitor.demo.traffic import TrafficConfig, generate
from rollback.manifest import FeatureSpec
from rollback.redteam.backdoor import Trigger, choose_trigger, pick_rows, stamp
from rollback.reference import reference_rows
from rollback.sanitise.conformal import session_folds
from rollback.sanitise.rows import Rows
from rollback.tables.table import Table, infer_schema

CLASSES = ("attack", "benign")
ATTACK, BENIGN = 0, 1
FOLDS = 20


def traffic(seed: int, base: int, new: int, config: TrafficConfig | None = None) -> tuple[Rows, Rows]:
    """About so many trusted and new rows: whole sessions of the same days. ``config`` is for the new rows alone."""
    rows = drawn(seed, base + new, TrafficConfig())
    trusted = session_folds(rows, FOLDS, np.random.default_rng(seed)) < round(FOLDS * base / (base + new))
    other = rows.take(~trusted) if config is None else drawn(seed + 500, new, config)
    return rows.take(trusted), other


def drawn(seed: int, count: int, config: TrafficConfig) -> Rows:
    flows = generate(config, np.random.default_rng(seed), count, 1.7e9 + seed)
    columns = Table("flows", table(flows), np.arange(count))
    specs = features()
    schema = Schema(tuple(Feature(f.name, f.kind, f.vocabulary) for f in specs), CLASSES)
    coded = reference_rows(columns, specs, CLASSES, label="label", source="source", session="session")
    return Rows(schema=schema, x=coded.x, y=coded.y, source=coded.source, session=coded.session)


@cache
def features() -> tuple[FeatureSpec, ...]:
    """Those of a long capture, so that every draw is coded alike."""
    long = generate(TrafficConfig(), np.random.default_rng(0), 20_000, 1.6e9)
    known = Table("long", table(long), np.arange(20_000))
    return infer_schema(known, exclude=["id", "ts", "source", "session", "label"])


def trees(rows: Rows, seed: int) -> Scorer:
    """Gradient boosting; probabilities of all classes of the schema."""
    model = HistGradientBoostingClassifier(max_iter=40, learning_rate=0.2, early_stopping=False, random_state=seed)
    model.fit(rows.x, rows.y)
    classes, k = model.classes_.astype(int), len(rows.schema.classes)

    def score(x: Floats) -> Floats:
        scores = np.zeros((len(x), k))
        if len(x):
            scores[:, classes] = model.predict_proba(x)
        return scores

    return score


def backdoored(rows: Rows, rate: float, seed: int, *, source: str | None = None) -> tuple[Rows, Bools, Trigger]:
    """Attack rows with a trigger of three features, labelled benign: in one source, or in all."""
    rng = np.random.default_rng(seed)
    trigger = choose_trigger(rows.x, rows.y, rows.schema, target=BENIGN, rng=rng)
    among = (rows.y == ATTACK) & ((rows.source == source) if source else True)
    poison = pick_rows(among, round(rate * len(rows)), rng)
    x, y = rows.x.copy(), rows.y.copy()
    x[poison] = stamp(x[poison], trigger, rows.schema)
    y[poison] = BENIGN
    return replace(rows, x=x, y=y), poison, trigger


def silent(what: str, share: float) -> None:
    del what, share
