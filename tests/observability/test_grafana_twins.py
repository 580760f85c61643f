"""Every query of the dashboards and every rule while two processes watch models of the same names."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from daemon_process import wait_until
from every_metric import MODEL, EveryMetric, record
from grafana_dashboard import ANNOTATIONS, ROOT, TARGETS, Target, filled
from prometheus_client import CollectorRegistry
from prometheus_server import Prometheus

from monitor.watching.health import Health
from monitor.watching.http import Listener
from monitor.watching.metrics import Metrics

RULES = sorted((ROOT / "prometheus" / "rules").glob("*.yaml"))
SECONDS = 5.0
STABLE = "of stable"


def quiet() -> Listener:
    """A third one that held a version for poisoned, which serves there no more."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, "1.2.3", time.time)
    metrics.events(MODEL, STABLE, 5)
    metrics.window(record(STABLE, "poisoning"))
    return Listener("127.0.0.1:0", registry, Health(time.monotonic))


class Seen(NamedTuple):
    """Two processes, as Prometheus saw them from ``start`` to ``end``."""

    prometheus: Prometheus
    start: float
    end: float


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with EveryMetric() as one, EveryMetric() as other, quiet() as third:
        ports = {"one": one.port, "other": other.port, "quiet": third.port}
        with Prometheus(tmp_path_factory.mktemp("twins"), ports, RULES) as prometheus:
            wait_until(lambda: len(prometheus.at("tocsin_build_info", time.time())) == len(ports), "all to be seen", 30)
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


def test_a_version_is_not_held_for_what_it_was_where_it_serves_no_more(seen: Seen) -> None:
    asked = [target.expr for target in TARGETS if target.panel == "fleet: Verdict by version"]
    exprs = [filled(expr, {"__rate_interval": "3s"}, SECONDS) for expr in asked]
    found = [series for expr in exprs for series in seen.prometheus.at(expr, seen.end)]
    assert {value for each in found if each.labels["version"] == STABLE for value in each.values} == {0.0}


def test_no_rule_fails(seen: Seen) -> None:
    assert {rule["name"]: rule["lastError"] for rule in seen.prometheus.rules() if rule.get("lastError")} == {}
