"""Pictures of what `separation.run` has found, as SVG: no library, the same bytes for the same figures.

    cd bench && python -m separation.plots results.jsonl... --out FOLDER

Balanced accuracy (inconclusive counts as wrong, quiet for poisoning only) against the poisoning rate, the trigger's
size and the number of labels that may be asked for (results of runs with ``--set budget=N``), with 90% intervals over
sites; and stated confidence against the share that was right.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from separation.goals import DRIFT
from separation.rates import Row
from separation.report import balanced_accuracy, effective, read, reliability

WIDTH: Final = 560
HEIGHT: Final = 320
LEFT: Final = 60
TOP: Final = 40
_PLAIN: Final = 'font-family="sans-serif" font-size="13" fill="#333"'


@dataclass(frozen=True, slots=True)
class Point:
    """A value in [0, 1] with its interval, over ``n`` episodes; ``name`` stands below it."""

    name: str
    value: float
    low: float
    high: float
    n: int


def intervals(groups: Iterable[tuple[str, Sequence[Row]]], drift: Sequence[Row]) -> list[Point]:
    """Balanced accuracy of each group of attacks against the same drift, with 90% intervals over whole sites."""
    return [_point(name, [*rows, *drift], len(rows)) for name, rows in groups if rows]


def _point(name: str, rows: Sequence[Row], n: int) -> Point:
    sites = sorted({(r["data"], r["seed"]) for r in rows})
    of = {site: [r for r in rows if (r["data"], r["seed"]) == site] for site in sites}
    draws = np.random.default_rng(0).integers(0, len(sites), (500, len(sites)))
    values = [balanced_accuracy([r for i in draw for r in of[sites[i]]]) for draw in draws.tolist()]
    low, high = np.nanquantile(values, [0.05, 0.95])
    return Point(name, balanced_accuracy(rows), float(low), float(high), n)


def chart(title: str, below: str, aside: str, points: Sequence[Point], *, diagonal: bool = False) -> str:
    """One line through points at equal distances, or, with ``diagonal``, at the numbers that they are named by."""

    def down(value: float) -> float:
        return round(TOP + (HEIGHT - 2 * TOP) * (1 - value), 1)

    def across(i: int) -> float:
        share = float(points[i].name) if diagonal else (i + 0.5) / len(points)
        return round(LEFT + (WIDTH - LEFT - 20) * share, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + 20}" role="img">',
        f'<title>{title}</title><rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="22" {_PLAIN} font-weight="bold">{title}</text>',
    ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<path d="M{LEFT} {down(tick)}H{WIDTH - 20}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{down(tick) + 4}" text-anchor="end" {_PLAIN}>{tick:g}</text>')
    if diagonal:
        parts.append(f'<path d="M{LEFT} {down(0)}L{WIDTH - 20} {down(1)}" stroke="#999" stroke-dasharray="5"/>')
    line = "L".join(f"{across(i)} {down(p.value)}" for i, p in enumerate(points))
    parts.append(f'<path d="M{line}" fill="none" stroke="#0072b2" stroke-width="2"/>')
    for i, p in enumerate(points):
        parts.append(f'<path d="M{across(i)} {down(p.low)}V{down(p.high)}" stroke="#0072b2"/>')
        parts.append(f'<circle cx="{across(i)}" cy="{down(p.value)}" r="4" fill="#0072b2"/>')
        parts.append(
            f'<text x="{across(i)}" y="{HEIGHT - TOP + 18}" text-anchor="middle" {_PLAIN}>{p.name}</text>'
            f'<text x="{across(i)}" y="{HEIGHT - TOP + 34}" text-anchor="middle" {_PLAIN} opacity=".6">n={p.n}</text>'
        )
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT + 12}" text-anchor="middle" {_PLAIN}>{below}</text>')
    middle = HEIGHT / 2
    parts.append(f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})" {_PLAIN}>')
    return "\n".join(parts) + f"{aside}</text>\n</svg>\n"


def charts(rows: Sequence[Row]) -> dict[str, str]:
    """All pictures by file name; those for which there is no result are left out."""
    usual = [r for r in rows if r["settings"] == "{}"]
    drift = [r for r in usual if r["scenario"] in DRIFT]
    plain = [r for r in effective(usual, "backdoor") if set(json.loads(r["strength"])) == {"rate", "features"}]
    made = {}
    for field, below in (("rate", "poisoning rate of the training data"), ("features", "features in the trigger")):
        groups = _groups(plain, lambda r, f=field: json.loads(r["strength"])[f])  # type: ignore[misc]  # f is bound now
        made[f"by_{field}"] = ("Drift told from backdoors", below, intervals(groups, drift))
    points = [_point(name, own, len(own)) for name, own in _groups(rows, _budget)]
    made["by_labels"] = ("Drift told from poisoning", "labels that may be asked for", points)
    out = {f"{name}.svg": chart(title, below, "balanced accuracy", p) for name, (title, below, p) in made.items() if p}
    if points := [Point(f"{stated:.2f}", right, right, right, n) for stated, right, n in reliability(usual)]:
        out["reliability.svg"] = chart(
            "Verdicts that decide", "stated confidence", "share right", points, diagonal=True
        )
    return out


def _budget(row: Row) -> float | None:
    settings = json.loads(row["settings"])
    return float(settings["budget"]) if set(settings) == {"budget"} else None


def _groups(rows: Sequence[Row], by: Callable[[Row], float | None]) -> list[tuple[str, list[Row]]]:
    values = sorted({v for r in rows if (v := by(r)) is not None})
    return [(f"{value:g}", [r for r in rows if by(r) == value]) for value in values]


def main() -> None:
    parser = argparse.ArgumentParser(description="Pictures of what the scenarios have shown.")
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = [r for path in given.results for r in read(path) if "called" in r]
    for name, text in charts(rows).items():
        (given.out / name).write_text(text, encoding="utf-8")
        print(given.out / name)


if __name__ == "__main__":
    main()
