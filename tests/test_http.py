"""Metrics and health on one listener."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from monitor.watching.health import Health
from monitor.watching.http import Listener
from monitor.watching.metrics import Metrics


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock, patience=30.0)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def listener(registry: CollectorRegistry, health: Health) -> Iterator[Listener]:
    with Listener("127.0.0.1:0", registry, health) as listening:
        yield listening


def ask(listener: Listener, path: str, method: str = "GET", accept: str = "") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", listener.port, timeout=10)
    try:
        connection.request(method, path, headers={"Accept": accept})
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read().decode()
    finally:
        connection.close()


def test_metrics_are_served_as_text(listener: Listener, registry: CollectorRegistry, clock: Clock) -> None:
    Metrics(registry, "1", clock).duplicates("nids", 3)
    status, kind, body = ask(listener, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=")
    assert 'tocsin_duplicates_total{model="nids"} 3.0\n' in body
    assert "_created" not in body


def test_openmetrics_is_served_to_who_asks_for_it(
    listener: Listener, registry: CollectorRegistry, clock: Clock
) -> None:
    Metrics(registry, "1", clock).duplicates("nids", 3)
    _, kind, body = ask(listener, "/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert "tocsin_duplicates" in {family.name for family in text_string_to_metric_families(body)}


def test_it_is_alive_while_the_loop_turns_and_dead_once_it_hangs(
    listener: Listener, health: Health, clock: Clock
) -> None:
    clock.now = 30.0
    assert ask(listener, "/healthz")[0] == 200
    clock.now = 31.0
    assert ask(listener, "/healthz")[::2] == (503, "the loop has not turned for 31 s\n")
    health.turned()
    assert ask(listener, "/healthz")[::2] == (200, "ok\n")


def test_it_is_ready_once_models_are_loaded_and_a_source_is_assigned(listener: Listener, health: Health) -> None:
    assert ask(listener, "/readyz")[::2] == (503, "the models are not loaded yet\n")
    health.loaded = True
    assert ask(listener, "/readyz")[::2] == (503, "the source has assigned nothing to read yet\n")
    health.assigned = True
    assert ask(listener, "/readyz")[::2] == (200, "ok\n")


@pytest.mark.parametrize("family", ["drift", "poisoning", "inconclusive", "fault"])
def test_readiness_does_not_depend_on_the_verdict(
    listener: Listener, health: Health, registry: CollectorRegistry, clock: Clock, family: str
) -> None:
    health.loaded = health.assigned = True
    metrics = Metrics(registry, "1", clock)
    verdict = {"family": family, "hypothesis": None, "confidence": 1.0, "family_confidence": 1.0}
    metrics.window({"model": "nids", "version": "1", "events": 1, "at": 1.0, "detectors": {}, "verdict": verdict})
    metrics.incident("nids", family, "create")
    metrics.incidents_open("nids", 1)
    assert ask(listener, "/readyz")[0] == 200
    assert ask(listener, "/healthz")[0] == 200


@pytest.mark.parametrize("path", ["/metrics", "/healthz"])
def test_head_tells_the_same_without_a_body(listener: Listener, path: str) -> None:
    assert ask(listener, path, "HEAD") == (200, ask(listener, path)[1], "")


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/", "GET", 404), ("/metrics/x", "GET", 404), ("/metrics", "POST", 501)]
)
def test_there_is_nothing_else(listener: Listener, path: str, method: str, status: int) -> None:
    assert ask(listener, path, method)[0] == status


def test_the_server_does_not_tell_what_it_is_made_of(listener: Listener) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", listener.port, timeout=10)
    connection.request("GET", "/healthz")
    assert connection.getresponse().headers["Server"].strip() == "tocsin"
    connection.close()


def test_an_address_in_use_is_named(listener: Listener, health: Health) -> None:
    with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{listener.port}: .*\(http\.listen\)"):
        Listener(f"127.0.0.1:{listener.port}", CollectorRegistry(), health)


def test_it_listens_on_ipv6(health: Health) -> None:
    try:
        with Listener("[::1]:0", CollectorRegistry(), health) as listening:
            assert listening.port > 0
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
