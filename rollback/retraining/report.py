"""What a retraining writes down: removed and retained rows, and the candidate's lineage."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from detectors.batch import Bools
from rollback.retraining.data import Data
from rollback.sanitise.rows import Sanitised
from rollback.tables.table import Column


def removed_columns(data: Data, found: Sanitised, returned: Bools) -> dict[str, Column]:
    """`removed.parquet`: which rows are not trained on, and why."""
    out = found.removed & ~returned
    blank = np.full(len(data.unlabelled), "", dtype=np.str_)
    return {
        "id": np.concatenate([data.new_id[out], data.unlabelled]),
        "reason": np.concatenate([found.reason[out], np.where(blank == "", "has no label", blank)]),
        "screen": np.concatenate([found.screen[out], np.where(blank == "", "unlabelled", blank)]),
        "score": np.concatenate([found.score[out], np.full(len(blank), np.nan)]),
    }


def retained_columns(data: Data, found: Sanitised, returned: Bools) -> dict[str, Column]:
    """`retained.parquet`: the screened rows that are trained on, and how much they weigh."""
    kept = ~found.removed | returned
    return {"id": data.new_id[kept], "weight": np.where(returned, 1.0, found.weight)[kept]}


def sanitising(data: Data, found: Sanitised, returned: Bools) -> dict[str, Any]:
    """What the screens removed and why, for the lineage: counts, slices, stated error rates."""
    out = found.removed & ~returned
    names, counts = np.unique(found.screen[out], return_counts=True)
    return {
        "new": len(data.new),
        "removed": int(out.sum()),
        "returned": int(returned.sum()),
        "unlabelled": len(data.unlabelled),
        "by_screen": dict(zip(names.tolist(), counts.tolist(), strict=True)),
        "error_rate": dict(found.error_rate),
        "slices": msgspec.to_builtins(found.slices),
        "counterexamples": 0 if found.counterexamples is None else len(found.counterexamples),
        "remarks": [*data.remarks, *found.remarks],
    }
