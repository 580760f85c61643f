"""Sanitised retraining beside an oracle, no defence, plain removal, ART and cleanlab: attacks, clean buffers, news.

    python bench/retraining.py run --out FILE.jsonl --folder DIR [--data nsl_kdd,phishing,generated,nsl_multi]
        [--seeds 0-4] [--rows 3000] [--cases A,B,...] [--initialisations 3] [--peers PYTHON]
    python bench/retraining.py clean --out FILE.jsonl --folder DIR [--seeds 0-49] ...
    python bench/retraining.py rounds --out FILE.jsonl --folder DIR ...
    python bench/retraining.py report FILE.jsonl

``run`` appends one line a case; what FILE holds already is not run again. Cases are those of `buffers.cases`; the data
sets those of `separation.tables`, ``generated`` (flows in sessions of twelve sensors) and ``phishing`` (its thirty
attributes as categories). Of ROWS 60% are the trusted base, the others new. The code is that of `tocsin retrain`:
sanitise, settle (a labeller who is always right answers what is asked for), train by the recipe ``mlp``, judge. The
oracle is trained on base and new rows without exactly the poison. Plain removal, and with PYTHON (an environment with
the packages that `retraining_peers.py` names) ART and cleanlab, remove as many rows as ours did; they get none of the
labels that ours asks for. Every figure is the mean of the initialisations. Faults are not repaired, and rows that the
gate doubts are not asked about: a candidate that is held for them stays held.

``clean`` screens buffers without poison and trains nothing: what is lost of many. ``rounds`` plays twelve rounds of
retraining with a new campaign in each (`buffers.rounds`). ``report`` prints tables in Markdown, goals that are not
reached first, and for each on how many seeds and buffers of which data it rests. A goal is reached on every data set
of the file, on every case of `buffers.cases.DEFAULT` that it is about. Progress on stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from buffers.cases import DEFAULT, NotHereError
from buffers.data import Buffers, load
from buffers.measure import measure, screened
from buffers.models import fit
from buffers.report import read, report
from buffers.rounds import ROUNDS, play
from machine import describe

from detectors.batch import Scorer

SETS = "nsl_kdd,phishing,generated,nsl_multi"


def seeds(text: str) -> list[int]:
    """``0-4,7``: 0, 1, 2, 3, 4 and 7."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


class Results:
    """The file of lines: what it holds, and what is still to do."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = {_key(line) for line in read(path)} if path.exists() else set()

    def todo(self, data: list[str], numbers: list[int], cases: list[str], rows: int) -> list[tuple[str, int, str]]:
        """Data set, seed and case of what is missing, seed by seed."""
        every = [(name, seed, case) for seed in numbers for name in data for case in cases]
        return [one for one in every if (*one, rows) not in self._known]

    def add(self, line: dict[str, Any]) -> None:
        """Append one."""
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def _key(line: Any) -> tuple[str, int, str, int]:
    return line["data"], line["seed"], line["case"], line["rows"]


class Clock:
    """Says on stderr what is done and how long the rest will take."""

    def __init__(self, count: int) -> None:
        self._count, self._done, self._begin = count, 0, time.monotonic()

    def told(self, what: str) -> None:
        """One more is done."""
        self._done += 1
        spent = time.monotonic() - self._begin
        left = spent / self._done * (self._count - self._done)
        print(f"{self._done} of {self._count}: {what}; about {left / 60:.1f} minutes left", file=sys.stderr, flush=True)


def run(asked: argparse.Namespace) -> None:
    results = Results(asked.out)
    todo = results.todo(asked.data.split(","), seeds(asked.seeds), asked.cases.split(","), asked.rows)
    clock = Clock(len(todo))

    @lru_cache(maxsize=1)
    def site(name: str, seed: int) -> tuple[Buffers, Scorer]:
        data = load(name, asked.folder, seed, asked.rows)
        return data, fit(data.base.rows, seed)

    for name, seed, case in todo:
        data, clean = site(name, seed)
        line: dict[str, Any] = {"data": name, "seed": seed, "case": case, "rows": asked.rows}
        line["initialisations"] = asked.initialisations
        try:
            line |= measure(case, data, clean, asked.initialisations, asked.peers)
        except NotHereError as reason:
            line["skipped"] = str(reason)
        results.add(line)
        asr = " ".join(f"{n} {v:.3f}" for n, v in line.get("asr", {}).items())
        clock.told(f"{name} {seed} {case} {line.get('skipped', asr)}")


def clean(asked: argparse.Namespace) -> None:
    results = Results(asked.out)
    todo = results.todo(asked.data.split(","), seeds(asked.seeds), ["clean"], asked.rows)
    clock = Clock(len(todo))
    for name, seed, case in todo:
        told = screened(load(name, asked.folder, seed, asked.rows))
        results.add({"data": name, "seed": seed, "case": case, "rows": asked.rows, "initialisations": 0, **told})
        clock.told(f"{name} {seed} {case}: {told['clean_removed']:.4f} lost, {len(told['slices'])} slices")


def rounds(asked: argparse.Namespace) -> None:
    results = Results(asked.out)
    todo = results.todo(asked.data.split(","), seeds(asked.seeds), ["rounds"], asked.rows)
    clock = Clock(len(todo) * asked.rounds)
    for name, seed, case in todo:
        data = load(name, asked.folder, seed, asked.rows, asked.rounds)
        line: dict[str, Any] = {"data": name, "seed": seed, "case": case, "rows": asked.rows}
        line |= {"batch": [len(batch.rows) for batch in data.batches], "redrawn": data.redrawn}
        played = play(data, asked.initialisations, _round(clock, name, seed))
        results.add(line | {"initialisations": asked.initialisations, "rounds": played})


def _round(clock: Clock, name: str, seed: int) -> Callable[[int], None]:
    return lambda number: clock.told(f"{name} {seed} round {number + 1} begins")


def tables(asked: argparse.Namespace) -> None:
    print(report(read(asked.file)))
    print(f"\n{json.dumps(describe())}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, do in (("run", run), ("clean", clean), ("rounds", rounds)):
        command = commands.add_parser(name)
        command.set_defaults(do=do)
        command.add_argument("--out", type=Path, required=True)
        command.add_argument("--folder", type=Path)
        command.add_argument("--data", default=SETS)
        command.add_argument("--seeds", default="0-4")
        command.add_argument("--rows", type=int, default=3000)
        if name != "clean":
            command.add_argument("--initialisations", type=int, default=3)
        if name == "run":
            command.add_argument("--cases", default=",".join(DEFAULT))
            command.add_argument("--peers", type=Path)
        if name == "rounds":
            command.add_argument("--rounds", type=int, default=ROUNDS)
    shown = commands.add_parser("report")
    shown.add_argument("file", type=Path)
    shown.set_defaults(do=tables)
    asked = parser.parse_args()
    asked.do(asked)


if __name__ == "__main__":
    main()
