"""What remains of a backdoor when the trusted base itself is poisoned: nothing that compares with the base can see it.

    python bench/poisoned_base.py --data DIR [--seeds 1 2]

NSL-KDD (DIR holds ``nsl_kdd/train_36f.parquet``), 12,000 base and 8000 new rows, a trigger of eight features on attack
rows that are labelled benign. ``base`` is the share of base rows that carry it, ``new`` that of the new rows (from one
source). Boosted trees. ``asr`` is the share of attack rows of the test part that are called benign with the trigger:
trained on all rows, on the sanitised ones, and without exactly the poison (oracle).

Markdown on stdout.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from repair import trees
from sanitise_data import BENIGN, Data, backdoor, nsl_kdd, strong_trigger

from detectors.batch import Bools
from rollback.redteam.backdoor import Trigger, pick_rows, stamp
from rollback.redteam.success import attack_success_rate
from rollback.sanitise.rows import Rows
from rollback.sanitise.sanitise import Settings, sanitise

CASES = [(0.0, 0.01), (0.001, 0.01), (0.01, 0.01), (0.01, 0.0)]


def poisoned(rows: Rows, share: float, trigger: Trigger, rng: np.random.Generator) -> tuple[Rows, Bools]:
    """Rows of which a share are attacks with the trigger, labelled benign."""
    chosen = pick_rows(rows.y != BENIGN, round(share * len(rows)), rng)
    x, y = rows.x.copy(), rows.y.copy()
    x[chosen] = stamp(x[chosen], trigger, rows.schema)
    y[chosen] = BENIGN
    return replace(rows, x=x, y=y), chosen


def measured(data: Data, trigger: Trigger, in_base: float, in_new: float, seed: int) -> list[float]:
    """Success undefended, sanitised and of the oracle, the share of poison that was removed, accuracy sanitised."""
    rng = np.random.default_rng([seed, 2])
    base, bad = poisoned(data.base, in_base, trigger, rng)
    new, worse = data.new, np.zeros(len(data.new), np.bool_)
    if in_new:
        attack = backdoor(data, trigger, in_new * len(data.new) / (len(data.base) + len(data.new)), rng)
        new, worse = attack.new, attack.poison
    settings = Settings(benign=data.base.schema.classes[BENIGN])
    found = sanitise(base, new, trees, seed=seed, hint=None, progress=lambda *_: None, settings=settings)
    extra = [] if found.counterexamples is None else [found.counterexamples]
    buffers = [
        Rows.concat([base, new]),
        Rows.concat([base, new.take(~found.removed), *extra]),
        Rows.concat([base.take(~bad), new.take(~worse)]),
    ]
    models = [trees(rows, seed) for rows in buffers]
    test = data.test
    success = [attack_success_rate(m, test.x, test.y, trigger, test.schema, target=BENIGN) for m in models]
    removed = float(found.removed[worse].mean()) if worse.any() else float("nan")
    return [*success, removed, float(np.mean(models[1](test.x).argmax(axis=1) == test.y))]


def main() -> None:
    parser = argparse.ArgumentParser(description="A poisoned base", epilog="see the module's text")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    runs: dict[tuple[float, float], list[list[float]]] = {case: [] for case in CASES}
    for seed in options.seeds:
        data = nsl_kdd(options.data, seed)
        trigger = strong_trigger(data, trees(data.base, seed), 8, np.random.default_rng([seed, 1]))
        for case in CASES:
            runs[case].append(measured(data, trigger, *case, seed))
    print("| base | new | asr undefended | sanitised | oracle | new poison removed | accuracy sanitised |")
    print("|---|---|---|---|---|---|---|")
    for (in_base, in_new), own in runs.items():
        print(f"| {in_base:.1%} | {in_new:.1%} |", " | ".join(f"{v:.3f}" for v in np.mean(own, axis=0)), "|")


if __name__ == "__main__":
    main()
