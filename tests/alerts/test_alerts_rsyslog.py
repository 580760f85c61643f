"""Alerts at a real rsyslog, over TCP and TLS, while it dies and comes back."""

from __future__ import annotations

import json
import random
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from alert_lines import Clock, Way, alert, line
from certificates import write_certificates
from daemon_process import wait_until
from prometheus_client import CollectorRegistry
from rsyslog import Rsyslog

from monitor.alerts.courier import Clocks
from monitor.alerts.open_sinks import open_sink, open_sinks
from monitor.alerts.sink import Sink, SinkRetryableError
from monitor.alerts.syslog_frame import FACILITIES, message
from monitor.alerts.syslog_sink import READ_SECONDS, SyslogSettings, SyslogSink, connect_tcp
from monitor.alerts.tls import tls_context
from monitor.settings.sink_sections import SYSLOG_BYTES, SinkConfig
from monitor.watching.alert_metrics import AlertMetrics


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificates(tmp_path_factory.mktemp("certificates") / "good")


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Rsyslog]:
    with Rsyslog(tmp_path / "rsyslog") as running:
        yield running


@pytest.fixture
def tls_receiver(tmp_path: Path, certificates: Path) -> Iterator[Rsyslog]:
    with Rsyslog(tmp_path / "rsyslog", certificates) as running:
        yield running


@pytest.fixture(params=["tcp", "tls"])
def either(request: pytest.FixtureRequest) -> tuple[Rsyslog, SinkConfig]:
    if request.param == "tcp":
        running = request.getfixturevalue("receiver")
        return running, SinkConfig(type="syslog_tcp", address=f"127.0.0.1:{running.port}")
    running = request.getfixturevalue("tls_receiver")
    return running, tls_config(running, request.getfixturevalue("certificates"))


@pytest.fixture
def opened() -> Iterator[Callable[..., Sink]]:
    """Opens sinks, and closes them at the end."""
    with ExitStack() as stack:

        def make(config: SinkConfig, monotonic: Callable[[], float] = time.monotonic) -> Sink:
            sink = open_sink(config, monotonic)
            stack.callback(closed, sink)
            return sink

        yield make


def send_and_close(sink: Sink) -> None:
    """A receiver that refuses this client's certificate says so only after it was written to."""
    sink.send([alert(2)])
    sink.close()


def closed(sink: Sink) -> None:
    with suppress(SinkRetryableError):
        sink.close()


def tls_config(running: Rsyslog, certificates: Path, **changes: Any) -> SinkConfig:
    return SinkConfig(
        type="syslog_tls", address=f"127.0.0.1:{running.port}", **{"cafile": certificates / "ca.pem", **changes}
    )


def findings(running: Rsyslog) -> list[dict[str, Any]]:
    return [json.loads(text[text.index("] {") + 2 :]) for text in running.lines()]


def uids(running: Rsyslog) -> set[int]:
    return {int(finding["finding_info"]["uid"], 16) for finding in findings(running)}


def go_on(way: Way, sink_clock: Clock, happened: Callable[[], bool], what: str) -> None:
    """Let time pass until it has happened."""

    def step() -> bool:
        way.clock.now += 1.0
        sink_clock.now += 1.0
        way.courier.work()
        return happened()

    wait_until(step, what, 20)


def second_alert_is_not_read(way: Way, running: Rsyslog) -> None:
    """The receiver reads the first, and hangs when the second comes."""
    way.courier.take([line(1)])
    way.courier.work()
    wait_until(lambda: uids(running) == {1}, "the first alert", 20)
    running.pause()
    way.courier.take([line(2)])
    way.courier.work()


def test_alerts_arrive_whole_and_in_order(
    opened: Callable[..., Sink], either: tuple[Rsyslog, SinkConfig], tmp_path: Path
) -> None:
    running, config = either
    way = Way(tmp_path / "spool", opened(config))
    way.courier.take([line(i, summary='"]\\\n<0>1 - - - - - - forged\x00') for i in range(120)])
    for _ in range(3):
        way.courier.work()
    way.courier.close()
    wait_until(lambda: len(running.lines()) == 120, "all alerts", 20)
    assert [int(f["finding_info"]["uid"], 16) for f in findings(running)] == list(range(120))
    assert {f["message"] for f in findings(running)} == {'"]\\\n<0>1 - - - - - - forged\x00'}
    assert running.lines()[0].startswith("<130>1 2026-01-01T00:01:40.500000Z ")


def test_what_a_dead_receiver_had_not_read_is_sent_again(
    opened: Callable[..., Sink], either: tuple[Rsyslog, SinkConfig], tmp_path: Path
) -> None:
    running, config = either
    sink_clock = Clock()
    way = Way(tmp_path / "spool", opened(config, sink_clock))
    second_alert_is_not_read(way, running)
    assert way.value("failed_attempts_total") == 0
    running.stop(signal.SIGKILL)
    way.courier.take([line(3)])
    go_on(way, sink_clock, lambda: way.value("failed_attempts_total") >= 2, "attempts to fail")
    running.start()
    go_on(way, sink_clock, lambda: uids(running) == {1, 2, 3}, "the lost and the late alert")
    assert way.value("dropped_total") == 0


def test_what_a_receiver_had_not_read_is_sent_again_though_it_is_back_at_once(
    opened: Callable[..., Sink], either: tuple[Rsyslog, SinkConfig], tmp_path: Path
) -> None:
    running, config = either
    sink_clock = Clock()
    way = Way(tmp_path / "spool", opened(config, sink_clock))
    second_alert_is_not_read(way, running)
    running.stop(signal.SIGKILL)
    running.start()
    go_on(way, sink_clock, lambda: uids(running) == {1, 2}, "the lost alert")
    assert way.value("failed_attempts_total") == 1


def test_what_was_read_long_ago_is_not_sent_again(
    opened: Callable[..., Sink], receiver: Rsyslog, tmp_path: Path
) -> None:
    sink_clock = Clock()
    config = SinkConfig(type="syslog_tcp", address=f"127.0.0.1:{receiver.port}")
    way = Way(tmp_path / "spool", opened(config, sink_clock))
    way.courier.take([line(1)])
    way.courier.work()
    wait_until(lambda: uids(receiver) == {1}, "the first alert", 20)
    way.clock.now += READ_SECONDS + 1
    sink_clock.now += READ_SECONDS + 1
    way.courier.work()
    receiver.stop(signal.SIGKILL)
    receiver.start()
    way.courier.take([line(2)])
    go_on(way, sink_clock, lambda: 2 in uids(receiver), "the second alert")
    assert [f["finding_info"]["uid"] for f in findings(receiver)] == [f"{i:032x}" for i in (1, 2)]


def test_the_longest_message_fits_a_receiver_that_was_not_configured_for_it(
    opened: Callable[..., Sink], receiver: Rsyslog
) -> None:
    longest = SYSLOG_BYTES - len(message(alert(1, b""), FACILITIES["local0"], socket.gethostname()))
    opened(SinkConfig(type="syslog_tcp", address=f"127.0.0.1:{receiver.port}")).send([alert(1, b"x" * longest)])
    wait_until(receiver.lines, "the alert", 20)
    assert receiver.lines()[0].endswith(" " + "x" * longest)


def test_a_receiver_that_never_reads_is_given_up_in_bounded_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        host, port = deaf.getsockname()
        settings = SyslogSettings("deaf", "host", 16, 10_000_000, timeout_seconds=0.2)
        sink = SyslogSink(settings, lambda: connect_tcp(host, port), time.monotonic)
        huge = [alert(number, b"x" * 1_000_000) for number in range(30)]
        with pytest.raises(SinkRetryableError, match=r"deaf: no answer within 0\.2 s"):
            sink.send(huge)


def test_closing_says_what_may_be_lost(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        sink = SyslogSink(SyslogSettings("there", "host", 16, 8192), lambda: connect_tcp(host, port), time.monotonic)
        sink.send([alert(1)])
        accepted, _ = listener.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        accepted.close()
        with pytest.raises(SinkRetryableError, match="was not seen to read the last 1 alerts: "):
            sink.close()


def refused(sink: Sink) -> str:
    with pytest.raises(SinkRetryableError) as caught:
        sink.send([alert(1)])
    return str(caught.value)


def test_a_certificate_of_another_host_is_refused(opened: Callable[..., Sink], tmp_path: Path) -> None:
    other = write_certificates(tmp_path / "other", host="127.0.0.2")
    with Rsyslog(tmp_path / "rsyslog", other) as running:
        assert "certificate is refused: IP address mismatch" in refused(opened(tls_config(running, other)))
        opened(tls_config(running, other, check_hostname=False)).send([alert(1, b"named")])
        wait_until(lambda: any("named" in text for text in running.lines()), "the alert", 20)
        assert len(running.lines()) == 1


def test_a_certificate_of_an_unknown_authority_is_refused(
    opened: Callable[..., Sink], tls_receiver: Rsyslog, tmp_path: Path
) -> None:
    other = write_certificates(tmp_path / "other")
    for check in (True, False):
        sink = opened(tls_config(tls_receiver, other, check_hostname=check))
        assert "certificate is refused" in refused(sink)
    assert tls_receiver.lines() == []


def test_a_receiver_that_wants_a_client_certificate_gets_it(
    opened: Callable[..., Sink], tmp_path: Path, certificates: Path
) -> None:
    with Rsyslog(tmp_path / "rsyslog", certificates, auth="x509/certvalid") as running:
        client = {"certfile": certificates / "client.pem", "keyfile": certificates / "client.key"}
        known = opened(tls_config(running, certificates, **client))
        known.send([alert(1)])
        wait_until(lambda: len(running.lines()) == 1, "the alert", 20)
        unknown = opened(tls_config(running, certificates))
        with pytest.raises(SinkRetryableError, match="certificate"):
            send_and_close(unknown)
        assert len(running.lines()) == 1


def test_tls_before_1_2_is_not_spoken(certificates: Path) -> None:
    context = tls_context(SinkConfig(type="syslog_tls", address="a:1", cafile=certificates / "ca.pem"))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("field", ["cafile", "certfile"])
def test_a_missing_file_is_named(opened: Callable[..., Sink], field: str, tmp_path: Path, certificates: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        files: dict[str, Any] = {"cafile": certificates / "ca.pem", field: tmp_path / "none.pem"}
        if field == "certfile":
            files["keyfile"] = tmp_path / "none.key"
        config = SinkConfig(type="syslog_tls", address=f"127.0.0.1:{listener.getsockname()[1]}", **files)
        assert f"{field} {tmp_path / 'none.pem'}" in refused(opened(config))


def test_the_outlets_of_a_configuration_deliver_over_a_restart(receiver: Rsyslog, tmp_path: Path) -> None:
    sinks = {"siem": SinkConfig(type="syslog_tcp", address=f"127.0.0.1:{receiver.port}", format="incident")}

    def start() -> Any:
        metrics = AlertMetrics(CollectorRegistry())
        clocks = Clocks(time.time, time.monotonic)
        [outlet] = open_sinks(sinks, tmp_path, metrics, clocks, random.SystemRandom(), "1")
        return outlet

    outlet = start()
    outlet.append(line(1))
    outlet.close()
    wait_until(lambda: len(receiver.lines()) == 1, "the first alert", 20)
    receiver.stop(signal.SIGKILL)
    outlet = start()
    outlet.append(line(1))
    outlet.append(line(2))
    outlet.close()
    receiver.start()
    outlet = start()
    wait_until(lambda: len(receiver.lines()) == 2, "the second alert", 20)
    outlet.close()
    bodies = [json.loads(text[text.index("] {") + 2 :]) for text in receiver.lines()]
    assert [int(body["uid"], 16) for body in bodies] == [1, 2]
