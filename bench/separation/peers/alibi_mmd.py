"""Alibi Detect's `MMDDrift` (PyTorch): the squared maximum mean discrepancy over its permutations' threshold."""

from __future__ import annotations

from typing import Any

import torch
from alibi_detect.cd import MMDDrift
from answering import answer


def statistic(known: Any, seen: Any) -> float:
    """At the defaults: RBF kernel at the median distance, 100 permutations."""
    torch.manual_seed(0)
    found = MMDDrift(known, backend="pytorch", device="cpu").predict(seen)["data"]
    return float(found["distance"] - found["distance_threshold"])


if __name__ == "__main__":
    answer(statistic)
