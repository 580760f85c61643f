"""Canaries: what they find of models that were touched, and whether they stay quiet about those that were not.

    python bench/canaries.py [--folder DIR] [--sets generated nsl_kdd phishing] [--seeds 200 201 202 203 204]
                             [--families mlp linear ...] [--other-python PATH] [--tolerances 1e-6 1e-5 1e-4]
                             [--out FILE]

For every data set, family of models and seed one version is made, with canaries as `tocsin train` and `tocsin registry
add` choose them. Then its file is altered in every way of `canaries_tampering.py`, and scored; and it is run unaltered
in every way of `canaries_clean.py`. Found is what answers one canary otherwise than within the tolerance. An altered
file has an effect where one of 2000 other rows is answered otherwise by more than the tolerance. DIR holds
``nsl_kdd/train_36f.parquet`` and ``phishing/phishing_uci.parquet``; without it only the generated set is used. PATH is
the Python of an environment with another version of ONNX Runtime.

Progress on stderr, tables (Markdown) on stdout, every single figure in FILE (JSON).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from canaries_clean import clean
from canaries_data import SETS, Sample, sample
from canaries_models import FAMILIES, Model
from canaries_other import elsewhere
from canaries_tables import clean_table, found_table
from canaries_tampering import tampered, wrong_versions
from machine import describe as machine

from detectors.batch import Floats
from rollback.canary.canaries import TOLERANCE, Canaries
from rollback.canary.choice import choose
from rollback.canary.noisy_copies import NoisyCopies
from rollback.reference import ReferenceRows

DETERMINISTIC = frozenset({("linear", "another seed")})
"""Another seed gives the very same file."""


def canaries_of(model: Model, data: Sample) -> Canaries:
    """As `rollback.bundle.with_canaries` makes them."""
    blank = np.full(len(data.reference.x), "-")
    rows = ReferenceRows(data.reference.x, data.reference.y, blank, blank)
    return choose(rows, data.schema, model.scorer(), NoisyCopies(model.content, model.manifest))


def measure(family: str, data: Sample, seed: int, other: Path | None) -> Iterator[dict[str, Any]]:
    """Every altered and every unaltered run of one version."""
    fit = FAMILIES[family]
    model = fit(data.learned, data, seed)
    begin = time.perf_counter()
    canaries = canaries_of(model, data)
    seconds = time.perf_counter() - begin
    yield {"kind": "choice", "seconds": seconds, "canaries": len(canaries), "bytes": len(model.content)}
    before = model.scorer()(data.tried.x)
    altered = ((kind, model.altered(content)) for kind, content in tampered(model, data, seed))
    for kind, version in (*altered, *wrong_versions(fit, data, seed)):
        if (family, kind) in DETERMINISTIC:
            continue
        scorer = version.scorer()
        after = scorer(data.tried.x)
        decisions = int(np.count_nonzero(before.argmax(axis=1) != after.argmax(axis=1)))
        seen, effect = off(canaries.scores, scorer(canaries.x)), off(before, after)
        yield {"kind": kind, "off": seen, "effect": effect, "decisions": decisions}
    for condition, answers in clean(model, canaries.x, np.random.default_rng(seed)):
        yield {"clean": condition, "off": off(canaries.scores, answers)}
    if other is not None:
        version, runs = elsewhere(other, model, canaries.x)
        yield from ({"clean": f"ONNX Runtime {version}", "off": off(canaries.scores, run)} for run in runs)
    if model.rounded is not None:
        yield {"kind": "TF32 products", "off": off(canaries.scores, model.rounded(canaries.x)), "effect": 1.0}


def off(expected: Floats, answers: Floats) -> float:
    """The largest difference; 1.0 where an answer is no number."""
    return float(np.abs(expected - answers).max()) if np.isfinite(answers).all() else 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(200, 205)))
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--other-python", type=Path)
    parser.add_argument("--tolerances", nargs="+", type=float, default=[TOLERANCE])
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    records: list[dict[str, Any]] = []
    for name in chosen.sets or (SETS if chosen.folder else SETS[:1]):
        for seed in chosen.seeds:
            data = sample(name, chosen.folder, seed)
            for family in chosen.families:
                begin = time.perf_counter()
                about = {"set": name, "seed": seed, "family": family}
                records += [{**about, **each} for each in measure(family, data, seed, chosen.other_python)]
                print(f"{name} {seed} {family}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
                if chosen.out is not None:
                    chosen.out.write_text(json.dumps({"machine": machine(), "records": records}), encoding="utf-8")
    for tolerance in chosen.tolerances:
        print(f"\n## Tolerance {tolerance:g}\n\n{found_table(records, tolerance)}\n\n{clean_table(records, tolerance)}")


if __name__ == "__main__":
    main()
