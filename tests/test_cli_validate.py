"""`tocsin validate`: the file, and the files it names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.cli.main import main

GOOD = """
kafka: {bootstrap_servers: [localhost:9092], inference_topic: soc.inference, trusted_feedback_topic: soc.vetted}
models: {nids: {trusted_origins: [sandbox]}}
"""
LOGIN = "security_protocol: SASL_PLAINTEXT, sasl_mechanism: PLAIN, sasl_username: soc, sasl_password_file:"
SERVERS = "sandbox], serving: {{adapter: mlflow, mlflow: {{tracking_uri: 'http://a:1', alias: b, {}: empty}}}}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "registry").mkdir()
    path = tmp_path / "tocsin.yaml"
    path.write_text(GOOD)
    (tmp_path / "short").write_text("abc")
    (tmp_path / "empty").write_text("\n")
    return path


def validate(file: Path, *options: str) -> object:
    with pytest.raises(SystemExit) as left:
        main(["validate", "--config", str(file), *options], {})
    return left.value.code


def test_a_good_file_is_valid_and_summed_up(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(file) == 0
    said = capsys.readouterr().out
    assert said.startswith("valid\n")
    assert "nids" in said
    assert "soc.vetted (trusted)" in said


def test_the_summary_comes_as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(file, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["valid"], summary["mode"], summary["models"]) == (True, "observe", ["nids"])
    assert summary["topics"] == {"inference": "soc.inference", "feedback": None, "trusted": "soc.vetted"}


HEC = "sinks: {{siem: {{type: splunk_hec, url: 'http://a:8088', token_file: {}}}}}"
HOOK = "sinks: {{siem: {{type: webhook, url: 'http://a/b', {}}}}}"
TOPIC = (
    "sinks: {siem: {type: kafka, topic: a, kafka: {bootstrap_servers: ['a:1'], security_protocol: SSL, ssl_cafile: b}}}"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: {nids: {}}", "kafka: missing"),
        (GOOD.replace("models: {nids: {trusted_origins: [sandbox]}}", ""), "models: missing"),
        (GOOD.replace(", trusted_feedback_topic: soc.vetted", ""), "models.nids.trusted_origins: nobody"),
        (GOOD + "registry: nowhere", "does not exist: `tocsin registry add`"),
        (GOOD + "registry: tocsin.yaml", "is not a folder"),
        (GOOD + "state_dir: tocsin.yaml", "is not a folder"),
        (GOOD + "signing: {trusted_keys: [a.pub]}", "signing.trusted_keys.0: "),
        (GOOD + "signing: {key_file: registry}", "signing.key_file: "),
        (GOOD + "signing: {trusted_keys: [tocsin.yaml]}", "signing: "),
        (GOOD + "approvers: {ann: ann.pub}", "approvers.ann: "),
        (GOOD + "approvers: {ann: tocsin.yaml}", "approvers: "),
        (GOOD + "admin: {listen: '127.0.0.1:0', token_file: none}", "none does not exist"),
        (GOOD + "admin: {listen: '127.0.0.1:0', token_file: short}", "must hold at least"),
        (GOOD.replace("{boot", f"{{{LOGIN} empty, boot"), "kafka.sasl_password_file: "),
        (GOOD + "sinks: {siem: {type: syslog_tls, address: 'a:1', cafile: short}}", "sinks.siem: cafile "),
        (GOOD + HEC.format("nowhere"), "sinks.siem.token_file: "),
        (GOOD + HEC.format("empty"), "sinks.siem: token_file "),
        (GOOD + HOOK.format("template_file: short"), "sinks.siem: template_file "),
        (GOOD + HOOK.format("secret_file: empty"), "sinks.siem: secret_file "),
        (GOOD + "sinks: {siem: {type: webhook, url_file: short}}", "must hold http(s)://host[:port]/path"),
        (GOOD + TOPIC, "sinks.siem.kafka.ssl_cafile: "),
        (GOOD.replace("sandbox]", SERVERS.format("token_file")), "models.nids.serving.mlflow.token_file: "),
        (GOOD.replace("sandbox]", SERVERS.format("ca_file")), "models.nids.serving.mlflow.ca_file: "),
        ("kafka: [", "line 1, column 9"),
    ],
)
def test_what_a_run_would_lack_exits_with_78(
    file: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(text)
    assert validate(file) == 78
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
