"""What each detector costs: processor milliseconds a window of 1,000 events, on calm traffic, by number of features.

    python bench/detector_cost.py [--features 36,1000] [--windows N]

Two fifths of the features are categorical; the models are linear, so that asking them costs next to nothing beside what
a detector does with the answers. Both versions are there and differ a little; labels come with every window. Medians
over windows, after the first, in which some detectors draw what they need once (``first``). Progress on stderr, one
JSON object on stdout.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import Any, Final

import numpy as np
from machine import describe
from session_stream import labelled

from detectors.batch import Batch, Floats, Labels, Reference, Scorer, Strings, Window
from detectors.evidence import make_detectors
from detectors.schema import Feature, Schema

SEED: Final = 5
EVENTS: Final = 1000
MEAN_SESSION: Final = 6
REFERENCE: Final = 12_000
LABELLED: Final = 8


class Linear:
    """Softmax of a linear function of the numeric features."""

    def __init__(self, features: int, churn: float) -> None:
        draw, other = np.random.default_rng([SEED, 1]), np.random.default_rng([SEED, 2])
        self._weights = (draw.normal(size=features) + churn * other.normal(size=features)) / np.sqrt(features)

    def __call__(self, x: Floats) -> Floats:
        """Probabilities [n, 2]."""
        one = 1 / (1 + np.exp(-4 * x[:, : len(self._weights)] @ self._weights))
        return np.column_stack([1 - one, one])


def events(rng: np.random.Generator, n: int, features: int) -> tuple[Floats, Strings, Strings]:
    """Near-duplicates in sessions: x[n, features], source and session."""
    session = np.repeat(np.arange(n), rng.geometric(1 / MEAN_SESSION, n))[:n]
    count, numeric = int(session.max()) + 1, features - 2 * features // 5
    numbers = np.repeat(rng.normal(size=(count, numeric)), np.bincount(session), axis=0)
    numbers += 0.05 * rng.normal(size=numbers.shape)
    names = np.minimum(rng.geometric(0.4, (count, features - numeric)), 6)[session] - 1.0
    source = rng.integers(0, 12, count)[session]
    x = np.column_stack([numbers, names])
    return x, np.char.add("sensor-", source.astype(str)), np.char.add("s", session.astype(str))


def schema(features: int) -> Schema:
    numeric = features - 2 * features // 5
    numbers = [Feature(f"n{j}") for j in range(numeric)]
    names = [Feature(f"c{j}", "categorical", tuple("abcdef")) for j in range(features - numeric)]
    return Schema((*numbers, *names), ("benign", "attack"))


def window(rng: np.random.Generator, index: int, features: int, f: Scorer, g: Scorer) -> Window:
    x, source, session = events(rng, EVENTS, features)
    number = np.arange(index * EVENTS, (index + 1) * EVENTS)
    batch = Batch(
        model="m",
        version="1",
        ts=number / EVENTS,
        id=np.char.add("e", number.astype(str)),
        source=source,
        session=np.char.add(f"w{index}-", session),
        ref=np.full(EVENTS, ""),
        x=x,
        scores=f(x),
        partition=np.zeros(EVENTS, np.int64),
        offset=number,
        key=number.astype(np.uint64),
        digest=number.astype(np.uint64),
    )
    return Window(index, batch, f(x), g(x), np.ones(EVENTS, bool), True, f, g)  # noqa: FBT003 - it has a bundle


def feedback(about: Window) -> Labels:
    """Labels of one event in eight: where the versions differ, each is right as often."""
    rows = slice(0, EVENTS, LABELLED)
    assert about.g is not None  # noqa: S101 - made with one: it tells mypy
    f, g = about.f[rows].argmax(axis=1), about.g[rows].argmax(axis=1)
    return labelled(about, rows, np.where(np.arange(len(f)) % 2 == 0, f, g))


def measure(features: int, windows: int) -> dict[str, Any]:
    """Processor milliseconds of each detector: to fit, at the first window, and in the middle of the others."""
    rng = np.random.default_rng(SEED)
    f, g = Linear(features - 2 * features // 5, 0.05), Linear(features - 2 * features // 5, 0.0)
    x, source, session = events(rng, REFERENCE, features)
    y = np.where(np.arange(len(x)) % 2 == 0, f(x).argmax(axis=1), g(x).argmax(axis=1)).astype(np.int64)
    known = Reference(schema(features), x, y, source, session, f(x), g(x))
    stream = [window(rng, i, features, f, g) for i in range(windows + 1)]
    out: dict[str, Any] = {}
    for detector in make_detectors(1e6, 1e4, SEED, {}):
        begun = time.process_time()
        detector.fit(known)
        fitted, spent = time.process_time() - begun, []
        for i, one in enumerate(stream):
            begun = time.process_time()
            detector.observe(one, feedback(stream[i - 1]) if i else None)
            spent.append(1e3 * (time.process_time() - begun))
        middle = statistics.median(spent[1:])
        out[detector.name] = {"fit": round(1e3 * fitted), "first": round(spent[0], 2), "window": round(middle, 2)}
        print(f"{features} features {detector.name} {out[detector.name]}", file=sys.stderr, flush=True)
    total = sum(d["window"] for d in out.values())
    for figures in out.values():
        figures["share"] = round(figures["window"] / total, 3)
    return {"milliseconds_a_window": round(total, 2), "detectors": out}


def main() -> None:
    parser = argparse.ArgumentParser(description="Milliseconds of each detector for a window of 1,000 events.")
    parser.add_argument("--features", default="36,1000")
    parser.add_argument("--windows", type=int, default=30)
    given = parser.parse_args()
    results = {n: measure(int(n), given.windows) for n in given.features.split(",")}
    print(json.dumps({"results": results, "machine": describe()}, indent=2))


if __name__ == "__main__":
    main()
