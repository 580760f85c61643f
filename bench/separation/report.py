"""Tables and plots of what `separation.run` has found.

    cd bench && python -m separation.report results.jsonl [--plots FOLDER]

Bounds are one-sided 95%, clustered by data set and seed: episodes of one site share models and traffic. Where no
cluster has an event (or every one has), the bound is Clopper-Pearson's over clusters; else the 95% quantile of 2,000
bootstrap draws of whole clusters.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from detectors.sequential import upper_bound

Row = dict[str, Any]
DRIFT: Final = (
    "honest_retrain", "new_family", "moved_rule", "covariate_drift", "stable", "honest_labels", "forgetting",
)  # fmt: skip
FAMILIES: Final = ("poisoning", "regression", "evasion", "fault", "drift", "inconclusive", "stable")


@dataclass(frozen=True, slots=True)
class Rate:
    """``events`` of ``n`` episodes in ``clusters`` sites; one-sided 95% bounds below and above."""

    events: int
    n: int
    clusters: int
    low: float
    high: float

    def __str__(self) -> str:
        if not self.n:
            return "-"
        return f"{self.events}/{self.n} = {self.events / self.n:.3f} [{self.low:.3f}, {self.high:.3f}]"


def rate(rows: Sequence[Row], event: Callable[[Row], bool]) -> Rate:
    """How often ``event`` holds, with clustered bounds.

    >>> rows = [{"data": "a", "seed": i} for i in range(20)]
    >>> str(rate(rows, lambda r: False))
    '0/20 = 0.000 [0.000, 0.139]'
    """
    by_site: dict[tuple[str, int], list[bool]] = defaultdict(list)
    for row in rows:
        by_site[row["data"], row["seed"]].append(bool(event(row)))
    events, sizes = np.array([sum(v) for v in by_site.values()]), np.array([len(v) for v in by_site.values()])
    n, k = int(sizes.sum()), int(events.sum())
    if not n:
        return Rate(0, 0, 0, 0.0, 1.0)
    clusters = len(sizes)
    if k in (0, n):
        high = float(upper_bound(0 if k == 0 else clusters, clusters))
        low = 0.0 if k == 0 else 1 - float(upper_bound(0, clusters))
        return Rate(k, n, clusters, low, high)
    draws = np.random.default_rng(0).integers(0, clusters, (2000, clusters))
    shares = events[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    low, high = np.quantile(shares, [0.05, 0.95])
    return Rate(k, n, clusters, float(low), float(high))


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


def goals(rows: Sequence[Row]) -> str:
    """The rows that the project is measured by."""
    attacks = [r for r in rows if r["effective"] and "poisoning" in r["expected"]]
    honest = [r for r in rows if "poisoning" not in r["expected"] and r["scenario"] in DRIFT]
    decided = [r for r in attacks + honest if r["called"] not in ("stable", "inconclusive")]
    backdoors = effective(rows, "backdoor")
    forgetting = effective(rows, "forgetting")
    table = [
        ("backdoors called poisoning", rate(backdoors, lambda r: r["called"] == "poisoning")),
        ("honest and drifting called poisoning", rate(honest, lambda r: r["called"] == "poisoning")),
        ("poisoning called drift", rate(attacks, lambda r: r["called"] == "drift")),
        ("poisoning that stays quiet", rate(attacks, lambda r: r["called"] == "stable")),
        ("poisoning inconclusive", rate(attacks, lambda r: r["called"] == "inconclusive")),
        ("forgetting called regression", rate(forgetting, lambda r: r["called"] == "regression")),
        ("forgetting called poisoning", rate(forgetting, lambda r: r["called"] == "poisoning")),
        ("right where decided", rate(decided, lambda r: r["called"] in r["expected"])),
        ("honest episodes with a request", rate(honest, lambda r: r["asked"] > 0)),
        ("confident and wrong (> .9)", rate(attacks + honest, _confidently_wrong)),
    ]
    lines = ["| what | events / n = rate [95% bounds] | sites |", "|---|---|---|"]
    lines += [f"| {name} | {value} | {value.clusters} |" for name, value in table]
    return "\n".join(lines)


def _confidently_wrong(row: Row) -> bool:
    wrong = row["called"] not in row["expected"] and row["called"] not in ("stable", "inconclusive")
    return wrong and row["confidence"] > 0.9 and not row["tentative"]


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
    own = [r for r in effective(rows, "backdoor") if r["touched"] >= 20]
    lines = ["| triggered sessions before | called |", "|---|---|"]
    for most in (0, 10, 20, 50):
        called = [(r["touched_before_call"], r) for r in own]
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
    """Mean of the shares of poisoning called poisoning and of drift not called poisoning; quiet counts as wrong."""
    poison = [r["called"] == "poisoning" for r in rows if r["effective"] and "poisoning" in r["expected"]]
    drift = [r["called"] in r["expected"] for r in rows if "drift" in r["expected"]]
    return float(np.mean([np.mean(poison), np.mean(drift)])) if poison and drift else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description="What the scenarios have shown.")
    parser.add_argument("results", type=Path, nargs="+")
    given = parser.parse_args()
    rows = [r for path in given.results for r in read(path)]
    unsuited, broken = [r for r in rows if "unsuited" in r], [r for r in rows if "broken" in r]
    rows = [r for r in rows if "called" in r]
    print(f"{len(rows)} episodes, {len(unsuited)} unsuited, {len(broken)} broken")
    print(f"data: {sorted({r['data'] for r in rows})}\n")
    failed = Counter(e for r in rows for e in r["errors"])
    print(f"detector errors: {dict(failed)}\n")
    print(goals(rows), "\n")
    for data in sorted({r["data"] for r in rows}):
        print(f"### {data}\n\n{confusion([r for r in rows if r['data'] == data])}\n")
    print(f"### Strengths\n\n{by_strength(rows, *sorted({r['scenario'] for r in rows}))}\n")
    print(f"### Trigger features\n\n{recovery(rows)}\n\n### Delay\n\n{delay(rows)}\n")
    print("### Confidence\n\n| stated | right | n |\n|---|---|---|")
    print("\n".join(f"| {c:.2f} | {r:.2f} | {n} |" for c, r, n in reliability(rows)))
    print(f"\nBalanced accuracy (quiet and inconclusive count as wrong): {balanced_accuracy(rows):.3f}")


if __name__ == "__main__":
    main()
