"""docs/siem/syslog.md, tried: a first-time user's commands word for word, and its receivers over TLS."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import rsyslog
import syslog_ng_parser
from alert_lines import incident
from certificates import write_certificates
from daemon_process import wait_until
from in_process import Run
from siem_pages import ROOT, every, named

from monitor.alerts.alert import read_incident
from monitor.alerts.encode.incident import IncidentEncoder
from monitor.alerts.encode.leef import LeefEncoder
from monitor.alerts.encoder import Encoder
from monitor.alerts.open_sinks import open_sink
from monitor.alerts.outgoing import incident_alert
from monitor.alerts.sink import Sink, SinkRetryableError
from monitor.messages import Incident
from monitor.settings.sink_sections import SinkConfig

PORT = "6514"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificates(tmp_path_factory.mktemp("certificates") / "good")


def test_a_first_time_users_commands_bring_a_test_alert_into_rsyslog(tmp_path: Path) -> None:
    """Word for word, but for the port and where the two programs are."""
    rsyslogd = Path(rsyslog.require())
    serve, send, show, stop = (block.text for block in every("sh") if block.page == "syslog.md")
    port = str(rsyslog.free_port())
    serve, send = (text.replace("5514", port) for text in (serve, send))
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "tocsin").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m monitor "$@"\n')
    (programs / "tocsin").chmod(0o755)
    around = {
        **os.environ,
        "PATH": f"{programs}:{rsyslogd.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    serve = serve.replace("& sleep 1", "> siem/log 2>&1 & sleep 1")

    def shell(text: str) -> str:
        command = ["bash", "-euc", text]
        done = subprocess.run(
            command, cwd=tmp_path, env=around, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        shell(serve)
        wait_until((tmp_path / "siem" / "rsyslog.pid").exists, "rsyslog", 10)
        assert re.search(r"^siem\s+syslog_tcp\s+yes", shell(send), re.MULTILINE)
        arrived = [json.loads(line) for line in shell(show).splitlines()]
        assert [(each["resources"][0]["name"], each["is_alert"]) for each in arrived] == [("tocsin-test", False)]
        assert "test" in arrived[0]["message"]
    finally:
        shell(stop)


@contextmanager
def running(command: list[str], log: Path) -> Iterator[None]:
    """A receiver as a child process."""
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def arrives(run: Run, folder: Path, certificates: Path, port: int, out: Path) -> list[dict[str, Any]]:
    """What a receiver has of a test alert that is sent with the page's configuration."""
    text = named("syslog.md", "yaml").replace(f"siem.example:{PORT}", f"127.0.0.1:{port}")
    for name, ours in (("ca.pem", "ca.pem"), ("tocsin.pem", "client.pem"), ("tocsin.key", "client.key")):
        text = re.sub(rf": {name}\b", f": {certificates / ours}", text)
    path = folder / "tocsin.yaml"
    path.write_text(text)
    wait_until(lambda: run("alerts", "test", "--config", path)[0] == 0, "a test alert to be sent", 20)
    wait_until(lambda: out.exists() and out.read_bytes().endswith(b"\n"), "the alert", 20)
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_rsyslog_with_the_pages_configuration_takes_the_pages_alerts(
    run: Run, tmp_path: Path, certificates: Path
) -> None:
    program, port, out = rsyslog.require(tls=True), rsyslog.free_port(), tmp_path / "out"
    text = named("syslog.md", "rsyslog").replace("/etc/rsyslog.d/", f"{certificates}/").replace(PORT, str(port))
    config = tmp_path / "rsyslog.conf"
    config.write_text(text.replace("/var/log/tocsin.ndjson", str(out)))
    with running([program, "-n", "-f", str(config), "-i", str(tmp_path / "pid")], tmp_path / "log"):
        assert {each["resources"][0]["name"] for each in arrives(run, tmp_path, certificates, port, out)} == {
            "tocsin-test"
        }


def test_syslog_ng_with_the_pages_configuration_takes_the_pages_alerts(
    run: Run, tmp_path: Path, certificates: Path
) -> None:
    program, port, out = syslog_ng_parser.require(), rsyslog.free_port(), tmp_path / "out"
    text = named("syslog.md", "syslog-ng").replace("/etc/syslog-ng/", f"{certificates}/").replace(PORT, str(port))
    config = tmp_path / "syslog-ng.conf"
    config.write_text("@version: 3.35\n" + text.replace("/var/log/tocsin.ndjson", str(out)))
    files = [f"--{name}={tmp_path / name}" for name in ("persist-file", "pidfile", "control")]
    with running([program, "--foreground", "--no-caps", f"--cfgfile={config}", *files], tmp_path / "log"):
        assert {each["resources"][0]["name"] for each in arrives(run, tmp_path, certificates, port, out)} == {
            "tocsin-test"
        }


def test_the_pages_rule_for_rsyslog_picks_what_pages(tmp_path: Path) -> None:
    program, port, out = rsyslog.require(), rsyslog.free_port(), tmp_path / "out"
    rule = named("syslog.md", "rsyslog-rule").replace("/var/log/tocsin-pages.ndjson", str(out))
    config = tmp_path / "rsyslog.conf"
    config.write_text(
        f'module(load="imptcp")\ninput(type="imptcp" address="127.0.0.1" port="{port}" ruleset="rule")\n'
        f'template(name="body" type="string" string="%msg%\\n")\nruleset(name="rule") {{ {rule} }}\n'
    )
    settings = SinkConfig(type="syslog_tcp", address=f"127.0.0.1:{port}", format="incident")
    told = [incident(1, status="suspected", model='x" status="confirmed"'), incident(2, activity="close"), incident(3)]
    sink = open_sink(settings, time.monotonic)
    with running([program, "-n", "-f", str(config), "-i", str(tmp_path / "pid")], tmp_path / "log"):
        wait_until(lambda: _sent(sink, told, IncidentEncoder(6000)), "rsyslog", 20)
        wait_until(lambda: out.exists() and out.read_bytes().endswith(b"\n"), "the alert", 20)
    assert [int(json.loads(line)["uid"], 16) for line in out.read_text().splitlines()] == [3]


def test_the_relay_for_qradar_ends_the_header_before_the_leef_header(tmp_path: Path) -> None:
    program, port, out = rsyslog.require(), rsyslog.free_port(), rsyslog.free_port()
    relay = named("qradar.md", "rsyslog-relay").replace("qradar.example", "127.0.0.1").replace('"514"', f'"{out}"')
    config = tmp_path / "rsyslog.conf"
    config.write_text(
        f'global(workDirectory="{tmp_path}")\nmodule(load="imptcp")\n{relay}'
        f'input(type="imptcp" address="127.0.0.1" port="{port}" ruleset="tocsin")\n'
    )
    sink = open_sink(SinkConfig(type="syslog_tcp", address=f"127.0.0.1:{port}", format="leef"), time.monotonic)
    command = [program, "-n", "-f", str(config), "-i", str(tmp_path / "pid")]
    with socket.create_server(("127.0.0.1", out)) as qradar, running(command, tmp_path / "log"):
        wait_until(lambda: _sent(sink, [incident(1)], LeefEncoder("1.2.3", 2500)), "rsyslog", 20)
        qradar.settimeout(20)
        connection, _ = qradar.accept()
        with connection:
            connection.settimeout(20)
            arrived = connection.recv(65536).decode()
    assert re.match(r"<130>1 2026-01-01T00:01:40\.5\d*(?:Z|\+00:00) \S+ LEEF:2\.0\|Tocsin\|", arrived), arrived


def _sent(sink: Sink, told: list[Incident], encoder: Encoder) -> bool:
    try:
        messages = [read_incident(msgspec.json.encode(each)) for each in told]
        sink.send([incident_alert(each, encoder.incident(each)) for each in messages])
        sink.close()
    except SinkRetryableError:
        return False
    return True
