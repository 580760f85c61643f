"""`tocsin alerts test`: whatever is odd about one sink, every other one is tried, and it is said which failed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from alert_lines import line

from monitor.alerts.alert import Alert, read_incident
from monitor.alerts.encode.incident import make as encoder
from monitor.alerts.fit import TooLongError
from monitor.alerts.outgoing import incident_alert
from monitor.alerts.send.memory import MemorySink
from monitor.alerts.sink import Sink, SinkPermanentError
from monitor.alerts.trial import Trial, try_out
from monitor.cli.main import main
from monitor.settings.sink_sections import SinkConfig

FILE = SinkConfig(type="file", path=Path("alerts.ndjson"))


def sample() -> Alert:
    message = read_incident(line())
    return incident_alert(message, encoder("1", 9000).incident(message))


def tried(sink: MemorySink) -> Trial:
    return try_out("siem", FILE, sample, lambda _: sink)


def failing(*failures: Exception) -> MemorySink:
    sink = MemorySink()
    sink.failures.extend(failures)
    return sink


def test_an_alert_that_arrives_is_told_with_its_id() -> None:
    sink = MemorySink()
    found = tried(sink)
    assert (found.sent, found.error, found.answer) == (True, "", "written, and on the disk")
    assert [alert.id for alert in sink.received] == [found.alert]


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (SinkPermanentError("siem: too odd"), "siem: too odd"),
        (ZeroDivisionError("nobody thought of it"), "the sender failed: ZeroDivisionError: nobody thought of it"),
    ],
)
def test_a_sink_that_fails_in_any_way_is_told_and_not_raised(failure: Exception, error: str) -> None:
    found = tried(failing(failure))
    assert (found.sent, found.error, found.answer) == (False, error, "")
    assert found.alert == sample().id


def test_a_sink_that_cannot_be_opened_and_an_alert_that_cannot_be_made_are_told() -> None:
    def unopened(_: Callable[[str], None]) -> Sink:
        raise RuntimeError("no such library")

    def unmade() -> Alert:
        raise TooLongError("the alert needs 9 bytes")

    opened = try_out("siem", FILE, sample, unopened)
    made = try_out("siem", FILE, unmade, lambda _: MemorySink())
    assert (opened.sent, opened.error) == (False, "the sender failed: RuntimeError: no such library")
    assert (made.sent, made.alert) == (False, "")
    assert "the alert needs 9 bytes" in made.error


def test_the_command_tries_every_sink_and_fails_and_its_output_is_json_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "tocsin.yaml"
    odd = ", ".join(f"{kind}: {{type: {kind}, address: 'a..b:514'}}" for kind in ("syslog_tcp", "syslog_udp"))
    config.write_text(f"sinks: {{{odd}, last: {{type: file, path: last.ndjson}}}}")
    with pytest.raises(SystemExit) as ended:
        main(["alerts", "test", "--config", str(config), "--json"], {})
    assert ended.value.code == 1
    said = capsys.readouterr()
    rows = {row["sink"]: row for row in json.loads(said.out)}
    assert {name: row["sent"] for name, row in rows.items()} == {"syslog_tcp": False, "syslog_udp": False, "last": True}
    assert "a..b:514: encoding with 'idna' codec failed" in rows["syslog_tcp"]["error"]
    assert "a..b:514: encoding with 'idna' codec failed" in rows["syslog_udp"]["error"]
    assert "did not get to syslog_tcp, syslog_udp" in said.err
    assert (tmp_path / "last.ndjson").exists()
