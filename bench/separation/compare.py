"""Baselines beside Tocsin on the same episodes, at one false-alarm rate: alarms on stable and honest streams matched.

    cd bench && python -m separation.compare --data soc,nsl_kdd --folder DIR --calibrate 0-9 --seeds 200-209
        [--baselines mmd,strip] [--peer alibi_ks=ENVIRONMENT/bin/python]

For each data set a baseline's threshold is the largest statistic on stable and honestly retrained streams of the
calibration seeds. Then: how often it alarms on poisoning, on drift and on stable streams of other seeds. As it cannot
say which, an alarm counts as "poisoning". Always-alarm and never-alarm are scored too. One JSON object on stdout.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from machine import describe

from separation.episode import Episode
from separation.peer import Peer
from separation.play import play
from separation.run import model_of
from separation.scenario import Unsuited, scenarios
from separation.tables import load
from separation.world import Setting

CALM: Final = (("stable", {}), ("honest_retrain", {}))
DRIFT: Final = (
    ("new_family", {"benign": False}), ("new_family", {"benign": True}), ("moved_rule", {"learned": True}),
    ("covariate_drift", {"tilt": 1.0}), ("covariate_drift", {"growth": 2.0}),
)  # fmt: skip
POISON: Final = (
    ("backdoor", {"rate": 0.01, "features": 3}), ("backdoor", {"rate": 0.005, "features": 8}),
    ("learned_flips", {"rate": 0.05, "direction": "hide"}), ("feedback_flips", {"rate": 0.05, "by": "3 sources"}),
    ("clean_label", {"rate": 0.05, "features": 8}),
)  # fmt: skip
Statistic = Callable[[Episode, np.random.Generator], float]


def baselines(wanted: str, peers: Sequence[str]) -> dict[str, Statistic]:
    """By file name: those ``wanted`` (all, where that is ""), then ``peers``, each given as NAME=PYTHON."""
    package = importlib.import_module("separation.baselines")
    names = wanted.split(",") if wanted else sorted(m.name for m in pkgutil.iter_modules(package.__path__))
    found = {name: importlib.import_module(f"separation.baselines.{name}").statistic for name in names}
    return found | {name: Peer(name, python).statistic for name, _, python in (p.partition("=") for p in peers)}


Plan = Sequence[tuple[str, Mapping[str, Any]]]


def episodes(data: str, folder: Path | None, seed: int, plan: Plan) -> Iterator[Episode]:
    """Those of a plan that the data set is suited for and whose attack works."""
    known, setting = scenarios(), Setting(load(data, folder, seed), model_of(data, seed), seed)
    for name, strength in plan:
        try:
            made = known[name].make(setting, strength)
        except Unsuited:
            continue
        if made.truth.effective:
            yield made


def main() -> None:
    parser = argparse.ArgumentParser(description="Baselines beside Tocsin.")
    parser.add_argument("--data", default="soc")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--calibrate", default="0-9")
    parser.add_argument("--seeds", default="200-209")
    parser.add_argument("--baselines", default="", help="comma-separated; all where nothing is given")
    parser.add_argument("--peer", action="append", default=[], help="NAME=PYTHON: a monitor in another environment")
    given = parser.parse_args()
    others = baselines(given.baselines, given.peer)
    alarms: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for data in given.data.split(","):
        limit = dict.fromkeys(others, -np.inf)
        for seed in _range(given.calibrate):
            for made in episodes(data, given.folder, seed, CALM):
                for name, statistic in others.items():
                    limit[name] = max(limit[name], statistic(made, np.random.default_rng([seed, 5])))
            print(f"{data} {seed}: thresholds", file=sys.stderr, flush=True)
        for seed in _range(given.seeds):
            for kind, plan in (("stable", CALM), ("drift", DRIFT), ("poisoning", POISON)):
                for made in episodes(data, given.folder, seed, plan):
                    for name, statistic in others.items():
                        alarms[name][kind].append(statistic(made, np.random.default_rng([seed, 5])) > limit[name])
                    alarms["tocsin"][kind].append(play(made, seed=seed).called == "poisoning")
                    alarms["always_alarm"][kind].append(True)
                    alarms["never_alarm"][kind].append(False)
            print(f"{data} {seed}: judged", file=sys.stderr, flush=True)
    print(json.dumps({"rates": {n: _rates(a) for n, a in alarms.items()}, "machine": describe()}, indent=2))


def _range(text: str) -> range:
    low, high = (int(s) for s in (text.split("-") * 2)[:2])
    return range(low, high + 1)


def _rates(alarms: dict[str, list[bool]]) -> dict[str, float]:
    shares = {kind: round(float(np.mean(alarms[kind])), 4) for kind in ("stable", "drift", "poisoning")}
    balanced = (shares["poisoning"] + 1 - shares["drift"]) / 2
    return {**shares, "balanced_accuracy": round(balanced, 4), "episodes": sum(map(len, alarms.values()))}


if __name__ == "__main__":
    main()
