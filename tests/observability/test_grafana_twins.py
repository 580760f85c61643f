"""Every query of the dashboards and every rule while two processes watch models of the same names."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from every_metric import EveryMetric
from grafana_dashboard import ANNOTATIONS, ROOT, TARGETS, Target, filled
from prometheus_server import Prometheus

RULES = sorted((ROOT / "prometheus" / "rules").glob("*.yaml"))
SECONDS = 6.0


class Seen(NamedTuple):
    """Two processes, as Prometheus saw them from ``start`` to ``end``."""

    prometheus: Prometheus
    start: float
    end: float


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with EveryMetric() as one, EveryMetric() as other:
        ports = {"one": one.port, "other": other.port}
        with Prometheus(tmp_path_factory.mktemp("twins"), ports, RULES) as prometheus:
            start = time.time()
            while time.time() < start + SECONDS:
                one.touch()
                other.touch()
                time.sleep(0.5)
            yield Seen(prometheus, start, time.time())


@pytest.mark.parametrize("target", [*TARGETS, *ANNOTATIONS], ids=lambda target: target.panel)
def test_a_query_takes_both(seen: Seen, target: Target) -> None:
    expr = filled(target.expr, {}, SECONDS)
    seen.prometheus.at(expr, seen.end)
    if not target.instant:
        seen.prometheus.over(expr, seen.start, seen.end, 1.0)


def test_no_rule_fails(seen: Seen) -> None:
    assert {rule["name"]: rule["lastError"] for rule in seen.prometheus.rules() if rule.get("lastError")} == {}
