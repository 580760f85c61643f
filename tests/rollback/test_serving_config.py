"""`models.NAME.serving`: which adapter serves a model, what belongs to it, and where a mistake is shown to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from in_process import Run
from lying_server import ScriptedServer
from tiny_registry import NAME, make_registry

from monitor.doctor.act import _servers
from monitor.reloaders import reloader
from monitor.settings.config import ConfigError, load_config
from monitor.settings.response_sections import ServingConfig
from rollback.reload.exec import ExecReloader
from rollback.reload.kserve import KserveReloader
from rollback.reload.mlflow import MlflowReloader
from rollback.reload.pointer import PointerReloader
from rollback.reload.v2 import V2Reloader

EXAMPLES: dict[str, tuple[dict[str, Any], type]] = {
    "nothing": ({}, PointerReloader),
    "endpoints": ({"endpoints": ["http://a:8080"]}, V2Reloader),
    "pointer": ({"adapter": "pointer", "endpoints": ["http://a"]}, PointerReloader),
    "hooks": ({"pointer": {"hooks": ["http://a/reload?now=1"]}}, PointerReloader),
    "v2": ({"adapter": "v2", "endpoints": "http://a,http://b", "v2": {"unload_first": True}}, V2Reloader),
    "mlflow": ({"adapter": "mlflow", "mlflow": {"tracking_uri": "http://mlflow:5000"}}, MlflowReloader),
    "kserve": ({"adapter": "kserve", "kserve": {"storage_uri": "s3://models/{version}"}}, KserveReloader),
    "exec": ({"adapter": "exec", "exec": {"command": ["/bin/true", "{target}"]}}, ExecReloader),
}


def written(folder: Path, serving: Any, model: str = "nids") -> Path:
    path = folder / "tocsin.yaml"
    path.write_text(yaml.safe_dump({"models": {model: {"serving": serving}}}), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_the_adapter_is_the_one_that_is_named_or_follows_from_the_endpoints(tmp_path: Path, name: str) -> None:
    serving, kind = EXAMPLES[name]
    config = load_config(written(tmp_path, serving), {})
    assert type(reloader("nids", config.models["nids"].serving, {})) is kind


@pytest.mark.parametrize(
    ("serving", "problem"),
    [
        ({"adapter": "exce"}, "models.nids.serving.adapter: unknown; did you mean exec?"),
        ({"adapter": "memory"}, "models.nids.serving.adapter: unknown; valid here: exec, kserve, mlflow, pointer, v2"),
        ({"adapter": "exec"}, "models.nids.serving: the adapter exec needs its section, exec"),
        ({"adapter": "mlflow"}, "models.nids.serving: the adapter mlflow needs its section, mlflow"),
        ({"adapter": "v2"}, "models.nids.serving: the adapter v2 needs endpoints"),
        ({"exec": {"command": ["x"]}}, "models.nids.serving: exec would not be used: the adapter is pointer"),
        ({"adapter": "exec", "exec": {}}, "models.nids.serving.exec.command: missing"),
        (
            {"adapter": "exec", "exec": {"command": "reload.sh"}},
            "models.nids.serving.exec.command: must be a valid tuple",
        ),
        ({"adapter": "exec", "exec": {"command": []}}, "models.nids.serving.exec: command: the program is missing"),
        (
            {"adapter": "exec", "exec": {"command": ["x"], "timeout": 3}},
            "models.nids.serving.exec.timeout: unknown; valid here: command, environment",
        ),
        ({"pointer": {"hook": []}}, "models.nids.serving.pointer.hook: unknown; did you mean hooks?"),
        ({"pointer": {"hooks": ["ftp://a/x"]}}, "models.nids.serving.pointer: endpoint 'ftp://a': must look like http"),
        ({"pointer": 3}, "models.nids.serving.pointer: must be a section"),
        (
            {"adapter": "kserve", "kserve": {"storage_uri": "s3://models"}},
            "models.nids.serving.kserve: storage_uri: must be a URI with {version}",
        ),
        (
            {"adapter": "mlflow", "mlflow": {"tracking_uri": "sqlite:///x"}},
            "models.nids.serving.mlflow: endpoint 'sqlite:///x'",
        ),
        ({"endpoints": ["http://a", "http://a"]}, "models.nids.serving: endpoints: one is named twice"),
        ({"endpoints": ["http://a?b"]}, "models.nids.serving.endpoints.0: endpoint 'http://a?b'"),
        ({"endpoints": ["http://a"], "load_path": "/a b"}, "models.nids.serving: load_path: must start with /"),
    ],
)
def test_a_mistake_is_shown_where_it_is(tmp_path: Path, serving: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, serving), {})
    assert any(str(found).startswith(problem) for found in caught.value.problems), caught.value


def test_the_tensor_of_scores_may_have_another_name() -> None:
    canaries = make_registry().load("2").canaries()
    assert canaries is not None
    scores = {"name": "predict_proba", "datatype": "FP64", "shape": list(canaries.scores.shape)}
    answer = {"model_name": NAME, "outputs": [{**scores, "data": canaries.scores.ravel().tolist()}]}
    with ScriptedServer(nids={"name": NAME, "versions": ["2"]}, infer=answer) as server:
        serving = ServingConfig(endpoints=[server.url], output="predict_proba")
        (seen,) = reloader(NAME, serving, {}).observe("2", canaries)
        asked = msgspec.json.decode(server.requests[-1].body)["outputs"]
    assert (seen.agreement, seen.problem) == (1.0, "")
    assert asked == [{"name": "predict_proba"}]


def test_a_model_that_kubernetes_cannot_name_is_a_mistake_of_the_file_too(tmp_path: Path) -> None:
    serving = {"adapter": "kserve", "kserve": {"storage_uri": "s3://models/{version}"}}
    with pytest.raises(ConfigError, match=r"models\.NIDS_1\.serving: name: .* set kserve\.name"):
        load_config(written(tmp_path, serving, "NIDS_1"), {})


def test_bad_servers_end_a_command_with_78(tmp_path: Path, run: Run) -> None:
    code, _, said = run("validate", "--config", written(tmp_path, {"adapter": "exec"}))
    assert code == 78
    assert "models.nids.serving: the adapter exec needs its section" in said


def test_a_file_that_an_adapter_needs_is_missed_at_once(tmp_path: Path, run: Run) -> None:
    mlflow = {"tracking_uri": "https://mlflow", "token_file": "token"}
    code, _, said = run("validate", "--config", written(tmp_path, {"adapter": "mlflow", "mlflow": mlflow}))
    assert code == 78
    assert f"models.nids.serving.mlflow.token_file: {tmp_path / 'token'} does not exist" in said
    kserve = {"storage_uri": "s3://models/{version}"}
    code, _, said = run("validate", "--config", written(tmp_path, {"adapter": "kserve", "kserve": kserve}))
    assert "kserve" not in said  # what a Pod has need not be where the file is checked


def test_paths_start_at_the_folder_of_the_file_and_what_is_no_path_stays(tmp_path: Path) -> None:
    mlflow = {"tracking_uri": "https://mlflow", "token_file": "secrets/token"}
    config = load_config(written(tmp_path, {"adapter": "mlflow", "mlflow": mlflow}), {})
    chosen = config.models["nids"].serving.mlflow
    assert chosen is not None
    assert chosen.token_file == tmp_path / "secrets/token"
    config = load_config(written(tmp_path, {"adapter": "exec", "exec": {"command": ["bin/reload", "a"]}}), {})
    assert config.models["nids"].serving.exec is not None
    assert config.models["nids"].serving.exec.command == ("bin/reload", "a")


def test_an_adapter_can_be_set_by_the_environment(tmp_path: Path) -> None:
    variables = {"ADAPTER": "exec", "EXEC__COMMAND": '["reload", "{target}"]'}
    environ = {f"TOCSIN_MODELS__NIDS__SERVING__{name}": value for name, value in variables.items()}
    config = load_config(written(tmp_path, {}), environ)
    assert config.models["nids"].serving.exec is not None
    assert config.models["nids"].serving.exec.command == ("reload", "{target}")


@pytest.mark.parametrize(
    ("example", "observable", "said"),
    [
        ("nothing", False, "leave it to the servers to see that"),
        ("hooks", False, "have the servers load it (pointer)"),
        ("exec", False, "have the servers load it (exec)"),
        ("pointer", True, "leave it to the servers to see that and ask 1 endpoint"),
        ("endpoints", True, "make 1 endpoint load it"),
        ("mlflow", True, "have the servers load it (mlflow)"),
        ("kserve", True, "have the servers load it (kserve)"),
    ],
)
def test_what_a_rollback_would_do_with_the_servers_is_said(example: str, observable: object, said: str) -> None:
    serving = ServingConfig.model_validate(EXAMPLES[example][0])
    assert serving.observable is observable
    assert _servers(serving) == said
