"""The section `sinks`, its figures, and the command that tries sinks out."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from monitor.cli.main import main
from monitor.settings.config import ConfigError, load_config
from monitor.watching.alert_metrics import DROP_REASONS, AlertMetrics

GOOD = """
sinks:
  siem: {type: syslog_tls, address: siem.example:6514, cafile: ca.pem, certfile: me.pem, keyfile: me.key}
  local: {type: file, path: alerts.ndjson, format: incident, min_severity: 5, send_suspected: false}
"""
SNAPSHOT = """
tocsin_alerts_circuit_state sink
tocsin_alerts_dead_letter_bytes sink
tocsin_alerts_dropped_total reason,sink
tocsin_alerts_failed_attempts_total sink
tocsin_alerts_folded_total sink
tocsin_alerts_last_success_timestamp_seconds sink
tocsin_alerts_sent_total sink
tocsin_alerts_spool_bytes sink
tocsin_alerts_waiting sink
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tocsin.yaml"


def test_sinks_are_read_and_paths_start_at_the_file(file: Path) -> None:
    file.write_text(GOOD)
    sinks = load_config(file, {}).sinks
    assert sinks["siem"].host_and_port() == ("siem.example", 6514)
    assert sinks["siem"].cafile == file.parent / "ca.pem"
    assert sinks["siem"].message_limit() == 8096
    assert sinks["local"].file() == file.parent / "alerts.ndjson"
    assert (sinks["local"].min_severity, sinks["local"].send_suspected) == (5, False)


def test_types_have_defaults_of_their_own(file: Path) -> None:
    file.write_text("""
sinks:
  e: {type: elastic, url: "https://e:9200"}
  o: {type: elastic, url: "https://e:9200", format: ocsf, index: soc}
  q: {type: elastic, url: "https://e:9200", gets: vetting}
  a: {type: alertmanager, url: "http://a:9093"}
""")
    sinks = load_config(file, {}).sinks
    assert (sinks["e"].format, sinks["e"].index) == ("ecs", "logs-tocsin.incident-default")
    assert (sinks["o"].format, sinks["o"].index) == ("ocsf", "soc")
    assert (sinks["a"].format, sinks["a"].send_suspected) == ("incident", False)
    assert (sinks["e"].send_suspected, sinks["q"].gets) == (True, "vetting")


def test_a_variable_wins_over_the_file(file: Path) -> None:
    file.write_text(GOOD)
    config = load_config(file, {"TOCSIN_SINKS__SIEM__ADDRESS": "other:1"})
    assert config.sinks["siem"].host_and_port() == ("other", 1)


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("{type: syslog_tcp}", "sinks.a", "type syslog_tcp also needs address"),
        ("{type: file}", "sinks.a", "type file also needs path"),
        ("{type: syslog_dtls, address: 'a:1'}", "sinks.a.type", "must be 'syslog_tcp', 'syslog_tls', 'syslog_udp'"),
        ("{type: syslog_tcp, address: 'a:1', cafile: x}", "sinks.a", "cafile would not be used: type is syslog_tcp"),
        ("{type: file, path: x, address: 'a:1'}", "sinks.a", "address would not be used: type is file"),
        ("{type: syslog_tls, address: 'a:1', certfile: x}", "sinks.a", "certfile and keyfile go together"),
        ("{type: syslog_tcp, address: a}", "sinks.a.address", "must be host:port"),
        ("{type: syslog_tcp, adress: 'a:1'}", "sinks.a.adress", "did you mean address?"),
        ("{type: file, path: x, max_message_bytes: 100}", "sinks.a.max_message_bytes", "4096"),
        (
            "{type: file, path: x, format: csv}",
            "sinks.a.format",
            "must be 'ocsf', 'incident', 'ecs', 'cef', 'leef', 'flat' or",
        ),
        ("{path: x}", "sinks.a.type", "missing"),
        ("{type: file, path: x, rotate_keep: 3}", "sinks.a", "rotate_keep would not be used without rotate_bytes"),
        ("{type: stdout, path: x}", "sinks.a", "path would not be used: type is stdout"),
        ("{type: splunk_hec, url: 'https://a:8088'}", "sinks.a", "type splunk_hec also needs token_file"),
        ("{type: elastic, url: 'https://a', username: me}", "sinks.a", "username and password_file go together"),
        ("{type: elastic, url: 'https://a', format: cef}", "sinks.a", "format cef is none"),
        ("{type: elastic, url: 'https://a', index: A/b}", "sinks.a.index", "match pattern"),
        ("{type: elastic, url: 'https://me:pw@a'}", "sinks.a.url", "an address holds no user or password"),
        ("{type: elastic, url: 'ftp://a'}", "sinks.a.url", "must look like http://host:port"),
        ("{type: elastic, url: 'https://a?b=c'}", "sinks.a.url", "must look like http://host:port"),
        ("{type: webhook}", "sinks.a", "type webhook needs either url or url_file"),
        ("{type: webhook, url: 'http://a', url_file: b}", "sinks.a", "type webhook needs either url or url_file"),
        ("{type: webhook, url: 'http://a', cafile: x}", "sinks.a", "url does not start with https"),
        ("{type: webhook, url: 'http://a', headers: {authorization: x}}", "sinks.a.headers", "secrets come from"),
        ("{type: webhook, url: 'http://a', headers: {X: \"a\\r\\nb: c\"}}", "sinks.a.headers", "printable ASCII"),
        (
            "{type: webhook, url: 'http://a', token_file: x, username: u, password_file: y}",
            "sinks.a",
            "choose one of token_file, api_key_file and password_file",
        ),
        ("{type: kafka, topic: soc.alerts}", "sinks.a", "type kafka also needs kafka"),
        (
            "{type: kafka, topic: t, kafka: {bootstrap_servers: ['a:1'], ssl_cafile: x}}",
            "sinks.a.kafka",
            "ssl_cafile would not be used: security_protocol is PLAINTEXT",
        ),
        ("{type: alertmanager, url: 'http://a', format: ocsf}", "sinks.a", "leave format away"),
        ("{type: alertmanager, url: 'http://a', gets: vetting}", "sinks.a", "gets incidents only"),
        (
            "{type: alertmanager, url: 'http://a', labels: {a-b: c}}",
            "sinks.a.labels",
            "letters, digits and underscores",
        ),
        ("{type: syslog_udp, address: 'a:1', max_message_bytes: 70000}", "sinks.a", "at most 65000 over UDP"),
    ],
)
def test_what_is_wrong_is_named(file: Path, text: str, field: str, words: str) -> None:
    file.write_text(f"sinks: {{a: {text}}}")
    with pytest.raises(ConfigError) as caught:
        load_config(file, {})
    found = {problem.field: problem.message for problem in caught.value.problems}
    assert words in found[field]


def test_a_name_that_is_no_folder_is_refused(file: Path) -> None:
    file.write_text("sinks: {../a: {type: file, path: x}}")
    with pytest.raises(ConfigError, match="cannot be a name here"):
        load_config(file, {})


def test_metric_names_and_labels_are_these() -> None:
    registry = CollectorRegistry()
    metrics = AlertMetrics(registry)
    metrics.known("siem")
    found = {(s.name, ",".join(sorted(s.labels))) for family in registry.collect() for s in family.samples}
    public = {(name, labels) for name, labels in found if not name.endswith("_created")}
    assert "\n".join(sorted(" ".join(pair) for pair in public)) == SNAPSHOT.strip()
    for reason in DROP_REASONS:
        assert registry.get_sample_value("tocsin_alerts_dropped_total", {"sink": "siem", "reason": reason}) == 0


@pytest.fixture
def tocsin() -> Callable[..., int | str | None]:
    def run(*arguments: str) -> int | str | None:
        with pytest.raises(SystemExit) as caught:
            main(["alerts", "test", *arguments], {})
        return caught.value.code

    return run


def test_a_test_alert_is_sent_to_every_sink(
    file: Path, tocsin: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("sinks: {a: {type: file, path: a.ndjson}, b: {type: file, path: b.ndjson, format: incident}}")
    assert tocsin("--config", str(file), "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["sink"], row["sent"]) for row in rows] == [("a", True), ("b", True)]
    assert json.loads((file.parent / "a.ndjson").read_text())["metadata"]["uid"] == rows[0]["alert"]
    assert json.loads((file.parent / "b.ndjson").read_text())["alert_id"] == rows[1]["alert"]


def test_a_test_alert_that_does_not_arrive_is_a_failure(
    file: Path, tocsin: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    file.write_text(f"sinks: {{a: {{type: file, path: a}}, b: {{type: syslog_tcp, address: '127.0.0.1:{port}'}}}}")
    assert tocsin("--config", str(file)) == 1
    shown = capsys.readouterr()
    assert "Connection refused" in shown.out
    assert "did not get to b" in shown.err


def test_a_sink_that_is_not_configured_is_a_bad_configuration(
    file: Path, tocsin: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("sinks: {siem: {type: file, path: a}}")
    assert tocsin("--config", str(file), "--sink", "sien") == 78
    assert "did you mean siem?" in capsys.readouterr().err
    file.write_text("")
    assert tocsin("--config", str(file)) == 78
