"""The dashboards on the daemon itself: `tocsin run` in mode act over a real Kafka, watched by a real Prometheus."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from acting_daemon import complete, stage
from daemon_process import send, wait_until
from grafana_dashboard import PANELS, ROOT, TARGETS, filled
from kafka_broker import KafkaBroker
from prometheus_server import Prometheus, Series, free_port
from scenario import World

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900)]

JOB = "tocsin"
RULE_FILES = sorted((ROOT / "prometheus" / "rules").glob("*.yaml"))
NOT_HERE = {
    "model: Error rates by who labels",
    "pipeline: Alerts wait, and none was taken for",
    "pipeline: GPU memory",
    "pipeline: GPU busy",
}
"""Nobody labels but the one who is asked, and few labels are no rate (the demonstration has it); no alert waits, and
there is no GPU.
"""
STEP = 1.0


class Watched(NamedTuple):
    """A daemon's story as Prometheus saw it."""

    prometheus: Prometheus
    start: float
    end: float

    def panel(self, title: str) -> list[Series]:
        seconds = self.end - self.start
        found = []
        for target in TARGETS:
            if target.panel == title:
                expr = filled(target.expr, {"job": JOB}, seconds)
                at_once = self.prometheus.at(expr, self.end)
                found += at_once if target.instant else self.prometheus.over(expr, self.start, self.end, STEP)
        return found

    def highest(self, title: str, **labels: str) -> float:
        series = [each for each in self.panel(title) if labels.items() <= each.labels.items()]
        return max((v for each in series for v in each.values if math.isfinite(v)), default=math.nan)


@pytest.fixture(scope="module")
def watched(kafka: KafkaBroker, world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder, topic, port = tmp_path_factory.mktemp("watched"), f"watched-{time.time_ns()}", free_port()
    kafka.create_topic(topic)
    more = {
        "http": {"listen": f"127.0.0.1:{port}"},
        "sinks": {"local": {"type": "file", "path": str(folder / "alerts.ndjson")}},
        "schedule": {"canary_probe_seconds": 1, "registry_verification_seconds": 2, "housekeeping_seconds": 2},
    }
    with (
        Prometheus(folder, {JOB: port}, RULE_FILES) as prometheus,
        stage(kafka, topic, folder / "stage", world, **more) as (acting, traffic),
    ):
        start = time.time()
        acting.daemon.start()
        # a rate needs to have seen it at 0
        wait_until(lambda: bool(prometheus.at("tocsin_quarantined_total", time.time())), "the first scrape")
        send(kafka.bootstrap, topic, [b"this is no event"])
        complete(acting, traffic)
        yield Watched(prometheus, start, prometheus.last_seen(JOB))


@pytest.mark.parametrize("title", [name for name, _ in PANELS if name not in NOT_HERE])
def test_every_panel_shows_something_of_the_daemon(watched: Watched, title: str) -> None:
    assert [v for series in watched.panel(title) for v in series.values if math.isfinite(v)]


def test_what_was_done_and_by_which_servers_is_seen(watched: Watched) -> None:
    for action in ("rollback", "retraining", "promotion"):
        assert watched.highest("response: Responses by outcome", action=action, outcome="done") >= 1
    assert watched.highest("response: Endpoints serve what they should") == 1
    assert watched.highest("response: Agreement on canaries") == 1
    assert watched.highest("pipeline: Alerts sent", sink="local") > 0


def test_the_rule_that_calls_somebody_about_the_poisoning_is_seen_to_fire(watched: Watched) -> None:
    assert watched.highest("fleet: Rules that fire", alertname="TocsinPoisoning") == 1
    assert watched.highest("response: How long each stage took", stage="training") > 0
