"""Syslog at real receivers: syslog-ng over TCP, TLS and UDP, rsyslog over UDP."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytest
from alert_lines import Clock, Way, alert, line
from certificates import write_certificates
from daemon_process import wait_until
from rsyslog import Rsyslog, free_port
from syslog_ng import SyslogNg

from monitor.alerts.encode.ocsf import OcsfEncoder
from monitor.alerts.open_sinks import open_encoder, open_sink
from monitor.alerts.send.syslog_udp import SETTLE_SECONDS
from monitor.alerts.sink import SinkRetryableError
from monitor.settings.sink_sections import SinkConfig

EVIL = 'a "]\\ b\n<0>1 - - - - - - forged\x00\u202e'


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificates(tmp_path_factory.mktemp("certificates") / "good")


def config(kind: Literal["syslog_udp", "syslog_tcp", "syslog_tls"], port: int, **settings: Any) -> SinkConfig:
    return SinkConfig(type=kind, address=f"127.0.0.1:{port}", **settings)


@pytest.mark.parametrize("kind", ["udp", "tcp", "tls"])
def test_syslog_ng_reads_every_field(kind: Any, tmp_path: Path, certificates: Path) -> None:
    with SyslogNg(tmp_path / "syslog-ng", kind, certificates if kind == "tls" else None) as receiver:
        tls = {"cafile": certificates / "ca.pem"} if kind == "tls" else {}
        chosen = config(f"syslog_{kind}", receiver.port, **tls)  # type: ignore[arg-type]  # one of the three
        way = Way(tmp_path / "spool", open_sink(chosen, time.monotonic), encoder=open_encoder(chosen, "1.2.3"))
        way.courier.take([line(i, model=EVIL, summary=EVIL) for i in range(20)])
        way.courier.work()
        way.courier.close()
        wait_until(lambda: len(receiver.found()) == 20, "the alerts", 20)
        found = receiver.found()
    assert [json.loads(one["MESSAGE"])["finding_info"]["uid"] for one in found] == [f"{i:032x}" for i in range(20)]
    assert {one["MSGID"] for one in found} == {"poisoning"}
    assert {one["PRIORITY"] for one in found} == {"crit"}
    assert {one["DATE"] for one in found} == {"2026-01-01T00:01:40.500+00:00"}
    data = found[3]["_SDATA"]["tocsin@32473"]
    assert (data["uid"], data["activity"]) == (f"{3:032x}", "create")
    assert data["model"].startswith('a "]\\ b\ufffd<0>1 - - - - - - forged')


def test_syslog_ng_takes_the_client_certificate_that_it_asks_for(tmp_path: Path, certificates: Path) -> None:
    with SyslogNg(tmp_path / "syslog-ng", "tls", certificates, wants_client=True) as receiver:
        ours = {"certfile": certificates / "client.pem", "keyfile": certificates / "client.key"}
        nobody = open_sink(config("syslog_tls", receiver.port, cafile=certificates / "ca.pem"), time.monotonic)
        with pytest.raises(SinkRetryableError):
            send_and_close(nobody)
        known = open_sink(config("syslog_tls", receiver.port, cafile=certificates / "ca.pem", **ours), time.monotonic)
        known.send([alert(7)])
        known.close()
        wait_until(lambda: len(receiver.found()) == 1, "the alert", 20)
        assert receiver.found()[0]["_SDATA"]["tocsin@32473"]["alert"] == "alert-7"


def send_and_close(sink: Any) -> None:
    """A receiver that refuses this client's certificate says so only after it was written to."""
    with suppress(SinkRetryableError):
        sink.close()
    sink.send([alert(1)])
    sink.close()


def test_rsyslog_reads_datagrams(tmp_path: Path) -> None:
    with Rsyslog(tmp_path / "rsyslog", udp=True) as receiver:
        chosen = config("syslog_udp", receiver.port)
        way = Way(tmp_path / "spool", open_sink(chosen, time.monotonic), encoder=open_encoder(chosen, "1.2.3"))
        way.courier.take([line(i, summary=EVIL + "x" * 9000) for i in range(20)])
        way.courier.work()
        way.courier.close()
        wait_until(lambda: len(receiver.lines()) == 20, "the alerts", 20)
        found = [json.loads(text[text.index("] {") + 2 :]) for text in receiver.lines()]
    assert [int(one["finding_info"]["uid"], 16) for one in found] == list(range(20))
    assert all("truncated" in one["unmapped"] for one in found)
    assert len(way.spool) == 0


def until(way: Way, clock: Clock, happened: Callable[[], bool]) -> None:
    """Let time pass until it has happened."""

    def step() -> bool:
        clock.now += 0.5
        way.courier.work()
        return happened()

    wait_until(step, "it", 20)


def test_a_datagram_that_nobody_listens_for_is_sent_again(tmp_path: Path) -> None:
    port, clock = free_port(), Clock()
    way = Way(tmp_path / "spool", open_sink(config("syslog_udp", port), clock), clock, encoder=OcsfEncoder("1", 2000))
    way.courier.take([line(1)])
    way.courier.work()
    assert len(way.spool) == 1, "nobody may have read it"
    until(way, clock, lambda: way.value("failed_attempts_total") == 2)
    with socket.socket(type=socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", port))
        receiver.settimeout(5)
        until(way, clock, lambda: len(way.spool) == 0)
        assert f"{1:032x}".encode() in receiver.recv(65_536)


def test_over_udp_no_answer_is_taken_for_read_after_a_moment() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        clock = Clock()
        sink = open_sink(config("syslog_udp", receiver.getsockname()[1]), clock)
        assert sink.send([alert(1), alert(2)]) == 2
        clock.now += SETTLE_SECONDS
        assert sink.send([]) == 0
        assert sink.send([alert(3)]) == 1
        sink.close()


def test_a_name_that_is_not_found_is_tried_again() -> None:
    sink = open_sink(SinkConfig(type="syslog_udp", address="no-such-host.invalid:514"), time.monotonic)
    with pytest.raises(SinkRetryableError, match=r"no-such-host\.invalid:514: "):
        sink.send([alert(1)])
