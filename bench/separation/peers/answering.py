"""What a peer's process does: reads the path of a pair of samples a line, answers with a number a line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np


def answer(statistic: Callable[[Any, Any], float]) -> None:
    """Until its input ends. Samples are float32, [rows, features], in ``known`` and ``seen``."""
    warnings.simplefilter("ignore")  # of libraries that are not ours
    for line in sys.stdin:
        with np.load(line.strip()) as pair:
            print(f"answer {statistic(pair['known'], pair['seen'])!r}", flush=True)
