"""Which output of a foreign ONNX model holds its probabilities, and which label it gives each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from detectors.batch import Floats, Strings
from rollback.onnx.layout import ImportRefused
from rollback.scorer import BATCH_ROWS, Feeder, run_session

TOLERANCE: Final = 1e-3
"""How far from 1 the probabilities of a row may sum, per class (as for events)."""
HOW_TO_FIX: Final = (
    "export the model with its last step: torch.nn.Sequential(model, torch.nn.Softmax(dim=1)); skl2onnx: a classifier "
    "with predict_proba, option raw_scores=False"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """Probabilities[n,m] of one output; a model with one probability p has the columns 1-p and p (``single``).

    ``keys`` are the classes of a ZipMap, in the columns' order; empty for a tensor.
    """

    output: str
    table: Floats
    single: bool = False
    keys: tuple[str | int, ...] = ()


def run_all(session: Any, feeder: Feeder, x: Floats) -> dict[str, Any]:
    """Every output of the model for all rows."""
    names = [output.name for output in session.get_outputs()]
    parts = [
        run_session(session, names, feeder.feed(x[start : start + BATCH_ROWS]))
        for start in range(0, len(x), BATCH_ROWS)
    ]
    return {name: _joined([part[i] for part in parts]) for i, name in enumerate(names)}


def _joined(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], list):
        return [row for part in parts for row in part]
    return np.concatenate([np.atleast_1d(part) for part in parts])


def find_answer(outputs: Mapping[str, Any], rows: int) -> Answer:
    """The one output that holds probabilities on every row. Raises `ImportRefused` with what each output lacks."""
    found, faults = [], []
    for name, value in outputs.items():
        candidate = _candidate(name, value, rows)
        if candidate is None:
            continue
        fault = _fault(candidate)
        if fault:
            faults.append(f"output {name!r} {fault}")
        else:
            found.append(candidate)
    if not found:
        what = "; ".join(faults) or f"none of the outputs {', '.join(outputs)} holds numbers for every row"
        raise ImportRefused(f"no output holds probabilities: {what}")
    first, *others = sorted(found, key=lambda answer: answer.single)
    for other in others:
        if other.single == first.single and not _same(first, other):
            names = f"{first.output!r} and {other.output!r}"
            raise ImportRefused(
                f"the outputs {names} both look like probabilities and differ; export the model with one of them"
            )
    return first


def _same(a: Answer, b: Answer) -> bool:
    return a.table.shape == b.table.shape and bool(np.allclose(a.table, b.table, atol=1e-6))


def _candidate(name: str, value: Any, rows: int) -> Answer | None:
    if isinstance(value, list):
        keys = tuple(value[0]) if value and isinstance(value[0], dict) else ()
        return (
            Answer(name, np.array([[row[k] for k in keys] for row in value], dtype=np.float64), keys=keys)
            if keys
            else None
        )
    if value.dtype.kind != "f" or len(value) != rows or value.ndim > 2:  # noqa: PLR2004 - rows and classes
        return None
    table = value.astype(np.float64).reshape(rows, -1)
    if table.shape[1] == 1:
        return Answer(name, np.column_stack([1.0 - table[:, 0], table[:, 0]]), single=True)
    return Answer(name, table)


def _fault(answer: Answer) -> str:
    """Why an output is no probability for a row; "" where it is one for all."""
    table = answer.table
    if not np.isfinite(table).all():
        row = int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0])
        return f"is NaN or infinite, first for row {row + 1} of the reference"
    if table.min() < -TOLERANCE or table.max() > 1.0 + TOLERANCE:
        shown = table[:, 1:] if answer.single else table
        return f"ranges from {shown.min():.3g} to {shown.max():.3g}: these are logits or margins; {HOW_TO_FIX}"
    sums = table.sum(axis=1)
    if np.abs(sums - 1.0).max() > TOLERANCE * table.shape[1]:
        return f"has rows that sum to between {sums.min():.3g} and {sums.max():.3g} instead of 1; {HOW_TO_FIX}"
    if len(table) > 1 and not np.ptp(table, axis=0).any():
        return "is the same for every row of the reference; are the columns those that the model was trained on?"
    return ""


def given_labels(outputs: Mapping[str, Any], rows: int) -> Strings | None:
    """The label that the model gives each row, as text; None where it has no such output."""
    for value in outputs.values():
        if isinstance(value, np.ndarray) and value.size == rows and value.dtype.kind in "iUOSb":
            return np.array([str(v) for v in value.reshape(-1).tolist()], dtype=np.str_)
    return None
