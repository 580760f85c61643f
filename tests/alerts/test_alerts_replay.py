"""Dead letters are sent again on demand, also while the daemon adds others; what does not get through stays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from alert_lines import line, numbers
from http_receivers import HttpReceiverFake, Said
from rsyslog import Rsyslog, require
from vetting_material import request

from monitor.alerts.alert import Alert, read_incident
from monitor.alerts.dead_letters import DeadLetters, reasons
from monitor.alerts.encode.incident import IncidentEncoder
from monitor.alerts.outgoing import incident_alert
from monitor.alerts.replay import replay
from monitor.alerts.send.memory import MemorySink
from monitor.alerts.sink import SinkPermanentError, SinkRetryableError
from monitor.alerts.vetting_requests import request_alert, request_body
from monitor.cli.main import main

ENCODER = IncidentEncoder(99_999)


def alert(number: int) -> Alert:
    message = read_incident(line(number))
    return incident_alert(message, IncidentEncoder(5000).incident(message))


@pytest.fixture
def dead(tmp_path: Path) -> DeadLetters:
    letters = DeadLetters(tmp_path / "spool" / "siem" / "dead.ndjson")
    for number in (1, 2, 3):
        letters.put(alert(number), "too odd")
    return letters


def left(tmp_path: Path) -> list[dict[str, Any]]:
    text = (tmp_path / "spool" / "siem" / "dead.ndjson").read_text()
    return [json.loads(row) for row in text.splitlines()]


def test_what_gets_through_is_taken_out_with_the_ids_that_it_had(tmp_path: Path, dead: DeadLetters) -> None:
    sink = MemorySink()
    sink.refused = {alert(2).id: SinkPermanentError("still too odd")}
    with dead.taken() as letters:
        done = replay(letters, sink, ENCODER, tmp_path / "incidents.ndjson")
    assert (done.sent, done.refused, done.away) == (2, 1, "")
    assert [a.id for a in sink.received] == [alert(1).id, alert(3).id]
    assert [(row["reason"], row["head"]["id"]) for row in left(tmp_path)] == [("still too odd", alert(2).id)]


def test_an_alert_is_encoded_anew_where_its_incident_is_still_known(tmp_path: Path, dead: DeadLetters) -> None:
    published = tmp_path / "incidents.ndjson"
    published.write_bytes(line(9) + b"\n" + line(1) + b"\n" + line(3)[:-9])
    sink = MemorySink()
    with dead.taken() as letters:
        replay(letters, sink, IncidentEncoder(4096), published)
    assert numbers(sink.received) == [1, 2, 3]
    assert [len(a.body) <= 4096 for a in sink.received] == [True, True, True]
    assert sink.received[0].body == IncidentEncoder(4096).incident(read_incident(line(1)))


def test_while_the_receiver_is_away_nothing_is_lost(tmp_path: Path, dead: DeadLetters) -> None:
    sink = MemorySink()
    sink.failures.append(SinkRetryableError("away"))
    with dead.taken() as letters:
        done = replay(letters, sink, ENCODER, tmp_path / "none")
    assert (done.sent, done.away, len(left(tmp_path))) == (0, "away", 3)


class Unsure(MemorySink):
    """Does not know whether anything was read."""

    def close(self) -> None:
        raise SinkRetryableError("not seen to be read")


def test_what_was_not_seen_to_be_read_stays(tmp_path: Path, dead: DeadLetters) -> None:
    with dead.taken() as letters:
        done = replay(letters, Unsure(), ENCODER, tmp_path / "none")
    assert (done.sent, len(left(tmp_path))) == (0, 3)


def test_what_would_ring_for_an_incident_that_is_closed_stays_unless_it_is_asked_for(tmp_path: Path) -> None:
    dead = DeadLetters(tmp_path / "spool" / "siem" / "dead.ndjson")
    over = {"activity": "close", "status": "resolved"}
    published = tmp_path / "incidents.ndjson"
    again = [line(3), line(3, **over), line(3, activity="update")]  # its response came undone
    published.write_bytes(b"\n".join([line(1), line(1, **over), line(2), line(4), line(4, **over), *again, b""]))
    for number in (1, 2, 3):
        dead.put(alert(number), "too odd")
    dead.put_line(line(4), "too long")
    dead.put(incident_alert(message := read_incident(line(1, **over)), ENCODER.incident(message)), "too odd")
    sink = MemorySink()
    with dead.taken() as letters:
        done = replay(letters, sink, ENCODER, published)
        assert (done.sent, done.closed, done.refused, done.why, done.away) == (3, 2, 0, "", "")
    assert [(a.incident[-1], a.activity) for a in sink.received] == [("2", "create"), ("3", "create"), ("1", "close")]
    assert [row["reason"] for row in left(tmp_path)] == ["too odd", "too long"]
    with dead.taken() as letters:
        done = replay(letters, sink, ENCODER, published, closed=True)
    assert (done.sent, numbers(sink.received), left(tmp_path)) == (2, [2, 3, 1, 1, 4], [])


class Fragile(MemorySink):
    """A sender with a bug."""

    def send(self, alerts: Sequence[Alert]) -> int:
        if 2 in numbers(list(alerts)):
            raise KeyError("a bug")
        return super().send(alerts)


def test_one_that_a_sender_fails_with_stays_and_holds_up_no_other(tmp_path: Path, dead: DeadLetters) -> None:
    sink = Fragile()
    with dead.taken() as letters:
        done = replay(letters, sink, ENCODER, tmp_path / "none")
    assert (done.sent, numbers(sink.received)) == (2, [1, 3])
    assert [row["reason"] for row in left(tmp_path)] == ["the sender failed: KeyError: 'a bug'"]


def test_what_the_daemon_adds_meanwhile_stays_behind_the_rest(tmp_path: Path, dead: DeadLetters) -> None:
    with dead.taken() as letters:
        DeadLetters(tmp_path / "spool" / "siem" / "dead.ndjson").put(alert(4), "new")
        del letters[:2]
    assert [(row["reason"], row["head"]["incident"][-1]) for row in left(tmp_path)] == [("too odd", "3"), ("new", "4")]


def test_a_command_that_is_killed_takes_nothing_out(tmp_path: Path, dead: DeadLetters) -> None:
    def killed() -> None:
        with dead.taken() as letters:
            letters.clear()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    assert len(left(tmp_path)) == 3


def test_a_line_of_which_no_alert_could_be_made_is_tried_again_and_stays_with_its_reason(tmp_path: Path) -> None:
    dead = DeadLetters(tmp_path / "spool" / "siem" / "dead.ndjson")
    dead.put_line(b'{"uid": "x"}', "older")
    dead.put_line(line(5), "an encoder's mistake, mended since")
    sink = MemorySink()
    with dead.taken() as letters:
        done = replay(letters, sink, ENCODER, tmp_path / "none")
        assert len(reasons(letters)) == 1
    assert (done.sent, done.refused, numbers(sink.received)) == (1, 1, [5])


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["alerts", *arguments], environ={})
    return int(ended.value.code or 0)


def configured(tmp_path: Path, sink: str) -> str:
    config = tmp_path / "tocsin.yaml"
    config.write_text(f"state_dir: .\nsinks:\n  siem: {sink}\n")
    return str(config)


def test_the_command_sends_them_and_says_what_is_left(
    tmp_path: Path, dead: DeadLetters, capsys: pytest.CaptureFixture[str]
) -> None:
    dead.put_line(b"{", "no incident")
    config = configured(tmp_path, "{type: file, path: out.ndjson, format: incident}")
    capsys.readouterr()
    assert run("replay", "--config", config, "--sink", "siem", "--json") == 1
    said = capsys.readouterr()
    (row,) = json.loads(said.out)
    assert (row["sink"], row["sent"], row["left"]) == ("siem", 3, 1)
    assert "not all could be sent: siem (1: not a tocsin.incident.v1" in said.err
    assert (tmp_path / "out.ndjson").read_bytes().count(b"\n") == 3


def test_vetting_requests_that_a_queue_refused_are_sent_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(tmp_path, "{type: file, path: out.ndjson, gets: vetting}")
    dead = DeadLetters(tmp_path / "spool" / "siem" / "dead.ndjson")
    first, second = request("e1"), request("e2")
    dead.put(request_alert(first, request_body(first, 9000)), "status 400")
    dead.put_line(msgspec.json.encode(second), "too long")
    dead.put_line(b"{", "odd")
    capsys.readouterr()
    assert run("replay", "--config", config, "--json") == 1
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["sent"], row["left"], row["why"][:29]) == (2, 1, "not sent as a vetting request")
    told = [json.loads(text) for text in (tmp_path / "out.ndjson").read_text().splitlines()]
    assert [body["id"] for body in told] == ["e1", "e2"]


def test_no_dead_letters_are_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("replay", "--config", configured(tmp_path, "{type: file, path: out.ndjson}")) == 0
    assert capsys.readouterr().out == "there are no dead letters\n"


def test_the_command_says_how_many_it_left_because_they_are_closed_and_that_is_no_failure(
    tmp_path: Path, dead: DeadLetters, capsys: pytest.CaptureFixture[str]
) -> None:
    close = line(2, activity="close", status="resolved")
    (tmp_path / "incidents.ndjson").write_bytes(line(2) + b"\n" + close + b"\n")
    config = configured(tmp_path, "{type: file, path: out.ndjson, format: incident}")
    capsys.readouterr()
    assert run("replay", "--config", config, "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == [{"sink": "siem", "sent": 2, "closed": 1, "left": 1, "why": ""}]
    assert "--closed sends them" in said.err
    assert run("replay", "--config", config, "--closed") == 0
    assert (tmp_path / "out.ndjson").read_bytes().count(b"\n") == 3
    assert dead is not None


def test_a_damaged_file_stops_no_other_sink(
    tmp_path: Path, dead: DeadLetters, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "spool" / "also" / "dead.ndjson"
    other.parent.mkdir()
    other.write_bytes(b"garbage\n")
    config = configured(tmp_path, "{type: file, path: out.ndjson}")
    Path(config).write_text(Path(config).read_text().replace("siem:", "also: {type: file, path: o}\n  siem:"))
    capsys.readouterr()
    assert run("replay", "--config", config, "--json") == 1
    said = capsys.readouterr()
    assert [(row["sink"], row["sent"]) for row in json.loads(said.out)] == [("also", 0), ("siem", 3)]
    assert "holds a line that is no dead letter" in said.err
    assert (other.read_bytes(), dead is not None) == (b"garbage\n", True)


def test_a_damaged_file_is_named_and_kept(
    tmp_path: Path, dead: DeadLetters, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "spool" / "siem" / "dead.ndjson"
    path.write_bytes(path.read_bytes() + b"garbage\n")
    assert run("replay", "--config", configured(tmp_path, "{type: file, path: out.ndjson}")) == 1
    assert "dead.ndjson: holds a line that is no dead letter" in capsys.readouterr().err
    assert path.read_bytes().endswith(b"garbage\n")
    assert dead is not None


def test_a_test_alert_shows_what_the_other_side_answered_and_how_long_it_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with HttpReceiverFake(lambda _: Said(202, b"taken\x1b[2J, thanks")) as receiver:
        url = f"http://127.0.0.1:{receiver.port}/hook"
        config = configured(tmp_path, f"{{type: webhook, url: '{url}'}}\n  local: {{type: file, path: out.ndjson}}")
        assert run("test", "--config", config, "--json") == 0
    hook, file = json.loads(capsys.readouterr().out)
    assert (hook["sent"], hook["error"]) == (True, "")
    assert "status 202" in hook["answer"]
    assert "thanks" in hook["answer"]
    assert "\x1b" not in hook["answer"]
    assert file["answer"] == "written, and on the disk"
    assert 0.0 <= hook["seconds"] < 10.0


def test_a_test_alert_that_is_refused_fails_and_shows_what_was_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with HttpReceiverFake(lambda _: Said(401, b"who are you?")) as receiver:
        config = configured(tmp_path, f"{{type: webhook, url: 'http://127.0.0.1:{receiver.port}/hook'}}")
        assert run("test", "--config", config, "--json") == 1
    said = capsys.readouterr()
    (row,) = json.loads(said.out)
    assert "status 401 (who are you?)" in row["answer"]
    assert "status 401" in row["error"]
    assert "did not get to siem" in said.err


def test_a_test_alert_over_syslog_says_that_it_was_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require()
    with Rsyslog(tmp_path / "rsyslog") as receiver:
        config = configured(tmp_path, f"{{type: syslog_tcp, address: '127.0.0.1:{receiver.port}'}}")
        assert run("test", "--config", config, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["sent"], row["answer"]) == (True, "read to the end (syslog has no answers)")
