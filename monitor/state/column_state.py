"""Columns to checkpoint state and back."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from detectors.batch import Columns
from detectors.evidence import State

C = TypeVar("C", bound=Columns)


def columns_state(columns: Columns) -> State:
    """Every field, by name."""
    return {f.name: getattr(columns, f.name) for f in fields(columns)}  # type: ignore[arg-type]  # subclasses are dataclasses


def columns_from(kind: type[C], state: State) -> C:
    """The columns of which `columns_state` made ``state``."""
    made: Any = kind
    columns: C = made(**state)
    return columns
