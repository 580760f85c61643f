"""Tables of what `canaries.py` measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

Record = dict[str, Any]


def found_table(records: Sequence[Record], tolerance: float) -> str:
    """Kinds by families: the share found of files with an effect (mean, worst set and seed), and how many those are.

    Behind a slash after the numbers: the share found of those that change one of the 2000 decisions.
    """
    altered = [r for r in records if "effect" in r]
    families = list(dict.fromkeys(r["family"] for r in altered))
    kinds = list(dict.fromkeys(r["kind"] for r in altered))
    lines = [_row(["tampering", *families]), _row(["---"] * (len(families) + 1))]
    for kind in kinds:
        own = [[r for r in altered if r["kind"] == kind and r["family"] == family] for family in families]
        lines.append(_row([kind, *(_cell(each, tolerance) for each in own)]))
    return "\n".join(lines)


def clean_table(records: Sequence[Record], tolerance: float) -> str:
    """Conditions: probes, false alarms, the largest difference."""
    by_condition: dict[str, list[float]] = defaultdict(list)
    for record in records:
        if "clean" in record:
            by_condition[record["clean"]].append(record["off"])
    lines = [_row(["clean condition", "probes", "false alarms", "largest difference"]), _row(["---"] * 4)]
    by_condition["all"] = [each for offs in by_condition.values() for each in offs]
    for condition, offs in by_condition.items():
        alarms = sum(each > tolerance for each in offs)
        lines.append(_row([condition, str(len(offs)), str(alarms), f"{max(offs, default=0.0):.1e}"]))
    return "\n".join(lines)


def _cell(records: Sequence[Record], tolerance: float) -> str:
    if not records:
        return "-"
    effective = [r for r in records if r["effect"] > tolerance]
    if not effective:
        return f"no effect (0 of {len(records)})"
    by_run: dict[tuple[str, int], list[bool]] = defaultdict(list)
    for r in effective:
        by_run[r["set"], r["seed"]].append(r["off"] > tolerance)
    worst = min(float(np.mean(found)) for found in by_run.values())
    mean = float(np.mean([r["off"] > tolerance for r in effective]))
    deciding = [r["off"] > tolerance for r in effective if r.get("decisions")]
    decided = f", decisions {_share(float(np.mean(deciding)))} of {len(deciding)}" if deciding and mean < 1 else ""
    return f"{_share(mean)} / {_share(worst)} of {len(effective)}/{len(records)}{decided}"


def _share(value: float) -> str:
    """Never rounded to 1 where it is less."""
    return "1" if value == 1 else f"{np.floor(value * 1000) / 1000:.3f}".removeprefix("0")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
