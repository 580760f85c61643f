"""Runs scenarios over data sets and seeds; resumable: what is in the result file is not run again.

    cd bench && python -m separation.run --out results.jsonl [--data soc,nsl_kdd --folder DIR] [--seeds 200-219]
        [--scenarios a,b] [--jobs 2] [--set trusted=false] [--minutes 30] [--turns 5]

A whole site (a data set and a seed) takes a quarter of an hour on one core. ``--turns N`` plays every Nth strength at a
site, others at the next, so that N data sets give each strength as many sites as there are seeds.

One JSON object a line: what was expected, whether the attack worked, what was said, when, and how many labels it took.
``python -m separation.report results.jsonl`` makes tables and plots of it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
import traceback
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from separation.episode import Episode
from separation.models import FAMILIES, Family
from separation.play import Outcome, Settings, play
from separation.scenario import Unsuited, scenarios
from separation.tables import NAMES, load
from separation.world import Setting


@dataclass(frozen=True, slots=True)
class Block:
    """What shares a site: all scenarios of one data set and seed are run in one process, one after the other."""

    data: str
    folder: Path | None
    seed: int
    todo: tuple[tuple[str, str], ...]
    settings: Mapping[str, Any]
    until: float


def key(data: str, seed: int, scenario: str, strength: str, settings: str) -> str:
    """Names one episode."""
    return "|".join((data, str(seed), scenario, strength, settings))


def model_of(data: str, seed: int) -> Family:
    """Model families in turn, shifted by data set so that none is always on the same seeds."""
    return FAMILIES[(seed + zlib.crc32(data.encode())) % len(FAMILIES)]


def run(block: Block) -> Iterator[dict[str, Any]]:
    """The results of a block, one by one."""
    known = scenarios()
    setting = Setting(load(block.data, block.folder, block.seed), model_of(block.data, block.seed), block.seed)
    for name, strength in block.todo:
        if time.time() > block.until:
            return
        about = {
            "data": block.data,
            "seed": block.seed,
            "family": setting.family,
            "scenario": name,
            "strength": strength,
            "settings": _text(block.settings),
        }
        started = time.monotonic()
        try:
            episode = known[name].make(setting, json.loads(strength))
            outcome = play(episode, Settings(**block.settings), seed=block.seed)
        except Unsuited as reason:
            yield {**about, "unsuited": str(reason)}
            continue
        except Exception:  # noqa: BLE001 - one broken episode must not end a night's run; it is counted as broken
            yield {**about, "broken": traceback.format_exc()[-2000:]}
            continue
        yield {**about, **told(episode, outcome), "seconds": round(time.monotonic() - started, 2)}


def told(episode: Episode, outcome: Outcome) -> dict[str, Any]:
    """Truth and verdict of one episode, as plain values."""
    truth, verdict = episode.truth, outcome.gravest
    touched = np.cumsum([w.touched_sessions for w in outcome.windows])
    first = outcome.first("poisoning")
    wrong = {e.note for w in outcome.windows for e in w.evidence if e.status == "error"}
    return {
        "expected": list(truth.expected),
        "effective": bool(truth.effective),
        "gain": round(float(truth.gain), 4),
        "about": {k: float(v) for k, v in truth.about.items()},
        "called": outcome.called,
        "hypothesis": verdict.hypothesis,
        "right_hypothesis": verdict.hypothesis in truth.hypothesis if truth.hypothesis else None,
        "also": sorted({family for w in outcome.windows for family, _ in w.verdict.also}),
        "confidence": round(float(verdict.confidence), 4),
        "tentative": verdict.tentative,
        "level": verdict.level,
        "attribution": {k: round(float(v), 4) for k, v in verdict.attribution},
        "windows": [w.verdict.family for w in outcome.windows],
        "touched_before_call": None if first is None else int(touched[first - 1]) if first else 0,
        "touched_at_call": None if first is None else int(touched[min(first, len(touched) - 1)]),
        "touched": int(touched[-1]) if len(touched) else 0,
        "asked": len(outcome.asked),
        "asked_of_buffer": sum(i.startswith("b") for i in outcome.asked),
        "asking_windows": sum(w.asked > 0 for w in outcome.windows),
        "votes": len(set(episode.events.session.tolist())),
        "fired": sorted({e.detector for w in outcome.windows for e in w.evidence if e.status == "fired"}),
        "errors": sorted(wrong),
        **_recovery(episode, outcome),
    }


def _recovery(episode: Episode, outcome: Outcome) -> dict[str, Any]:
    """How well the named features are the trigger's, and the named sources the attacker's, where there are any."""
    verdict, truth = outcome.gravest, episode.truth
    if verdict.family not in ("poisoning", "fault", "evasion"):
        return {}
    named, found = set(verdict.implicated.features), {}
    if truth.trigger and verdict.family == "poisoning":
        hit = len(named & set(truth.trigger))
        found = {"precision": hit / len(named) if named else None, "recall": hit / len(truth.trigger)}
    if truth.sources:
        found["sources_right"] = set(verdict.implicated.sources) == set(truth.sources)
    return found


def _text(settings: Mapping[str, Any]) -> str:
    return json.dumps(dict(sorted(settings.items())))


def _done(path: Path) -> set[str]:
    if not path.exists():
        return set()
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {key(r["data"], r["seed"], r["scenario"], r["strength"], r["settings"]) for r in rows}


def blocks(given: argparse.Namespace) -> list[Block]:
    """What is left to do, seeds of all data sets in turn, so that a run cut short has some of each."""
    low, high = (int(s) for s in (given.seeds.split("-") * 2)[:2])
    settings = dict(_setting(s) for s in given.set)
    known, done = scenarios(), _done(given.out)
    names = given.scenarios.split(",") if given.scenarios else list(known)
    until = time.time() + 60 * given.minutes
    made = []
    for seed, data in itertools.product(range(low, high + 1), given.data.split(",")):
        every = [(n, json.dumps(dict(s))) for n in names for s in known[n].strengths]
        wanted = every[(seed + given.data.split(",").index(data)) % given.turns :: given.turns]
        todo = tuple((n, s) for n, s in wanted if key(data, seed, n, s, _text(settings)) not in done)
        if todo:
            made.append(Block(data, given.folder, seed, todo, settings, until))
    return made


def _setting(text: str) -> tuple[str, Any]:
    name, value = text.split("=", 1)
    return name, json.loads(value)


def _write(block: Block, out: Path) -> int:
    """Each result is appended as soon as it is there: a run that is cut off loses one episode."""
    number = 0
    for row in run(block):
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        number += 1
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description="Drift told from poisoning, measured.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", default="soc", help=f"comma-separated, of {', '.join(NAMES)}")
    parser.add_argument("--folder", type=Path, help="where the data sets' files are")
    parser.add_argument("--seeds", default="200-219")
    parser.add_argument("--scenarios", default="")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--turns", type=int, default=1, help="play one strength in so many at each site")
    parser.add_argument("--set", action="append", default=[], help="a field of play.Settings, as NAME=JSON")
    given = parser.parse_args()
    todo = blocks(given)
    total, number = sum(len(b.todo) for b in todo), 0
    with ProcessPoolExecutor(given.jobs) as pool:
        for future in as_completed([pool.submit(_write, block, given.out) for block in todo]):
            number += future.result()
            print(f"{number} of {total} episodes", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
