"""The adapter `mlflow` against a real tracking server over SQLite, and against one that lies or hangs."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from installed import installed
from kafka_broker import free_ports
from lying_server import RawServer
from python_servers import MLflow
from scripted_mlflow import API, ScriptedMlflow

from rollback.reload.adapter import Site
from rollback.reload.exchange import Server
from rollback.reload.mlflow import NOTE, MlflowReloader, Settings
from rollback.reload.reloader import Observation, ReloadRefusedError, ReloadRetryableError
from rollback.reload.v2_client import V2Settings

pytestmark = pytest.mark.timeout(600)  # the first run installs MLflow
QUICK = V2Settings(timeout_seconds=0.3)


def reloader(url: str, asking: V2Settings | None = None, **more: Any) -> MlflowReloader:
    return MlflowReloader(Settings(url, **more), Site("nids", (), asking or V2Settings()))


class Registry:
    """The registered models of a real server; every test has one of its own."""

    def __init__(self, url: str, model: str) -> None:
        self.url = url
        self.model = model
        self.seen_as = f"{url} {model}@serving"
        self._server = Server(url)
        self._post("registered-models/create", name=model)

    def add(self, *versions: str | None) -> None:
        for version in versions:
            tags = [{"key": "tocsin.version", "value": version}] if version is not None else []
            self._post("model-versions/create", name=self.model, source=f"s3://models/{version}", tags=tags)

    def alias(self, number: str, name: str = "serving") -> None:
        self._post("registered-models/alias", name=self.model, alias=name, version=number)

    def servers(self) -> MlflowReloader:
        return reloader(self.url, registered_model=self.model)

    def _post(self, path: str, **body: Any) -> None:
        self._server.demand("POST", f"{API}/{path}", body, 30.0)


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLflow]:
    installed("mlflow")
    with MLflow(tmp_path_factory.mktemp("mlflow"), *free_ports(1)) as server:
        yield server


@pytest.fixture
def registry(tracking: MLflow, request: pytest.FixtureRequest) -> Registry:
    """Numbers 1, 2 and 3 stand for the versions b, a, none; the alias names 2."""
    made = Registry(tracking.url, request.node.name[:80].replace("[", "-").replace("]", "-"))
    made.add("b", "a", None)
    made.alias("2")
    return made


def test_the_alias_is_moved_by_the_tag_and_back(registry: Registry) -> None:
    servers = registry.servers()
    assert servers.observe("a", None) == (Observation(registry.seen_as, "a", None, "", NOTE),)
    servers.start("a", "b")
    assert servers.observe("b", None) == (Observation(registry.seen_as, "b", None, "", NOTE),)
    (wrong,) = servers.observe("a", None)
    assert (wrong.version, wrong.problem) == ("b", "it names number 1, version 'b', not version 'a'")
    servers.start("b", "a")
    assert servers.observe("a", None)[0].problem == ""


def test_moving_again_is_harmless(registry: Registry) -> None:
    for expected in ("a", "a", "b", None):
        registry.servers().start(expected, "b")
    assert registry.servers().observe("b", None)[0].problem == ""


def test_an_alias_that_somebody_else_has_moved_is_left_alone(registry: Registry) -> None:
    registry.alias("3")
    with pytest.raises(
        ReloadRefusedError, match=r"it names number 3 without tocsin\.version, neither version 'a' nor 'b'"
    ):
        registry.servers().start("a", "b")
    assert (
        registry.servers().observe("b", None)[0].problem == "it names number 3 without tocsin.version, not version 'b'"
    )


def test_a_version_that_mlflow_does_not_know_is_refused_and_nothing_is_moved(registry: Registry) -> None:
    with pytest.raises(ReloadRefusedError, match=rf"{registry.seen_as}: tagged tocsin.version=c must be one .*: none"):
        registry.servers().start("a", "c")
    assert registry.servers().observe("a", None)[0].problem == ""


def test_two_that_say_they_are_the_same_version_are_refused(registry: Registry) -> None:
    registry.add("b")
    with pytest.raises(ReloadRefusedError, match=r"must be one version of .*; found: "):
        registry.servers().start("a", "b")


def test_an_alias_that_is_not_there_is_refused_before_it_is_needed(registry: Registry) -> None:
    servers = reloader(registry.url, registered_model=registry.model, alias="champion")
    (obstacle,) = servers.obstacles()
    assert "there is no alias 'champion'" in obstacle
    with pytest.raises(ReloadRefusedError, match="there is no alias 'champion'"):
        servers.start("a", "b")
    assert registry.servers().obstacles() == ()


def test_a_model_that_is_not_there_is_refused(tracking: MLflow) -> None:
    servers = reloader(tracking.url, registered_model="nobody")
    assert "Registered Model with name=nobody not found" in servers.obstacles()[0]
    with pytest.raises(ReloadRefusedError, match="nobody"):
        servers.start("a", "b")


def test_what_is_asked_of_a_server_is_four_requests() -> None:
    with ScriptedMlflow() as server:
        reloader(server.url).start("2", "1")
        asked = server.paths
    alias = "/registered-models/alias"
    assert asked == ["GET /model-versions/search", f"GET {alias}", f"POST {alias}", f"GET {alias}"]


def test_who_sets_the_alias_after_us_is_seen() -> None:
    with ScriptedMlflow() as server:
        server.overwrites = "2"
        with pytest.raises(ReloadRetryableError, match="was set to 1, and names 2: somebody else moved it"):
            reloader(server.url).start("2", "1")


def test_a_version_that_is_not_ready_is_refused() -> None:
    with ScriptedMlflow(status="FAILED_REGISTRATION", status_message="no such bucket") as server:
        with pytest.raises(ReloadRefusedError, match="number 1 there, which is FAILED_REGISTRATION no such bucket"):
            reloader(server.url).start("2", "1")
        assert server.named == "2"


@pytest.mark.parametrize("wrong", [{"name": "mail"}, {"version": "1/../2"}, {"tags": 3}])
def test_an_answer_about_something_else_moves_nothing(wrong: dict[str, Any]) -> None:
    with ScriptedMlflow(**wrong) as server:
        with pytest.raises((ReloadRefusedError, ReloadRetryableError)):
            reloader(server.url).start("2", "1")
        assert server.named == "2"


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_who_may_not_is_refused(status: int) -> None:
    with ScriptedMlflow() as server:
        server.refuses = (HTTPStatus(status), b'{"message": "not for you"}')
        with pytest.raises(ReloadRefusedError, match=rf"status {status} \(not for you\)"):
            reloader(server.url).start("2", "1")
        assert "not for you" in reloader(server.url).obstacles()[0]


@pytest.mark.parametrize("status", [409, 429, 500, 503])
def test_what_may_pass_may_be_tried_again(status: int) -> None:
    with ScriptedMlflow() as server:
        server.refuses = (HTTPStatus(status), b"busy")
        with pytest.raises(ReloadRetryableError, match=rf"nids@serving: GET .*: status {status}"):
            reloader(server.url).start("2", "1")


def test_a_server_that_hangs_is_left_in_time() -> None:
    with RawServer(lambda _, over: over.wait() and None) as server:
        with pytest.raises(ReloadRetryableError, match=r"no whole answer within 0\.3 s"):
            reloader(server.url, QUICK).start("2", "1")
        (seen,) = reloader(server.url, QUICK).observe("1", None)
    assert (seen.version, seen.agreement) == (None, None)
    assert "no whole answer within 0.3 s" in seen.problem


def test_a_token_is_read_at_every_request_and_never_shown(tmp_path: Path) -> None:
    token = tmp_path / "token"
    servers = reloader("http://127.0.0.1:1", token_file=token)
    with pytest.raises(ReloadRefusedError, match=f"token_file {token} cannot be read"):
        servers.start("2", "1")
    token.write_text("ge heim")
    with pytest.raises(ReloadRefusedError, match="holds no token") as caught:
        servers.start("2", "1")
    assert "heim" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tracking_uri": "sqlite:///x"}, "must look like http"),
        ({"alias": "a'b"}, "alias: may hold"),
        ({"registered_model": "n' or '1'='1"}, "registered_model: may hold"),
        ({"alias": ""}, "alias: may hold"),
    ],
)
def test_settings_that_mean_nothing_are_refused(change: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Settings(**{"tracking_uri": "http://mlflow:5000", **change})
