"""What a retraining writes down: removed, retained and believed rows, and the candidate's lineage."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from detectors.batch import Bools, Strings
from rollback.retraining.data import Data
from rollback.retraining.vetting import members
from rollback.sanitise.rows import Sanitised
from rollback.tables.table import Column


def removed_columns(data: Data, found: Sanitised, returned: Bools) -> dict[str, Column]:
    """`removed.parquet`: which rows are not trained on, why, and whose they are.

    ``slice`` is ``slice_N``, the N-th of the lineage's slices; ``weight`` is 0.
    """
    out = found.removed & ~returned
    blank = np.full(len(data.unlabelled), "", dtype=np.str_)
    labels = np.array(data.schema.classes, dtype=np.str_)[data.new.y[out]]
    return {
        "id": np.concatenate([data.new_id[out], data.unlabelled.id]),
        "reason": np.concatenate([found.reason[out], np.where(blank == "", "has no label", blank)]),
        "screen": np.concatenate([found.screen[out], np.where(blank == "", "unlabelled", blank)]),
        "score": np.concatenate([found.score[out], np.full(len(blank), np.nan)]),
        "slice": np.concatenate([slice_names(data, found)[out], blank]),
        "source": np.concatenate([data.new.source[out], data.unlabelled.source]),
        "label": np.concatenate([labels, blank]),
        "weight": np.zeros(np.count_nonzero(out) + len(blank)),
        "digest": np.concatenate([data.new_about.digest[out], data.unlabelled.digest]),
    }


def slice_names(data: Data, found: Sanitised) -> Strings:
    """Of each new row the first slice that it is in, "" where it is in none."""
    names = np.full(len(data.new), "", dtype="U16")
    for number, piece in reversed([*enumerate(found.slices, start=1)]):
        names[members(piece, found, data.new)] = f"slice_{number}"
    return names


def retained_columns(data: Data, found: Sanitised, returned: Bools, reason: Strings) -> dict[str, Column]:
    """`retained.parquet`: the screened rows that are trained on, how much they weigh, and why it is less than 1."""
    kept = ~found.removed | returned
    weight = np.where(returned, 1.0, found.weight)[kept]
    return {
        "id": data.new_id[kept],
        "weight": weight,
        "reason": np.where(weight < 1.0, reason[kept], ""),
        "digest": data.new_about.digest[kept],
    }


def believed_columns(data: Data, waiting: Bools) -> dict[str, Column]:
    """`believed.parquet`: the rows that were not screened, as the operator or a labeller vouches for them.

    ``use`` is ``base`` (trained on as they are), ``holdout`` (only judged by) or ``withheld``: those of the base that
    are ``waiting`` with a slice (`withheld`). With `removed.parquet` and `retained.parquet` that is every row of the
    buffer, each once.
    """
    use = np.full(len(data.held), "holdout", dtype="U8")
    buffer = int(np.count_nonzero(~data.held))  # the base's last rows
    use[~data.held] = np.where(waiting[len(waiting) - buffer :], "withheld", "base")
    return {"id": data.believed.id, "use": use, "digest": data.believed.digest}


def sanitising(data: Data, found: Sanitised, returned: Bools) -> dict[str, Any]:
    """What the screens removed and why, for the lineage: counts, slices, stated error rates."""
    out = found.removed & ~returned
    names, counts = np.unique(found.screen[out], return_counts=True)
    down = ~out & (np.where(returned, 1.0, found.weight) < 1.0)
    return {
        "new": len(data.new),
        "removed": int(out.sum()),
        "returned": int(returned.sum()),
        "down_weighted": int(down.sum()),
        "unlabelled": len(data.unlabelled),
        "by_screen": dict(zip(names.tolist(), counts.tolist(), strict=True)),
        "error_rate": dict(found.error_rate),
        "slices": msgspec.to_builtins(found.slices),
        "counterexamples": 0 if found.counterexamples is None else len(found.counterexamples),
        "remarks": [*data.remarks, *found.remarks],
    }
