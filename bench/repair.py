"""Are faults told from poison, and what does repairing them gain? Planted in NSL-KDD and in generated traffic.

    python bench/repair.py --data DIR [--seeds 1 2 3]

DIR holds ``nsl_kdd/train_36f.parquet``. Of each seed's buffer 60% are the trusted base, the rest is new, from eight
sources. A fault is in one feature of one source, both drawn; poison is in one source (flips: in two). A run is *right*
if every value that was changed was broken by the fault, and the repair was the fault's own; a poison, a clean buffer
and a fault that cannot be undone (clipped) are right where nothing was changed. *lost* is the share of the source's
honest rows that the loss screen removes (p <= .01 under boosted trees of the base), with the fault as it is and
repaired. *accuracy* is that of boosted trees trained on base and new rows, on clean test rows of the source.

Markdown on stdout.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sanitise_data import BENIGN, Data, backdoor, flips, nsl_kdd
from sklearn.ensemble import HistGradientBoostingClassifier

from detectors.batch import Bools, Floats, Scorer
from detectors.schema import Feature, Schema
from monitor.demo.flows import table
from monitor.demo.traffic import TrafficConfig, generate
from rollback.redteam.backdoor import Trigger
from rollback.reference import reference_rows
from rollback.repair.mend import Mended, mend
from rollback.sanitise.conformal import CrossFit, cross_fit, p_values
from rollback.sanitise.rows import Rows
from rollback.tables.table import Table, infer_schema

OVERFLOW = 2.0**31 - 1
FAULTS: dict[str, tuple[str, Callable[[Floats, np.random.Generator], Floats]]] = {
    "unit x1000": ("unit", lambda v, _: v * 1000),
    "unit x1024": ("unit", lambda v, _: v * 1024),
    "unit /60": ("unit", lambda v, _: v / 60),
    "offset": ("shift", lambda v, _: v + 5 * max(float(np.nanstd(v)), 1.0)),
    "missing": ("impute", lambda v, _: np.full(len(v), np.nan)),
    "constant": ("impute", lambda v, _: np.full(len(v), -7.0)),
    "overflow in 5%": ("winsorise", lambda v, rng: np.where(rng.random(len(v)) < 0.05, OVERFLOW, v)),
    "clipped at the median": ("", lambda v, _: np.minimum(v, np.nanmedian(v))),
}
"""The repair that is right ("": none), and what the fault does to a source's values."""


@dataclass(frozen=True)
class Planted:
    """New rows, which values [n, d] of them are not what they were, the source, and the repair that is right."""

    new: Rows
    broken: Bools
    source: str
    repair: str


def generated(_: Path, seed: int) -> Data:
    """40,000 generated flows, of which 17,000 to test on."""
    flows = generate(TrafficConfig(sensors=8), np.random.default_rng(seed), 40_000, 1.7e9 + seed)
    columns = Table("flows", table(flows), np.arange(40_000))
    specs = infer_schema(columns, exclude=["id", "ts", "source", "session", "label"])
    schema = Schema(tuple(Feature(f.name, f.kind, f.vocabulary) for f in specs), ("benign", "attack"))
    coded = reference_rows(columns, specs, schema.classes, label="label", source="source", session="session")
    rows = Rows(schema, coded.x, coded.y, coded.source, coded.session)
    part = np.random.default_rng(seed).random(40_000)[np.unique(rows.session, return_inverse=True)[1]]
    base, new = rows.take(part < 0.34), rows.take((part >= 0.34) & (part < 0.57))
    return Data(base, new, rows.take(part >= 0.57), np.full(len(new), ""))


SETS: dict[str, Callable[[Path, int], Data]] = {"NSL-KDD": nsl_kdd, "generated": generated}


def planted(case: str, data: Data, seed: int) -> Planted:
    """The new rows of a case."""
    rng = np.random.default_rng([seed, *case.encode()])
    source = str(rng.choice(np.unique(data.new.source)))
    own = data.new.source == source
    if case == "clean":
        return Planted(data.new, np.zeros(data.new.x.shape, np.bool_), source, "")
    if case in FAULTS:
        repair, fault = FAULTS[case]
        j = _feature(data, rng)
        x = data.new.x.copy()
        x[own, j] = fault(x[own, j], rng)
        return Planted(replace(data.new, x=x), _differs(x, data.new.x), source, repair)
    if case == "flips 5%":
        new = flips(data, 0.05, rng).new
    elif case == "backdoor 1%, 8 features":
        row = data.base.x[data.base.y == BENIGN][rng.integers(100)]
        chosen = rng.choice(data.base.x.shape[1], 8, replace=False)
        values = {data.base.schema.names[j]: data.base.schema.features[j].show(row[j]) for j in chosen}
        new = backdoor(data, Trigger({n: v for n, v in values.items() if v is not None}), 0.01, rng).new
    else:
        new = _sly(case, data, own, _feature(data, rng), rng)
    return Planted(new, np.zeros(new.x.shape, np.bool_), source, "")


def _sly(case: str, data: Data, own: Bools, j: int, rng: np.random.Generator) -> Rows:
    """Poison that looks like a fault: attack rows of one source, called benign."""
    share, stamp = {
        "overflow as trigger": (0.3, lambda v: np.full(len(v), OVERFLOW)),
        "unit x1000 as trigger": (1.0, lambda v: v * 1000),
        "missing as trigger": (1.0, lambda v: np.full(len(v), np.nan)),
        "constant as trigger": (0.5, lambda v: np.full(len(v), -7.0)),
    }[case]
    rows = own & (data.new.y != BENIGN) & (rng.random(len(own)) < share)
    x, y = data.new.x.copy(), data.new.y.copy()
    x[rows, j], y[rows] = stamp(x[rows, j]), BENIGN
    return replace(data.new, x=x, y=y)


CASES = [
    "clean", *FAULTS, "flips 5%", "backdoor 1%, 8 features", "overflow as trigger", "unit x1000 as trigger",
    "missing as trigger", "constant as trigger",
]  # fmt: skip


def _feature(data: Data, rng: np.random.Generator) -> int:
    """A number that is mostly not 0 and takes many values: in another, most faults change next to nothing."""
    usable = [
        j
        for j, f in enumerate(data.base.schema.features)
        if f.kind == "numeric" and np.mean(data.base.x[:, j] != 0) > 0.5 and len(np.unique(data.base.x[:, j])) > 20
    ]
    return int(rng.choice(usable))


def _differs(a: Floats, b: Floats) -> Bools:
    return ~((a == b) | (np.isnan(a) & np.isnan(b)))


def trees(rows: Rows, seed: int) -> Scorer:
    """Boosted trees; probabilities of both classes."""
    model = HistGradientBoostingClassifier(max_iter=30, learning_rate=0.2, early_stopping=False, random_state=seed)
    model.fit(rows.x, rows.y)
    scores: Scorer = model.predict_proba
    return scores


def measured(case: str, data: Data, fitted: CrossFit, seed: int) -> dict[str, float]:
    """One run."""
    made = planted(case, data, seed)
    begin = time.perf_counter()
    mended = mend(data.base, made.new, None, seed=seed, progress=lambda *_: None)
    figures = {"right": _right(made, mended), "seconds": time.perf_counter() - begin}
    changed = np.zeros(made.broken.shape, np.bool_)
    changed[mended.cells.row, mended.cells.feature] = True
    figures["named"] = any(f.source == made.source and f.p <= mended.level for f in mended.findings)
    figures["wrong"] = int((changed & ~made.broken).sum())
    if made.broken.any():
        figures["undone"] = float((changed & made.broken).sum() / made.broken.sum())
        for name, new in (("as it is", made.new), ("repaired", mended.rows)):
            own = new.source == made.source
            _, p = p_values(data.base, fitted, new.take(own))
            figures[f"lost {name}"] = float(np.mean(p <= 0.01))
            test = data.test.take(data.test.source == made.source)
            answers = trees(Rows.concat([data.base, new]), seed)(test.x).argmax(axis=1)
            figures[f"accuracy {name}"] = float(np.mean(answers == test.y))
    return figures


def _right(made: Planted, mended: Mended) -> bool:
    cells = mended.cells
    if not made.repair:
        return len(cells.row) == 0
    used = set(cells.repair.tolist())
    return used == {made.repair} and bool(made.broken[cells.row, cells.feature].all())


def main() -> None:
    parser = argparse.ArgumentParser(description="Faults and poison, told apart", epilog="see the module's text")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    pairs = [f"{figure} {state}" for figure in ("lost", "accuracy") for state in ("as it is", "repaired")]
    columns = ["named", "wrong", "undone", *pairs, "seconds"]
    print("| set | case | right |", " | ".join(columns), "|")
    print("|" + "---|" * (3 + len(columns)))
    for name, draw in SETS.items():
        runs: dict[str, list[dict[str, float]]] = {case: [] for case in CASES}
        for seed in options.seeds:
            data = draw(options.data, seed)
            fitted = cross_fit(data.base, trees, 3, seed, lambda _: None)
            for case in CASES:
                runs[case].append(measured(case, data, fitted, seed))
        for case, own in runs.items():
            shown = [_mean(own, c) for c in columns]
            print(f"| {name} | {case} | {sum(r['right'] for r in own)} of {len(own)} |", " | ".join(shown), "|")


def _mean(runs: list[dict[str, float]], name: str) -> str:
    values = [float(run[name]) for run in runs if name in run]
    return f"{np.mean(values):.3g}" if values else ""


if __name__ == "__main__":
    main()
