"""Evidently's `DataDriftPreset`: the share of columns that it calls drifted, tests of its own choice."""

from __future__ import annotations

from typing import Any

import pandas as pd
from answering import answer
from evidently import Report
from evidently.presets import DataDriftPreset


def statistic(known: Any, seen: Any) -> float:
    """At the defaults."""
    names = [f"x{j}" for j in range(known.shape[1])]
    run = Report([DataDriftPreset()]).run(pd.DataFrame(seen, columns=names), pd.DataFrame(known, columns=names))
    count = next(m for m in run.dict()["metrics"] if m["metric_name"].startswith("DriftedColumnsCount"))
    return float(count["value"]["share"])


if __name__ == "__main__":
    answer(statistic)
