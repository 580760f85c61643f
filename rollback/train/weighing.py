"""Rows as libraries want them that know nothing of rows without a say."""

from __future__ import annotations

import numpy as np

from rollback.train.recipe import RecipeError, TrainingRows


def require_weights(rows: TrainingRows) -> None:
    """Raises `RecipeError` for weights that are none, which libraries take without a word, and where nothing counts."""
    if rows.weight is None:
        return
    if not np.isfinite(rows.weight).all() or (rows.weight < 0).any():
        raise RecipeError("row weights must be finite and at least 0")
    if not (rows.weight > 0).any():
        raise RecipeError("every row weighs 0: there is nothing to learn from")


def heavy_rows(rows: TrainingRows) -> TrainingRows:
    """The rows that weigh something: one of weight zero must not even decide where a tree can be split."""
    if rows.weight is None:
        return rows
    used = rows.take(rows.weight > 0)
    if not len(used):
        raise RecipeError("every row weighs 0: there is nothing to learn from")
    return used
