"""Rows as libraries want them that know nothing of rows without a say."""

from __future__ import annotations

from rollback.train.recipe import RecipeError, TrainingRows


def heavy_rows(rows: TrainingRows) -> TrainingRows:
    """The rows that weigh something: one of weight zero must not even decide where a tree can be split."""
    if rows.weight is None:
        return rows
    used = rows.take(rows.weight > 0)
    if not len(used):
        raise RecipeError("every row weighs 0: there is nothing to learn from")
    return used
