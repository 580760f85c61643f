"""Tables and plots of what `separation.run` has found.

    cd bench && python -m separation.report results.jsonl ...

Bounds are those of `separation.rates`; what is measured is in `separation.goals`. ``python -m separation.plots`` draws.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from separation import goals
from separation.rates import Row, rate

FAMILIES: Final = ("poisoning", "regression", "evasion", "fault", "drift", "inconclusive", "stable")


def read(path: Path) -> list[Row]:
    """All results; those that were unsuited or broke are kept apart by their fields."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def effective(rows: Iterable[Row], *scenarios: str) -> list[Row]:
    """Episodes of these scenarios whose attack worked."""
    return [r for r in rows if r["scenario"] in scenarios and r["effective"]]


def confusion(rows: Sequence[Row]) -> str:
    """Scenarios down, what was called across."""
    lines = ["| scenario | n | " + " | ".join(FAMILIES) + " | ineffective |", "|---" * (len(FAMILIES) + 3) + "|"]
    for name in sorted({r["scenario"] for r in rows}):
        own = [r for r in rows if r["scenario"] == name]
        counts = Counter(r["called"] for r in own if r["effective"])
        idle = sum(not r["effective"] for r in own)
        cells = " | ".join(str(counts.get(f, 0)) for f in FAMILIES)
        lines.append(f"| {name} | {sum(counts.values())} | {cells} | {idle} |")
    return "\n".join(lines)


def by_strength(rows: Sequence[Row], *names: str) -> str:
    """Each strength of some scenarios: how often what was said is right, and how often poisoning."""
    lines = ["| scenario | strength | n | right | poisoning | quiet | asked, mean |", "|---|---|---|---|---|---|---|"]
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in effective(rows, *names):
        groups[row["scenario"], row["strength"]].append(row)
    for (name, strength), own in sorted(groups.items()):
        right = rate(own, lambda r: r["called"] in r["expected"])
        poison, quiet = (rate(own, lambda r, f=f: r["called"] == f) for f in ("poisoning", "stable"))
        shown = ", ".join(f"{k} {v}" for k, v in json.loads(strength).items()) or "-"
        asked = np.mean([r["asked"] for r in own])
        lines.append(
            f"| {name} | {shown} | {len(own)} | {right} | {poison.events / poison.n:.2f} | "
            f"{quiet.events / quiet.n:.2f} | {asked:.1f} |"
        )
    return "\n".join(lines)


def load(rows: Sequence[Row]) -> str:
    """What the person who answers has to do where nobody attacks: incidents and labels per 10,000 votes."""
    own = [r for r in rows if goals.is_honest(r)]
    votes = sum(r["votes"] for r in own)
    if not votes:
        return ""
    asked, of_rows = sum(r["asked"] - r["asked_of_buffer"] for r in own), sum(r["asked_of_buffer"] for r in own)
    asking = sum(r["asked"] > r["asked_of_buffer"] for r in own)
    return (
        f"Requests on {len(own)} honest and drifting streams of {votes} votes: {asking} of them ask about "
        f"events, {1e4 * asking / votes:.2f} such streams per 10,000 votes, {asked} labels in all; {of_rows} labels of "
        "buffer rows."
    )


def recovery(rows: Sequence[Row]) -> str:
    """Precision and recall of the named trigger features where a backdoor was called."""
    lines = ["| strength | n | precision | recall |", "|---|---|---|---|"]
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in effective(rows, "backdoor"):
        if row.get("precision") is not None:
            groups[row["strength"]].append(row)
    for strength, own in sorted(groups.items()):
        mean = {name: np.mean([r[name] for r in own]) for name in ("precision", "recall")}
        shown = ", ".join(f"{k} {v}" for k, v in json.loads(strength).items())
        lines.append(f"| {shown} | {len(own)} | {mean['precision']:.2f} | {mean['recall']:.2f} |")
    return "\n".join(lines)


def delay(rows: Sequence[Row]) -> str:
    """Share of effective backdoors that are called after so many triggered sessions."""
    own = [r for r in effective(rows, "backdoor") if r["touched"] >= 20 and "touched_at_call" in r]
    lines = ["| triggered sessions, those of the calling window among them | called |", "|---|---|"]
    for most in (0, 10, 20, 50):
        called = [(r["touched_at_call"], r) for r in own]
        soon = {id(r) for before, r in called if before is not None and before <= most}
        lines.append(f"| {most} | {rate(own, lambda r, soon=soon: id(r) in soon)} |")
    return "\n".join(lines)


def reliability(rows: Sequence[Row]) -> list[tuple[float, float, int]]:
    """Stated confidence, share right and number, in five bins, of verdicts that decide."""
    own = [r for r in rows if r["effective"] and r["called"] not in ("stable", "inconclusive")]
    confidence = np.array([r["confidence"] for r in own])
    right = np.array([r["called"] in r["expected"] for r in own])
    edges = np.array([0.0, 0.6, 0.8, 0.9, 0.97, 1.0001])
    bins = np.digitize(confidence, edges) - 1
    return [
        (float(confidence[bins == b].mean()), float(right[bins == b].mean()), int(np.sum(bins == b)))
        for b in range(len(edges) - 1)
        if np.any(bins == b)
    ]


def balanced_accuracy(rows: Sequence[Row]) -> float:
    """Mean of the shares of poisoning called poisoning and of drift called what it may be called.

    Poisoning that is quiet or inconclusive is wrong; drift may be quiet where its scenario says so, but inconclusive,
    fault or evasion are wrong. Episodes that may be called either count for neither.
    """
    clear = [r for r in rows if r["effective"] and not {"poisoning", "drift"} <= set(r["expected"])]
    poison = [r["called"] == "poisoning" for r in clear if "poisoning" in r["expected"]]
    drift = [r["called"] in r["expected"] for r in clear if "drift" in r["expected"]]
    return float(np.mean([np.mean(poison), np.mean(drift)])) if poison and drift else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description="What the scenarios have shown.")
    parser.add_argument("results", type=Path, nargs="+")
    given = parser.parse_args()
    rows = [r for path in given.results for r in read(path)]
    unsuited, broken = [r for r in rows if "unsuited" in r], [r for r in rows if "broken" in r]
    played = [r for r in rows if "called" in r]
    print(f"{len(played)} episodes, {len(unsuited)} unsuited, {len(broken)} broken")
    for settings in sorted({r["settings"] for r in played}, key=len):
        print(f"\n## {'Defaults' if settings == '{}' else settings}\n")
        _tell([r for r in played if r["settings"] == settings])


def _tell(rows: Sequence[Row]) -> None:
    print(f"{len(rows)} episodes of {', '.join(sorted({r['data'] for r in rows}))}\n")
    failed = Counter(e for r in rows for e in r["errors"])
    print(f"Detectors that failed: {dict(failed) or 'none'}\n")
    print(goals.table(rows), "\n")
    print(load(rows), "\n")
    for data in sorted({r["data"] for r in rows}):
        print(f"### {data}\n\n{confusion([r for r in rows if r['data'] == data])}\n")
    print(f"### Strengths\n\n{by_strength(rows, *sorted({r['scenario'] for r in rows}))}\n")
    print(f"### Trigger features\n\n{recovery(rows)}\n\n### Delay\n\n{delay(rows)}\n")
    print("### Confidence\n\n| stated | right | n |\n|---|---|---|")
    print("\n".join(f"| {c:.2f} | {r:.2f} | {n} |" for c, r, n in reliability(rows)))
    print(
        f"\nBalanced accuracy (inconclusive counts as wrong, quiet for poisoning only): {balanced_accuracy(rows):.3f}"
    )


if __name__ == "__main__":
    main()
