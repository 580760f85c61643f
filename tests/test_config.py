"""One YAML file, variables on top, and errors that name the key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.settings.config import Config, ConfigError, ModelConfig, load_config
from monitor.settings.section import split_address

CONTRACT = """
mode: observe
state_dir: ./state
registry: ./registry
kafka:
  bootstrap_servers: [localhost:9092]
  inference_topic: soc.inference
  feedback_topic: soc.feedback
  trusted_feedback_topic: soc.vetted
  group_id: tocsin
models:
  nids:
    trusted_origins: [sandbox]
    window_events: 1000
    buffer: "buffers/{version}.parquet"
    vetting_budget: 16
    vetting_delay_windows: 1
    false_alarm_every: 1000000
    false_ask_every: 10000
"""
LOGIN = "security_protocol: SASL_SSL, sasl_mechanism: PLAIN, sasl_username: me, sasl_password_file: password"
KAFKA = "kafka: {bootstrap_servers: [a:1], inference_topic: x"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tocsin.yaml"


def problems(file: Path, text: str, environ: dict[str, str] | None = None) -> dict[str, str]:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ or {})
    assert all(line.startswith(f"{file}: ") for line in str(caught.value).splitlines())
    return dict(caught.value.problems)


def test_the_keys_of_the_contract_are_read(file: Path) -> None:
    file.write_text(CONTRACT)
    config = load_config(file, {})
    nids = config.models["nids"]
    assert config.mode == "observe"
    assert config.kafka is not None
    assert config.kafka.bootstrap_servers == ["localhost:9092"]
    assert config.kafka.trusted_feedback_topic == "soc.vetted"
    assert (nids.trusted_origins, nids.window_events, nids.vetting_budget) == (["sandbox"], 1000, 16)
    assert (nids.false_alarm_every, nids.false_ask_every) == (1_000_000, 10_000)
    assert config.http.listen == "127.0.0.1:9464"


def test_without_a_file_there_are_defaults() -> None:
    config = load_config(None, {})
    assert config == Config()
    assert config.kafka is None
    assert config.model("anything") == ModelConfig()


def test_the_process_environment_is_not_read_in_passing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_MODE", "act")
    assert load_config(None, {}).mode == "observe"


def test_relative_paths_start_at_the_folder_of_the_file(file: Path) -> None:
    file.write_text(CONTRACT + "signing: {trusted_keys: [keys/a.pub, /etc/b.pub]}")
    config = load_config(file, {"TOCSIN_STATE_DIR": "elsewhere"})
    assert config.registry == file.parent / "registry"
    assert config.state_dir == file.parent / "elsewhere"
    assert config.signing.trusted_keys == [file.parent / "keys/a.pub", Path("/etc/b.pub")]
    assert config.models["nids"].buffer_of("7") == file.parent / "buffers/7.parquet"


@pytest.mark.parametrize("version", ["../7", "a/b", "", ".."])
def test_a_version_that_is_no_file_name_has_no_buffer(version: str) -> None:
    with pytest.raises(ValueError, match="no file name"):
        ModelConfig(buffer=Path("b/{version}")).buffer_of(version)


def test_variables_win_over_the_file(file: Path) -> None:
    file.write_text(CONTRACT.replace("nids:", "Phish-Mail:"))
    environ = {
        "TOCSIN_MODE": "propose",
        "TOCSIN_KAFKA__BOOTSTRAP_SERVERS": "a:1, b:2",
        "TOCSIN_MODELS__PHISH_MAIL__WINDOW_EVENTS": "500",
        "TOCSIN_MODELS__PHISH_MAIL__TRUSTED_ORIGINS": '["x", "y"]',
        "TOCSIN_MODELS__NEW__VETTING_BUDGET": "0",
        "TOCSIN_KAFKA__GROUP_ID": "",
    }
    config = load_config(file, environ)
    assert config.kafka is not None
    assert (config.mode, config.kafka.bootstrap_servers, config.kafka.group_id) == ("propose", ["a:1", "b:2"], "tocsin")
    assert sorted(config.models) == ["Phish-Mail", "new"]
    assert config.models["Phish-Mail"].window_events == 500
    assert config.models["Phish-Mail"].trusted_origins == ["x", "y"]
    assert config.models["Phish-Mail"].buffer == file.parent / "buffers/{version}.parquet"
    assert config.models["new"].vetting_budget == 0


def test_variables_that_kubernetes_sets_for_a_service_are_no_error() -> None:
    environ = {"TOCSIN_PORT": "tcp://10.0.0.1:80", "TOCSIN_SERVICE_HOST": "10.0.0.1", "TOCSIN_DEBUG": "1"}
    assert load_config(None, environ) == Config()


@pytest.mark.parametrize(
    ("name", "field", "near"),
    [
        ("TOCSIN_KAFK__GROUP_ID", "kafk.group_id", "kafka"),
        ("TOCSIN_MODE__X", "mode.x", "mode"),
        ("TOCSIN_HTTP__LISTN", "http.listn", "listen"),
        ("TOCSIN_MODELS__NIDS__WINDOW_EVENT", "models.nids.window_event", "window_events"),
    ],
)
def test_a_variable_with_a_typing_error_is_an_error(file: Path, name: str, field: str, near: str) -> None:
    assert f"did you mean {near}?" in problems(file, CONTRACT, {name: "1"})[field]


def test_an_unknown_key_names_the_nearest_one_and_never_its_value(file: Path) -> None:
    found = problems(file, f"{KAFKA}, sasl_password: hunter2}}\nmodels: {{nids: {{windowevents: 3}}}}\nmodle: 1")
    assert found == {
        "kafka.sasl_password": "unknown; did you mean sasl_password_file?",
        "models.nids.windowevents": "unknown; did you mean window_events?",
        "modle": "unknown; did you mean mode?",
    }


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("mode: rage", "mode", "must be 'observe', 'propose' or 'act', got 'rage'"),
        ("mode: off", "mode", "put it in quotes"),
        ("kafka: {inference_topic: x}", "kafka.bootstrap_servers", "missing"),
        ("kafka: {bootstrap_servers: [a], inference_topic: x}", "kafka.bootstrap_servers.0", "must be host:port"),
        ("kafka: {bootstrap_servers: [], inference_topic: x}", "kafka.bootstrap_servers", "at least 1"),
        (f"{KAFKA}, feedback_topic: x}}", "kafka", "must differ"),
        (f"{KAFKA}, security_protocol: SASL_SSL}}", "kafka", "also needs sasl_mechanism"),
        (f"{KAFKA}, sasl_username: me}}", "kafka", "would not be used: security_protocol is PLAINTEXT"),
        (f"{KAFKA}, ssl_cafile: ca.pem}}", "kafka", "would not be used"),
        ("models: {nids: {window_events: many}}", "models.nids.window_events", "valid integer"),
        ("models: {nids: {false_ask_every: 1e9}}", "models.nids", "must not exceed false_alarm_every"),
        ("models: {nids: {false_alarm_every: .nan}}", "models.nids.false_alarm_every", "finite"),
        ("models: {nids: {trusted_origins: [no]}}", "models.nids.trusted_origins.0", "put it in quotes"),
        ("models: {1: {}}", "models.1", "put it in quotes"),
        ("models: {../x: {}}", "models.../x", "cannot be a name"),
        ("models: [nids]", "models", "must be a section"),
        ("http: {listen: 9464}", "http.listen", "valid string"),
        ("http: {listen: 'x:70000'}", "http.listen", "host:port"),
        ("checkpoint_every_seconds: 0", "checkpoint_every_seconds", "greater than 0"),
        ("1: 2", "1", "unknown"),
        ("- a", "", "top level must be"),
        ("mode: act\nkafka:\n  a: [1\n", "", "line 4, column 1"),
        ("mode: act\nmode: observe", "", "line 2, column 1: key 'mode' is given twice"),
        ("http:\n  listen: a:1\n  listen: b:2", "", "line 3, column 3: key 'listen' is given twice"),
        ("mode: !!python/object/apply:os.system [true]", "", "could not determine a constructor"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(file: Path, text: str, field: str, message: str) -> None:
    assert message in problems(file, text)[field]


def test_every_problem_is_listed(file: Path) -> None:
    found = problems(file, "mode: x\ncheckpoint_every_seconds: -1\nhttp: {listen: z}")
    assert sorted(found) == ["checkpoint_every_seconds", "http.listen", "mode"]


def test_a_file_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read: No such file"):
        load_config(tmp_path / "absent.yaml", {})


def test_an_empty_file_and_empty_sections_mean_the_defaults(file: Path) -> None:
    file.write_text("models:\n  nids:\nhttp:\n")
    assert load_config(file, {}).models == {"nids": ModelConfig()}


def test_yaml_anchors_can_be_shared_and_overridden(file: Path) -> None:
    file.write_text("models:\n  a: &a {window_events: 300}\n  b: {<<: *a, window_events: 400}\n  c: {<<: *a}\n")
    models = load_config(file, {}).models
    assert [models[name].window_events for name in "abc"] == [300, 400, 300]


def test_secrets_are_read_from_files_and_never_shown(file: Path) -> None:
    (file.parent / "password").write_text("hunter2\n")
    file.write_text(f"{KAFKA}, {LOGIN}}}")
    config = load_config(file, {})
    assert config.kafka is not None
    secret = config.kafka.sasl_password()
    assert secret is not None
    assert secret.get_secret_value() == "hunter2"
    assert "hunter2" not in f"{config!r} {secret!r} {secret}"
    assert config.kafka.ssl_password() is None


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read"), (" \n", "is empty")])
def test_a_secret_that_cannot_be_had_is_a_configuration_error(file: Path, content: str | None, message: str) -> None:
    if content is not None:
        (file.parent / "password").write_text(content)
    file.write_text(f"{KAFKA}, {LOGIN}}}")
    kafka = load_config(file, {}).kafka
    assert kafka is not None
    with pytest.raises(ConfigError, match=message) as caught:
        kafka.sasl_password()
    assert caught.value.problems[0].field == "kafka.sasl_password_file"


@given(st.integers(0, 65535), st.sampled_from(["localhost", "10.0.0.1", "::1", "broker-1.soc.example"]))
def test_an_address_is_split_into_what_it_was_made_of(port: int, host: str) -> None:
    assert split_address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}") == (host, port)
