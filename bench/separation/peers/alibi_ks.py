"""Alibi Detect's `KSDrift`: the largest Kolmogorov-Smirnov distance of any feature."""

from __future__ import annotations

from typing import Any

from alibi_detect.cd import KSDrift
from answering import answer


def statistic(known: Any, seen: Any) -> float:
    """At the defaults."""
    return float(KSDrift(known).predict(seen)["data"]["distance"].max())


if __name__ == "__main__":
    answer(statistic)
