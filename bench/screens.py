"""How well each suspicion score tells poisoned rows from clean ones, at a stated false-positive rate.

    python bench/screens.py --data DIR [--set nsl_kdd|phishing] [--seeds 1 2] [--rows 20000] [--scores NAME ...]

DIR holds ``nsl_kdd/train_36f.parquet`` and ``phishing/phishing_uci.parquet``. Cases: ``dirty`` (1% of the buffer, a
trigger of 8 features on attack rows of one source, labelled benign), ``clean_label`` (2%, a trigger of 16 on the
benign rows that a clean model finds hardest), ``new_attack`` and ``new_benign`` (a cluster of rows that the base lacks,
from one source; nothing of it is poison, so that what is flagged of it is a loss). For every score, calibrated alike:
area under the ROC curve of the touched rows against the others of their label, share of them with p <= level, and of
the others. ``suspicion`` is the screen that combines scores.

Progress on stderr, one JSON object on stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from buffers.models import fit
from machine import describe as machine
from sanitise_data import BENIGN, Attacked, Data, backdoor, nsl_kdd, phishing, strong_trigger
from sklearn.cluster import KMeans

from detectors.batch import Floats, Scorer
from rollback.redteam.backdoor import stamp
from rollback.sanitise.case import Case
from rollback.sanitise.conformal import calibrate, cross_entropy, cross_fit, p_values
from rollback.sanitise.encoding import components, encode
from rollback.sanitise.material import Material
from rollback.sanitise.rows import Rows
from rollback.sanitise.scores.score import make_scores, score_names
from rollback.sanitise.suspicion import Parameters, Suspicion
from rollback.train.metrics import area_under_roc

SETS: dict[str, Callable[[Path, int], Data]] = {"nsl_kdd": nsl_kdd, "phishing": phishing}
ATTACK = 1 - BENIGN
FAMILIES = 10


def dirty(data: Data, clean: Scorer, rng: np.random.Generator) -> tuple[Rows, Attacked]:
    return data.base, backdoor(data, strong_trigger(data, clean, 8, rng), 0.01, rng)


def clean_label(data: Data, clean: Scorer, rng: np.random.Generator) -> tuple[Rows, Attacked]:
    trigger = strong_trigger(data, clean, 16, rng)
    new = data.new
    loss = np.where(new.y == BENIGN, cross_entropy(clean(new.x), new.y), -np.inf)
    hardest = np.argsort(-loss, kind="stable")[: round(0.02 * (len(data.base) + len(new)))]
    poison = np.isin(np.arange(len(new)), hardest)
    x = new.x.copy()
    x[poison] = stamp(x[poison], trigger, new.schema)
    return data.base, Attacked(replace(new, x=x), poison, trigger)


def new_attack(data: Data, clean: Scorer, rng: np.random.Generator) -> tuple[Rows, Attacked]:
    del clean
    return family(data, ATTACK, rng)


def new_benign(data: Data, clean: Scorer, rng: np.random.Generator) -> tuple[Rows, Attacked]:
    del clean
    return family(data, BENIGN, rng)


def family(data: Data, label: int, rng: np.random.Generator) -> tuple[Rows, Attacked]:
    """A cluster of one class that the base does not have and one source brings."""
    rows = Rows.concat([data.base, data.new])
    where = components(encode(rows.schema, rows.x), 16)
    own = rows.y == label
    cluster = np.full(len(rows), -1)
    cluster[own] = KMeans(FAMILIES, n_init=1, random_state=int(rng.integers(2**31))).fit_predict(where[own])
    counts = np.bincount(cluster[own], minlength=FAMILIES)
    chosen = cluster == np.abs(counts - own.sum() / FAMILIES).argmin()
    m = len(data.base)
    source = np.where(chosen[m:], data.new.source[0], data.new.source)
    return data.base.take(~chosen[:m]), Attacked(replace(data.new, source=source), chosen[m:])


CASES: dict[str, Callable[[Data, Scorer, np.random.Generator], tuple[Rows, Attacked]]] = {
    f.__name__: f for f in (dirty, clean_label, new_attack, new_benign)
}


def fewer(data: Data, rows: int, rng: np.random.Generator) -> Data:
    """About so many rows of base and new together."""
    share = min(1.0, rows / (len(data.base) + len(data.new)))
    base, new = (np.sort(rng.permutation(len(r))[: round(share * len(r))]) for r in (data.base, data.new))
    return replace(data, base=data.base.take(base), new=data.new.take(new), kind=data.kind[new])


def case_of(base: Rows, new: Rows, seed: int) -> Case:
    fitted = cross_fit(base, fit, 3, seed, lambda _: None)
    base_p, new_p = p_values(base, fitted, new)
    current = fit(Rows.concat([base, new]), seed)
    return Case(base, new, fitted.scorers, current, base_p, new_p, BENIGN, seed, fold=fitted.fold)


def figures(p: Floats, touched: Any, y: Any, level: float) -> dict[str, float]:
    among = np.isin(y, np.unique(y[touched]))
    return {
        "auc": round(area_under_roc(-p[among], touched[among]), 3),
        "caught": round(float(np.mean(p[touched] <= level)), 3),
        "false_positive_rate": round(float(np.mean(p[~touched] <= level)), 4),
    }


def measure(data: Data, clean: Scorer, name: str, seed: int, names: list[str], level: float) -> dict[str, Any]:
    base, attack = CASES[name](data, clean, np.random.default_rng([seed, 2]))
    begin = time.perf_counter()
    case = case_of(base, attack.new, seed)
    told: dict[str, Any] = {"models": {"seconds": round(time.perf_counter() - begin, 2)}}
    begin = time.perf_counter()
    told["suspicion"] = _combined(case, attack, level)
    told["suspicion"]["seconds"] = round(time.perf_counter() - begin, 2)
    material = Material.of(case)
    for score in make_scores(names):
        begin = time.perf_counter()
        _, p = calibrate(score.rate(material), case.base.y, case.new.y)
        seconds = round(time.perf_counter() - begin, 2)
        told[score.name] = {**figures(p, attack.poison, attack.new.y, level), "seconds": seconds}
    return {"case": name, "seed": seed, "touched": int(attack.poison.sum()), "scores": told}


def _combined(case: Case, attack: Attacked, level: float) -> dict[str, Any]:
    removed = Suspicion(Parameters(level=level)).find(case, lambda _, __: None).removed
    touched = attack.poison
    return {
        "caught": round(float(removed[touched].mean()), 3),
        "false_positive_rate": round(float(removed[~touched].mean()), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Suspicion scores on poisoned rows", epilog="see the module's text")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", choices=sorted(SETS), default="nsl_kdd")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--scores", nargs="+", choices=score_names(), default=score_names())
    parser.add_argument("--level", type=float, default=0.01)
    options = parser.parse_args()
    runs = []
    for seed in options.seeds:
        data = fewer(SETS[options.set](options.data, seed), options.rows, np.random.default_rng([seed, 1]))
        clean = fit(data.base, seed)
        for name in options.cases:
            runs.append(measure(data, clean, name, seed, options.scores, options.level))
            print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    print(json.dumps({"machine": machine(), "set": options.set, "level": options.level, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
