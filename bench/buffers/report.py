"""Result lines as Markdown tables: the goals, those not reached first, and every case."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from buffers.goals import GOALS, Line, Outcome, named, outcome

ORDER = {"**no**": 0, "not measured": 1, "yes": 2}


def read(path: Path) -> list[Line]:
    """The result lines of a file; a last line that was cut off is left out."""
    found = []
    for text in path.read_text().splitlines():
        try:
            found.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return found


def report(lines: Sequence[Line]) -> str:
    """All tables."""
    played = [line for line in lines if "skipped" not in line]
    parts = ["## Goals", goals(played), "## Attack success", attacks(played), "## Buffers without poison"]
    parts += [honest(played), "## Twelve rounds", rounds(played), "## Not played", skipped(lines)]
    return "\n\n".join(parts)


def goals(lines: Sequence[Line]) -> str:
    """Every goal; first those that are not reached."""
    found = sorted((outcome(goal, lines) for goal in GOALS), key=lambda o: ORDER[o.reached])
    head = ("goal", "wanted", "seeds (data set with fewest)", "mean", "worst", "where", "reached")
    return table(head, [_goal(o) for o in found])


def _goal(o: Outcome) -> list[str]:
    if not o.n:
        return [o.goal.name, o.goal.said, "0", "-", "-", "-", o.reached]
    return [o.goal.name, o.goal.said, str(o.n), f"{o.mean:.4f}", f"{o.worst:.4f}", o.at, o.reached]


def attacks(lines: Sequence[Line]) -> str:
    """Each attack and data set: attack success of everybody's models, mean / worst seed."""
    cases = list(dict.fromkeys((line["data"], line["case"]) for line in lines if "asr" in line))
    rows, everybody = [], list(dict.fromkeys(name for line in lines for name in line.get("asr", ())))
    for data, case in sorted(cases):
        own = [line for line in lines if (line["data"], line["case"]) == (data, case)]
        asr = [_mean_worst([line["asr"][n] for line in own if n in line["asr"]]) for n in everybody]
        loss = [100 * (line["accuracy"]["oracle"] - line["accuracy"]["ours"]) for line in own]
        closure = [pair for line in own if (pair := named(line)) is not None]
        rows.append(
            [
                f"{data} {case}",
                str(len(own)),
                *asr,
                f"{max(line['excess']['ours'] for line in own):+.3f}",
                _mean_worst([line["poison_removed"] for line in own if line["poison_removed"] is not None], min),
                _mean_worst([line["clean_removed"] for line in own]),
                f"{np.mean(loss):+.2f} / {max(loss):+.2f}",
                "/".join(f"{value:.2f}" for value in np.mean(closure, axis=0)) if closure else "-",
                "/".join(str(sum(line["gate"][n]["passed"] for line in own)) for n in ("ours", "oracle", "undefended")),
            ]
        )
    head = ["case", "n", *(f"ASR {n}" for n in everybody), "worst excess of ours", "poison removed", "clean rows lost"]
    head += ["accuracy below oracle, points", "features named: recall/precision", "gate passes: ours/oracle/undefended"]
    return table(head, rows)


def honest(lines: Sequence[Line]) -> str:
    """Clean buffers and new families."""
    rows = []
    quiet = [line for line in lines if line["case"] in ("clean", "new_attack", "new_benign")]
    for data, case in sorted(dict.fromkeys((line["data"], line["case"]) for line in quiet)):
        own = [line for line in quiet if (line["data"], line["case"]) == (data, case)]
        families = [line["family"] for line in own if "family" in line and line["family"]["kept"] is not None]
        errors = [f["error"] for f in families if f["error"]]
        rows.append(
            [
                f"{data} {case}",
                str(len(own)),
                _mean_worst([line["clean_removed"] for line in own]),
                str(sum(len(line["slices"]) for line in own)),
                _mean_worst([f["kept"] for f in families], min),
                str(sum(bool(line["holds"]) for line in own)),
                " ".join(f"{n} {np.mean([e[n] for e in errors]):.3f}" for n in errors[0]) if errors else "-",
                str(sum(line["gate"]["ours"]["passed"] for line in own)),
            ]
        )
    head = (
        "case",
        "n",
        "rows lost",
        "slices",
        "family kept",
        "held for a person",
        "error on the family",
        "gate passes",
    )
    return table(head, rows)


def rounds(lines: Sequence[Line]) -> str:
    """Each sustained attack."""
    rows = []
    for line in lines:
        played = [r for r in line.get("rounds", ()) if "asr" in r]
        if not played:
            continue
        excess = [r["asr"]["ours"] - r["asr"]["oracle"] for r in played]
        later = [r["later"]["ours"] - r["later"]["oracle"] for r in played]
        last = line["rounds"][-1]["accuracy"]
        worst = played[int(np.argmax(excess))]
        neutral = f"{sum(e <= 0.02 for e in excess)} of {len(excess)}"
        rows.append(
            [
                f"{line['data']} {line['seed']}",
                neutral,
                f"{max(excess):+.3f} ({worst['campaign']})",
                f"{max(later):+.3f}",
                f"{100 * (last['oracle'] - last['ours']):+.2f}",
                str(sum(r["gate"]["passed"] for r in line["rounds"])),
            ]
        )
    head = ("data, seed", "neutralised", "worst excess", "worst excess at the end", "accuracy below oracle, points")
    return table((*head, "gate passes"), rows)


def skipped(lines: Iterable[Line]) -> str:
    """What a data set could not play, and why."""
    return table(
        ("data, seed, case", "why"),
        [[f"{x['data']} {x['seed']} {x['case']}", x["skipped"]] for x in lines if "skipped" in x],
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown; a line that says so where there is nothing."""
    if not rows:
        return "(none)"
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _mean_worst(values: Sequence[float], worst: object = max) -> str:
    if not values:
        return "-"
    end = max(values) if worst is max else min(values)
    return f"{np.mean(values):.3f} / {end:.3f}"
