"""False alarms and needless requests per vote on streams in which nothing happens, over many references.

    PYTHONPATH=bench python -m separation.false_alarms FOLDER [--cores all|NAME,...] [--votes N] [--panels N]

Two layers. *Cores* (`separation.null_cores`): the sequential tests alone, with votes made as the detectors make them,
for as many votes as take a rate of one in a million to be seen. *Panels* (`separation.null_panel`): all detectors as
they run, on events with features, scores, sources and labels, as far as time goes. In both, sessions repeat themselves
(mean length 1, 6, 20 and 50, correlation .5 to .9), the serving version is an honest retrain, and every stream has a
reference of its own, so that unlucky ones count.

Each finished piece is a line in FOLDER, and is not done again. Progress on stderr, one JSON object on stdout: for each
core and detector alarms per million votes and requests per 10,000, each with its exact one-sided 95% Poisson bound.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.special import gammaincinv

from detectors.evidence import Budget, shared_budget
from separation.crossings import Crossings, Law
from separation.null_cores import CORES
from separation.null_panel import watch

ALARM: Final = 1e6
ASK: Final = 1e4
STREAMS: Final = 40
VOTES: Final = 50_000
"""In each stream of a core: a reference that was drawn badly has so long to show."""

FEWER: Final[Mapping[str, int]] = {"label_votes": 5_000}  # a whole detector, and a labelled session is a rare thing

MEANS: Final = (1, 6, 20, 50)
SESSIONS: Final = (300, 1000, 4000)


def law_of(piece: int) -> Law:
    """The law of a piece: session lengths and reference sizes in turn, the others drawn."""
    rng = np.random.default_rng([piece, 1])
    churn = float(np.exp(rng.uniform(np.log(0.002), np.log(0.06))))
    mean, sessions = MEANS[piece % len(MEANS)], SESSIONS[piece // len(MEANS) % len(SESSIONS)]
    return Law(mean, float(rng.uniform(0.5, 0.9)), sessions, churn, coarse=bool(rng.random() < 1 / 3))


def core_piece(budget: Budget, name: str, piece: int) -> dict[str, Any]:
    """Counts of `STREAMS` streams with a reference each."""
    law = law_of(piece)
    found = CORES[name](np.random.default_rng([piece, 2]), law, STREAMS, FEWER.get(name, VOTES), budget)
    return {"law": asdict(law), "references": STREAMS, "found": {name: asdict(found)}}


def panel_piece(_: str, piece: int) -> dict[str, Any]:
    """Counts of one stream before the whole panel."""
    law = law_of(piece)
    found = watch(law, piece, ALARM, ASK)
    return {"law": asdict(law), "references": 1, "found": {name: asdict(c) for name, c in found.items()}}


def upper(count: int) -> float:
    """One-sided 95% bound of a Poisson mean (Garwood 1936).

    >>> round(upper(0), 3)
    2.996
    """
    return float(gammaincinv(count + 1, 0.95))


def summary(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Rates over all pieces, and for each session length and reference size."""
    out: dict[str, Any] = {}
    for name in sorted({n for line in lines for n in line["found"]}):
        own = [line for line in lines if name in line["found"]]
        out[name] = {**_rates(name, own), "by": {}}
        for key in ("mean_session", "sessions"):
            for value in sorted({line["law"][key] for line in own}):
                some = [line for line in own if line["law"][key] == value]
                out[name]["by"][f"{key}={value}"] = _rates(name, some)
    return out


def _rates(name: str, lines: list[dict[str, Any]]) -> dict[str, float]:
    total = {f: sum(line["found"][name][f] for line in lines) for f in Crossings.__dataclass_fields__}
    votes = max(total["votes"], 1)
    return {
        "references": sum(line["references"] for line in lines),
        "votes": total["votes"],
        "alarms": total["alarms"],
        "references_that_alarmed": total["bad"],
        "alarms_per_million": round(total["alarms"] / votes * 1e6, 4),
        "at_most": round(upper(total["alarms"]) / votes * 1e6, 4),
        "requests": total["requests"],
        "requests_per_10000": round(total["requests"] / votes * 1e4, 5),
        "requests_at_most": round(upper(total["requests"]) / votes * 1e4, 5),
    }


def pieces(folder: Path, kind: str, do: Callable[[str, int], dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    """Those of the file ``kind``, and those that are missing there, which are added to it."""
    path = folder / f"{kind}.ndjson"
    done = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    yield from done[:count]
    for piece in range(len(done), count):
        begun = time.perf_counter()
        line = do(kind, piece)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        seconds = time.perf_counter() - begun
        print(f"{kind} {piece + 1}/{count} {seconds:.0f} s {_said(line)}", file=sys.stderr, flush=True)
        yield line


def _said(line: Mapping[str, Any]) -> str:
    loud = {name: (f["alarms"], f["requests"]) for name, f in line["found"].items() if f["alarms"] or f["requests"]}
    return f"alarms, requests: {loud}" if loud else "quiet"


def main() -> None:
    parser = argparse.ArgumentParser(description="False alarms and requests per vote where nothing happens.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cores", default="all", help="names, with commas; none: no cores")
    parser.add_argument("--votes", type=float, default=1e8, help="votes of each core")
    parser.add_argument("--panels", type=int, default=200, help="streams before the whole panel")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    names = list(CORES) if given.cores == "all" else [n for n in given.cores.split(",") if n in CORES]
    budget = shared_budget(ALARM, ASK)
    count = {name: -int(-given.votes // (STREAMS * FEWER.get(name, VOTES))) for name in names}
    cores = [line for name in names for line in pieces(given.folder, name, partial(core_piece, budget), count[name])]
    panels = list(pieces(given.folder, "panel", panel_piece, given.panels))
    result = {"cores": summary(cores), "panel": summary(panels), "budget": {"alarm": ALARM, "ask": ASK}}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
