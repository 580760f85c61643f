"""The batch tests and repairs of a retraining: the rows to go on with, and what is written down about them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from rollback.repair.mend import Mended, mend
from rollback.retraining.cautions import cautions
from rollback.retraining.data import Data
from rollback.sanitise.rows import Progress
from rollback.tables.cells import show_number
from rollback.tables.table import Column


def repaired(data: Data, seed: int, progress: Progress) -> tuple[Data, Mended]:
    """The data with the faults of its new rows undone; its remarks say so, and what else to beware of."""
    ts = data.new_about.ts
    mended = mend(data.base, data.new, None if np.isnan(ts).all() else ts, seed=seed, progress=progress)
    return replace(data, new=mended.rows, remarks=(*data.remarks, *cautions(data), *mended.remarks)), mended


def repaired_columns(data: Data, mended: Mended) -> dict[str, Column]:
    """`repaired.parquet`: every changed value with what it was, as a person writes it ("" is missing)."""
    cells = mended.cells

    def shown(values: np.ndarray) -> Column:
        pairs = zip(values.tolist(), cells.feature.tolist(), strict=True)
        raw = [data.schema.features[j].show(value) for value, j in pairs]
        return np.array([v if isinstance(v, str) else show_number(float("nan") if v is None else v) for v in raw], "U")

    return {
        "id": data.new_id[cells.row],
        "feature": np.array(data.schema.names, dtype=np.str_)[cells.feature],
        "before": shown(cells.before),
        "after": shown(cells.after),
        "repair": cells.repair,
        "why": cells.why,
    }


def batch_report(mended: Mended) -> dict[str, Any]:
    """`batches.json`: which batches differ, by which features, how, and what was done about it."""
    return {
        "tested": mended.tested,
        "level": mended.level,
        "untested_sources": list(mended.untested),
        "findings": msgspec.to_builtins(mended.findings),
    }


def repairing(mended: Mended) -> dict[str, Any]:
    """For the lineage: how many values each repair changed."""
    names, counts = np.unique(mended.cells.repair, return_counts=True)
    return {
        "batches": mended.tested,
        "different": len({(f.source, f.part) for f in mended.findings if f.p <= mended.level}),
        "level": mended.level,
        "cells": len(mended.cells.row),
        "rows": len(np.unique(mended.cells.row)),
        "by_repair": dict(zip(names.tolist(), counts.tolist(), strict=True)),
    }
