"""Which column of a foreign model's probabilities is which class: said, named by the model, or found by agreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from detectors.batch import Floats, Strings
from rollback.onnx.layout import ImportRefused
from rollback.tables.table import sorted_classes

FEWEST_ROWS: Final = 20
CLEAR_LIFT: Final = 0.25
MARGIN: Final = 1e-6


@dataclass(frozen=True, slots=True)
class ClassOrder:
    """``columns[i]`` is the position of ``classes[i]`` among the model's probabilities; ``how`` this was found."""

    classes: tuple[str, ...]
    columns: tuple[int, ...]
    how: str


def named_columns(table: Floats, labels: Strings, stated: Sequence[tuple[str, ...]]) -> tuple[str, ...] | None:
    """The class name of every column, from the label that the model gives where that column is highest.

    Columns that are never highest get their name from a list ``stated`` in the model, if that agrees with the rest,
    or are the one name left of it. None where a name stays open or the labels do not follow the highest column.
    """
    top = np.argmax(table, axis=1)
    highest, second = np.sort(table, axis=1)[:, -1], np.sort(table, axis=1)[:, -2]
    seen: dict[int, str] = {}
    for column in range(table.shape[1]):
        names = np.unique(labels[(top == column) & (highest > second + MARGIN)])
        if len(names) > 1:
            return None
        if len(names):
            seen[column] = str(names[0])
    if len(set(seen.values())) != len(seen):
        return None
    if len(seen) == table.shape[1]:
        return tuple(seen[column] for column in range(table.shape[1]))
    for names_stated in stated:
        if len(names_stated) == table.shape[1] and all(names_stated[c] == name for c, name in seen.items()):
            return names_stated
    return None


def class_order(
    table: Floats, labels: Strings, *, given: Sequence[str] | None, names: Sequence[str] | None
) -> ClassOrder:
    """The order of classes for probabilities[n,m] of reference rows with these ``labels`` ("" where unknown).

    ``given`` is what the user says (``--classes``), ``names`` what the model calls its columns. Where the model itself
    uses the given names, they are matched by name and the given order is only that of the manifest.
    Raises `ImportRefused` where the order is not certain.
    """
    width = table.shape[1]
    present = sorted_classes(labels)
    if given is not None:
        return _given(width, present, given, names)
    if names is not None and set(present) <= set(names):
        return ClassOrder(tuple(names), tuple(range(width)), "named by the model")
    if names is not None and set(present) & set(names):
        strange = sorted(set(present) - set(names))
        raise ImportRefused(
            f"the reference has the labels {', '.join(strange)}, but the model's classes are {', '.join(names)}; leave "
            "those rows out, or say what the model's columns are with --classes"
        )
    if len(present) != width:
        raise ImportRefused(
            f"the model gives {width} probabilities, the reference has {len(present)} labels ({', '.join(present)}), "
            "and the model does not name its classes: say them in the model's order with --classes"
        )
    return ClassOrder(present, _agreeing(table, labels, present), "by agreement with the reference's labels")


def _given(width: int, present: Sequence[str], given: Sequence[str], names: Sequence[str] | None) -> ClassOrder:
    if len(given) != width or len(set(given)) != width:
        raise ImportRefused(
            f"the model gives {width} probabilities; --classes must name as many, got {', '.join(given)}"
        )
    if strange := sorted(set(present) - set(given)):
        raise ImportRefused(f"the reference has the labels {', '.join(strange)}, which --classes does not name")
    if names is not None and set(names) == set(given):
        return ClassOrder(tuple(given), tuple(list(names).index(name) for name in given), "named by the model")
    return ClassOrder(tuple(given), tuple(range(width)), "as --classes says")


def lifts(table: Floats, labels: Strings, classes: Sequence[str]) -> Floats:
    """lift[c, j]: mean of column j over the rows of class c, minus its mean over the other labelled rows.

    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
    >>> lifts(p, np.array(["b", "b", "a"]), ["a", "b"]).round(2).tolist()
    [[-0.75, 0.75], [0.75, -0.75]]
    """
    known = labels != ""
    rows = [table[labels == c].mean(axis=0) - table[known & (labels != c)].mean(axis=0) for c in classes]
    return np.array(rows, dtype=np.float64)


def _agreeing(table: Floats, labels: Strings, classes: Sequence[str]) -> tuple[int, ...]:
    """For each class the column that its rows clearly raise; raises `ImportRefused` where that is not one each.

    Clear means: at least 20 rows, a lift of at least 0.25, and every other column's lift at most half of it.
    """
    counts = [int(np.count_nonzero(labels == c)) for c in classes]
    lift = lifts(table, labels, classes)
    columns = np.argmax(lift, axis=1)
    best = lift.max(axis=1)
    runner_up = np.sort(lift, axis=1)[:, -2]
    clear = (np.array(counts) >= FEWEST_ROWS) & (best >= CLEAR_LIFT) & (runner_up <= best / 2)
    if len(set(columns.tolist())) == len(classes) and clear.all():
        return tuple(columns.tolist())
    unclear = [
        f"{name} ({count} rows, highest mean rise {rise:.2f}, next {other:.2f})"
        for name, count, rise, other, fine in zip(classes, counts, best, runner_up, clear, strict=True)
        if not fine
    ]
    why = f"not clear for: {'; '.join(unclear)}" if unclear else "several classes raise the same column"
    raise ImportRefused(
        "the model does not name its classes, and the reference's labels do not settle their order: "
        f"{why}. Say them in the model's order with --classes"
    )


def agreement(table: Floats, labels: Strings, order: ClassOrder) -> tuple[float, str]:
    """The share of labelled rows whose class is scored highest, and a warning ("" for none).

    The warning names another order under which the model would agree on clearly more rows: a sign of a wrong order,
    or of a model that was taught wrong labels.
    """
    known = np.isin(labels, order.classes)
    if not known.any():
        return float("nan"), ""
    top = np.argmax(table[known][:, list(order.columns)], axis=1)
    truth = np.array([order.classes.index(str(name)) for name in labels[known]])
    table_of = np.zeros((len(order.classes), len(order.classes)))
    np.add.at(table_of, (truth, top), 1.0)
    share = float(np.trace(table_of) / table_of.sum())
    rows, best = linear_sum_assignment(-table_of)
    other = float(table_of[rows, best].sum() / table_of.sum())
    if other < share + 0.1:
        return share, ""
    return (
        share,
        f"the model agrees with {share:.1%} of the labels; with its classes in another order, {other:.1%}",
    )
