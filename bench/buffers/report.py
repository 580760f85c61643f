"""Result lines as Markdown tables: the goals, those not reached first, and every case."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from buffers.goals import GOALS, campaigns, candidates, named
from buffers.outcome import Line, Outcome, Share, outcome

MOST_NAMED = 3
"""So many cases that lack seeds are named."""
ORDER = {"**no**": 0, "not measured": 1, "yes": 2}


def read(path: Path) -> list[Line]:
    """The result lines of a file; a last line that was cut off is left out. Raises `ValueError` for any other."""
    found = []
    texts = path.read_text().splitlines()
    for number, text in enumerate(texts, start=1):
        try:
            found.append(json.loads(text))
        except json.JSONDecodeError as error:
            if number < len(texts):
                raise ValueError(f"{path}: line {number}: {error}") from error
    return found


def report(lines: Sequence[Line]) -> str:
    """All tables."""
    played = [line for line in lines if "skipped" not in line]
    parts = ["## Goals", goals(lines), "### On what each goal rests", support(lines)]
    parts += ["## Attack success", attacks(played), "## Buffers without poison"]
    parts += [honest(played), "## Gate", gates(played), "## Twelve rounds", rounds(played)]
    return "\n\n".join([*parts, "## Not played", skipped(lines)])


def goals(lines: Sequence[Line]) -> str:
    """Every goal; first those that are not reached. Means are of the data set where they are worst, rates of all."""
    head = ("goal", "wanted", "seeds (case and data set with fewest)", "mean", "worst", "where", "reached")
    return table(head, [_goal(o) for o in _outcomes(lines)])


def _outcomes(lines: Sequence[Line]) -> list[Outcome]:
    return sorted((outcome(goal, lines) for goal in GOALS), key=lambda o: ORDER[o.reached])


def _goal(o: Outcome) -> list[str]:
    if not o.at:
        return [o.goal.name, o.goal.said, "0", "-", "-", "-", o.reached]
    return [o.goal.name, o.goal.said, str(o.n), f"{o.mean:.4f}", f"{o.worst:.4f}", o.at, o.reached]


def support(lines: Sequence[Line]) -> str:
    """Seeds and buffers of every goal, by data set; and which of its cases lack seeds."""
    rows = [[o.goal.name, *_support(o.goal.least, share)] for o in _outcomes(lines) for share in o.shares]
    head = ("goal", "data", "seeds", "buffers", "mean", "worst", "where", "cases with fewer seeds than wanted")
    return table(head, rows)


def _support(least: int, share: Share) -> list[str]:
    lacking = (
        f"{len(share.lacking)}: {', '.join(share.lacking[:MOST_NAMED])}{' ...' * (len(share.lacking) > MOST_NAMED)}"
    )
    if not share.lacking:
        lacking = "-" if share.n >= least else f"{share.n} of {least} seeds"
    if not share.buffers:
        return [share.data, "0", "0", "-", "-", "-", lacking]
    figures = [f"{share.mean:.4f}", f"{share.worst:.4f}", share.at.removeprefix(share.data + " ")]
    return [share.data, str(share.seeds), str(share.buffers), *figures, lacking]


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
                _mean_worst([line["poison"] / line["rows"] for line in own if "poison" in line], min),
                *asr,
                _worst_excess(own),
                _mean_worst([line["poison_removed"] for line in own if line["poison_removed"] is not None], min),
                _mean_worst([line["clean_removed"] for line in own]),
                f"{np.mean(loss):+.2f} / {max(loss):+.2f}",
                _named(closure, own),
                "/".join(str(sum(line["gate"][n]["passed"] for line in own)) for n in ("ours", "oracle", "undefended")),
            ]
        )
    head = ["case", "n", "poison, mean / least", *(f"ASR {n}" for n in everybody)]
    head += ["worst excess of ours, ± standard error", "poison removed", "clean rows lost"]
    head += ["accuracy below oracle, points", "features named: recall/precision, in how many buffers"]
    head += ["gate passes: ours/oracle/undefended"]
    return table(head, rows)


def _worst_excess(own: Sequence[Line]) -> str:
    """With its standard error over initialisations, where there are several."""
    worst = max(own, key=lambda line: float(line["excess"]["ours"]))
    error = worst.get("excess_error", {}).get("ours", math.nan)
    return f"{worst['excess']['ours']:+.3f}" + ("" if math.isnan(error) else f" ± {error:.3f}")


def _named(closure: Sequence[tuple[float, float]], own: Sequence[Line]) -> str:
    """Where a slice of poison names any; a buffer in which none does is counted as such."""
    of = sum(bool(line.get("changed")) for line in own)
    if not of:
        return "-"
    figures = "/".join(f"{value:.2f}" for value in np.mean(closure, axis=0)) if closure else "-"
    return f"{figures} in {len(closure)} of {of}"


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
                _passes([line["gate"]["ours"]["passed"] for line in own if "gate" in line]),
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


def _passes(passed: Sequence[bool]) -> str:
    """Of the candidates that there are: buffers that were screened alone have none."""
    return f"{sum(passed)} of {len(passed)}" if passed else "-"


def gates(lines: Sequence[Line]) -> str:
    """What the gate said of every candidate, by what it is and where."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for line in lines:
        for kind, said in candidates(line):
            result = said.get("result", "passed" if said["passed"] else "not passed")
            counts.setdefault((kind, line["data"]), Counter())[result] += 1
    rows = [
        [kind, data, str(n.total()), *(str(n[result]) for result in ("rejected", "vetting", "passed"))]
        for (kind, data), n in sorted(counts.items())
    ]
    return table(("candidate", "data", "n", "rejected", "held", "passed"), rows)


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
        told = campaigns(line)
        working = [neutral for neutral, works in told if works]
        rows.append(
            [
                f"{line['data']} {line['seed']}" + (" (rows drawn again)" if line.get("redrawn") else ""),
                f"{len(line['rounds'])}, {len(played)}",
                f"{sum(neutral for neutral, _ in told)} of {len(told)}",
                f"{sum(working)} of {len(working)}" if "undefended" in played[0]["asr"] else "not measured",
                f"{max(excess):+.3f} ({worst['campaign']})",
                f"{max(later):+.3f}",
                f"{100 * (last['oracle'] - last['ours']):+.2f}",
                str(sum(r["gate"]["passed"] for r in line["rounds"])),
            ]
        )
    head = ("data, seed", "rounds, campaigns played", "neutralised, then and at the end")
    head += (
        "of those that work undefended",
        "worst excess",
        "worst excess at the end",
        "accuracy below oracle, points",
    )
    return table((*head, "gate passes"), rows)


def skipped(lines: Iterable[Line]) -> str:
    """What a data set could not play, and why; campaigns of rounds, too."""
    rows = []
    for line in lines:
        where = f"{line['data']} {line['seed']} {line['case']}"
        rows += [[where, line["skipped"]]] if "skipped" in line else []
        rows += [[f"{where}, {r['round']}", r["skipped"]] for r in line.get("rounds", ()) if "skipped" in r]
    return table(("data, seed, case", "why"), rows)


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
