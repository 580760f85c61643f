"""What `tocsin retrain` says of the rows that a candidate was trained on, and of those that it was not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from monitor.reviews import read_evidence
from rollback.bundle import Bundle
from rollback.retraining.out import PAGE, REMOVED, VETTING, Gate
from rollback.sanitise.cover import doubtful
from rollback.sanitise.rows import Slice
from rollback.sanitise.slice_judge import describe

MOST_SLICES: Final = 5
"""Of so many slices the command tells; the lineage has all of them."""


def learned(candidate: Bundle, out: Path) -> Iterator[str]:
    """How many rows are out and why they are, from the candidate's lineage; and what its folder ``out`` asks about."""
    told: dict[str, Any] = candidate.manifest.lineage["retrain"]
    rows = told["sanitising"]
    slices = msgspec.convert(rows["slices"], list[Slice])
    benign = told["benign"]["name"]  # the others are open to a review, and the gate's remarks say so
    certain = [(n, piece) for n, piece in enumerate(slices, start=1) if piece.label == benign and not doubtful(piece)]
    for number, piece in sorted(certain, key=lambda pair: -pair[1].rows)[:MOST_SLICES]:
        yield f"slice_{number} was taken out: {describe(piece)}"
    if len(certain) > MOST_SLICES:
        yield f"{len(certain) - MOST_SLICES} more slices were taken out; they are in {REMOVED}"
    unlabelled = f", and {rows['unlabelled']} without a label" if rows["unlabelled"] else ""
    yield (
        f"trained on {told['base']['rows']:,} rows of the trusted base and {rows['new'] - rows['removed']:,} of "
        f"{rows['new']:,} new ones; {rows['removed']:,} were left out{unlabelled}: {out / REMOVED} says why"
    )
    asked, optional = _requests(out / VETTING)
    if asked and candidate.manifest.gate.get("result") == "passed":
        yield f"{asked} rows in {out / VETTING} may be of a new family, which answers (--vetting) have it learn"
    if optional:
        yield f"{optional} of the rows that went one by one are asked about too, for what they teach: nothing waits"


def outcome(gate: Gate, candidate: Bundle, out: Path) -> str:
    """What became of a candidate, and of one that waits: what it waits for."""
    if gate.result == "passed":
        return "passed the gate: tocsin registry promote makes it serve"
    if gate.result == "rejected":
        return "did not pass the gate"
    held = read_evidence(candidate)
    then = []
    if _requests(out / VETTING)[0]:
        then.append(f"label the rows in {out / VETTING} and answer with --vetting")
    if held is not None and any(piece.holds for piece in held.slices):
        then.append("decide with tocsin review and --decisions")
    again = [f"{' or '.join(then)}, each with another --out"] if then else []
    holding = [check.name for check in gate.checks if not check.passed]
    if holding:
        look = f"see {out / PAGE} for what {', '.join(holding)} found"
        again.append(f"{look}; tocsin registry promote makes it serve all the same")
    return f"waits for a person: {'; '.join(again)}"


def _requests(path: Path) -> tuple[int, int]:
    """How many rows are asked about because something depends on them, and how many besides."""
    told = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()] if path.exists() else []
    optional = sum(bool(one.get("optional")) for one in told)
    return len(told) - optional, optional
