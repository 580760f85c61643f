"""What sanitising removes of poisoned buffers made of NSL-KDD or UCI phishing, and what a model learns from the rest.

    python bench/sanitise_nsl_kdd.py --data DIR [--set nsl_kdd|phishing] [--seeds 1 2 3] [--cases clean flips ...]

DIR holds ``nsl_kdd/train_36f.parquet`` and ``phishing/phishing_uci.parquet``. Of each seed's buffer 60% are trusted,
the rest is new, from eight sources. Cases: ``clean``; ``backdoor:RATE/FEATURES[/SOURCES]``: attack rows with a trigger,
labelled benign; ``flips:RATE``: one kind of attack, called benign by two sources. Rates are of the whole buffer.
The model is the recipe ``mlp`` with 12 epochs. ``asr`` is the share of attack rows that is called benign: those of the
test part with the trigger, or those that were flipped. The oracle is trained without exactly the poison.

Progress on stderr, one JSON object on stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe as machine
from sanitise_data import BENIGN, Attacked, Data, backdoor, flips, nsl_kdd, phishing, strong_trigger

from detectors.batch import Bools, Floats, Scorer
from rollback.redteam.success import attack_success_rate
from rollback.sanitise.rows import Rows, Sanitised
from rollback.sanitise.sanitise import Settings, sanitise
from rollback.scorer import open_session, run_session
from rollback.train.recipe import TrainingRows
from rollback.train.recipes import mlp

SETS: dict[str, Callable[[Path, int], Data]] = {"nsl_kdd": nsl_kdd, "phishing": phishing}
CASES = ["clean", "backdoor:0.01/8", "backdoor:0.001/8", "flips:0.05"]


def fit(rows: Rows, seed: int) -> Scorer:
    """The recipe ``mlp``, with at most twelve epochs."""
    data = TrainingRows(rows.schema, rows.x, rows.y, rows.session)
    trained = mlp.train(data, seed=seed, device="cpu", progress=_untold, parameters=mlp.Parameters(epochs=12))
    session = open_session(trained.model)

    def score(x: Floats) -> Floats:
        feed = {trained.onnx.inputs[0]: x.astype(np.float32)}
        return np.asarray(run_session(session, [trained.onnx.output], feed)[0], np.float64)

    return score


def attacked(case: str, data: Data, clean: Scorer, seed: int) -> Attacked:
    """The new rows of a case."""
    name, _, rest = case.partition(":")
    rng = np.random.default_rng([seed, 1])
    if name == "clean":
        return Attacked(data.new, np.zeros(len(data.new), np.bool_))
    if name == "flips":
        return flips(data, float(rest), rng)
    rate, features, *sources = rest.split("/")
    trigger = strong_trigger(data, clean, int(features), rng)
    return backdoor(data, trigger, float(rate), rng, sources=int(sources[0]) if sources else 1)


def measure(case: str, data: Data, clean: Scorer, seed: int, *, train: bool) -> dict[str, Any]:
    """One case of one seed."""
    attack = attacked(case, data, clean, seed)
    fits: list[float] = []

    def timed(rows: Rows, number: int) -> Scorer:
        begin = time.perf_counter()
        model = fit(rows, number)
        fits.append(time.perf_counter() - begin)
        return model

    begin = time.perf_counter()
    settings = Settings(benign=data.base.schema.classes[BENIGN])
    found = sanitise(data.base, attack.new, timed, seed=seed, hint=None, progress=_silent, settings=settings)
    seconds = time.perf_counter() - begin
    figures = {
        "case": case,
        "seed": seed,
        "poison": int(attack.poison.sum()),
        **_screened(found, attack),
        "seconds_screens": round(seconds - sum(fits), 1),
        "seconds_fits": round(sum(fits), 1),
        "remarks": list(found.remarks),
    }
    return figures | (_trained(found, data, attack, seed) if train and attack.poison.any() else {})


def _untold(epoch: int, epochs: int, loss: float) -> None:
    del epoch, epochs, loss


def _silent(what: str, share: float) -> None:
    del what, share


def _screened(found: Sanitised, attack: Attacked) -> dict[str, Any]:
    poison, clean = attack.poison, ~attack.poison
    mined = [
        {
            "label": s.label,
            "source": s.source,
            "score": round(s.score, 2),
            "swap": None if s.swap is None else round(s.swap, 3),
            "rows": s.rows,
            "features": len(s.features),
            **({} if attack.trigger is None else _hit(s.features, attack.trigger.features)),
        }
        for s in found.slices
    ]
    return {
        "recall": _share(found.removed[poison]),
        "false_positive_rate": _share(found.removed[clean]),
        "by_screen": {
            name: {"poison": int((found.screen[poison] == name).sum()), "clean": _share(found.screen[clean] == name)}
            for name in found.error_rate
        },
        "slices": mined,
    }


def _hit(named: Any, features: Any) -> dict[str, float]:
    hit = len(set(named) & set(features))
    return {"trigger_recall": round(hit / len(features), 2), "trigger_precision": round(hit / max(len(named), 1), 2)}


def _share(mask: Bools) -> float | None:
    return round(float(mask.mean()), 4) if len(mask) else None


def _trained(found: Sanitised, data: Data, attack: Attacked, seed: int) -> dict[str, Any]:
    kept = attack.new.take(~found.removed)
    extra = [] if found.counterexamples is None else [found.counterexamples]
    buffers = {
        "undefended": Rows.concat([data.base, attack.new]),
        "oracle": Rows.concat([data.base, attack.new.take(~attack.poison)]),
        "sanitised": Rows.concat([data.base, kept, *extra]),
    }
    models = {name: fit(rows, seed + 100) for name, rows in buffers.items()}
    return {
        "asr": {name: round(_success(model, data, attack), 4) for name, model in models.items()},
        "accuracy": {name: round(_accuracy(model, data.test), 4) for name, model in models.items()},
    }


def _success(model: Scorer, data: Data, attack: Attacked) -> float:
    test = data.test
    if attack.trigger is not None:
        return attack_success_rate(model, test.x, test.y, attack.trigger, test.schema, target=BENIGN)
    flipped = data.new.x[attack.poison]
    return float(np.mean(model(flipped).argmax(axis=1) == BENIGN))


def _accuracy(model: Scorer, rows: Rows) -> float:
    return float(np.mean(model(rows.x).argmax(axis=1) == rows.y))


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and worst of each case over seeds."""
    told = {}
    for case in dict.fromkeys(run["case"] for run in runs):
        own = [run for run in runs if run["case"] == case]
        told[case] = {
            "recall": _spread([run["recall"] for run in own], min),
            "false_positive_rate": _spread([run["false_positive_rate"] for run in own], max),
            "slices": [len(run["slices"]) for run in own],
            **{f"asr_{n}": _spread([r["asr"][n] for r in own], max) for n in own[0].get("asr", {})},
            **{f"accuracy_{n}": _spread([r["accuracy"][n] for r in own], min) for n in own[0].get("accuracy", {})},
        }
    return told


def _spread(values: list[float | None], worst: Callable[[list[float]], float]) -> dict[str, float] | None:
    known = [v for v in values if v is not None]
    return {"mean": round(float(np.mean(known)), 4), "worst": worst(known)} if known else None


def main() -> None:
    parser = argparse.ArgumentParser(description="Sanitising of poisoned buffers", epilog="see the module's text")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", choices=sorted(SETS), default="nsl_kdd")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--no-train", action="store_true", help="leave out the models trained on what remains")
    options = parser.parse_args()
    runs = []
    for seed in options.seeds:
        data = SETS[options.set](options.data, seed)
        clean = fit(data.base, seed)
        for case in options.cases:
            runs.append(measure(case, data, clean, seed, train=not options.no_train))
            print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    print(json.dumps({"set": options.set, "machine": machine(), "summary": summary(runs), "runs": runs}, indent=2))


if __name__ == "__main__":
    main()
