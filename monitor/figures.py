"""Figures and findings as JSON can hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def figure(value: float) -> float | None:
    """A number as JSON can hold it: nine significant digits, None for what is not finite.

    >>> figure(0.1 + 0.2), figure(float("inf"))
    (0.3, None)
    """
    return float(f"{value:.9g}") if math.isfinite(value) else None


def plain(value: Any) -> Any:
    """Findings as JSON: mappings, lists, text, truth values and figures; numpy's scalars are numbers too."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return figure(value)
    return value
