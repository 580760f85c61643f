"""The adapter `kserve` against an API server in memory that is as strict as a real one, and against hostile ones."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kube_api import PATH, REVIEWS, Cluster, Refusal
from lying_server import RawServer

from monitor.demo.server.http import JsonServer
from monitor.demo.server.protocol import Reply
from rollback.reload.adapter import Site
from rollback.reload.kserve import NOTE, SERVICE_ACCOUNT, KserveReloader, Settings
from rollback.reload.reloader import Observation, ReloadRefusedError, ReloadRetryableError
from rollback.reload.template import fill, read_back
from rollback.reload.v2_client import V2Settings

URI = "s3://models/{model}/{version}"
NAME = "InferenceService soc/nids"


def reloader(url: str, seconds: float = 10.0, **more: Any) -> KserveReloader:
    here: dict[str, Any] = {"namespace": "soc", "api_server": url, "token_file": None, "ca_file": None}
    return KserveReloader(
        Settings(URI, **{**here, **more}),
        Site("nids", (), V2Settings(timeout_seconds=seconds, load_timeout_seconds=0.3)),
    )


def test_the_uri_is_moved_and_back_and_seen_when_it_is_ready() -> None:
    with Cluster("s3://models/nids/2") as cluster:
        servers = reloader(cluster.url)
        servers.start("2", "1")
        assert cluster.uri == "s3://models/nids/1"
        assert servers.observe("1", None) == (Observation(NAME, "1", None, "", NOTE),)
        wrong = "its storageUri is s3://models/nids/1, not version '2'"
        assert servers.observe("2", None) == (Observation(NAME, "1", None, wrong),)
        servers.start("1", "2")
        assert cluster.uri == "s3://models/nids/2"
        assert cluster.object["spec"]["predictor"]["model"]["modelFormat"] == {"name": "onnx"}


def test_what_is_there_already_is_not_patched() -> None:
    with Cluster("s3://models/nids/1") as cluster:
        reloader(cluster.url).start("2", "1")
        reloader(cluster.url).start(None, "1")
        assert {method for method, _ in cluster.requests} == {"GET"}


@pytest.mark.parametrize("uri", ["s3://models/nids/3", "s3://elsewhere/nids/2", "s3://models/mail/2"])
def test_a_uri_that_stands_for_something_else_is_left_alone(uri: str) -> None:
    with Cluster(uri) as cluster:
        with pytest.raises(ReloadRefusedError, match=f"its storageUri is {uri}, neither version '2' nor '1'"):
            reloader(cluster.url).start("2", "1")
        assert cluster.uri == uri


def test_who_changes_it_between_reading_and_writing_is_not_overwritten() -> None:
    with Cluster("s3://models/nids/2") as cluster:
        changes = iter(["s3://models/nids/3"])

        def somebody() -> None:
            for uri in changes:
                cluster.change({"spec": {"predictor": {"model": {"storageUri": uri}}}})

        cluster.before_patch = somebody
        with pytest.raises(ReloadRetryableError, match=r"PATCH .*: status 409 \(.*the object has been modified"):
            reloader(cluster.url).start("2", "1")
        assert cluster.uri == "s3://models/nids/3"
        with pytest.raises(ReloadRefusedError, match="somebody changed it"):
            reloader(cluster.url).start("2", "1")


def test_any_other_change_in_between_is_tried_again() -> None:
    with Cluster("s3://models/nids/2") as cluster:
        changes = iter([{"metadata": {"labels": {"a": "b"}}}])
        cluster.before_patch = lambda: [cluster.change(change) for change in changes] and None
        with pytest.raises(ReloadRetryableError, match="status 409"):
            reloader(cluster.url).start("2", "1")
        reloader(cluster.url).start("2", "1")
        assert cluster.uri == "s3://models/nids/1"


def test_ready_of_the_generation_before_is_not_ready() -> None:
    with Cluster("s3://models/nids/2") as cluster:
        settle, cluster.settle = cluster.settle, lambda: None  # type: ignore[method-assign]  # KServe is away
        reloader(cluster.url).start("2", "1")
        (seen,) = reloader(cluster.url).observe("1", None)
        assert (seen.version, seen.problem) == ("1", "generation 2 is not observed yet, its status is of 1")
        settle()
        assert reloader(cluster.url).observe("1", None)[0].problem == ""


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({}, "its status does not say whether it is ready"),
        ({"conditions": []}, "its status does not say whether it is ready"),
        ({"conditions": [{"type": "Ready", "status": "Unknown"}]}, "it is not ready"),
        (
            {
                "conditions": [
                    {"type": "Ready", "status": "False", "reason": "PredictorNotReady", "message": "no image"}
                ]
            },
            "it is not ready: PredictorNotReady no image",
        ),
        (
            {
                "conditions": [{"type": "Ready", "status": "True"}],
                "modelStatus": {"transitionStatus": "InProgress"},
            },
            "its model is InProgress",
        ),
        (
            {
                "conditions": [{"type": "Ready", "status": "True"}],
                "modelStatus": {
                    "transitionStatus": "BlockedByFailedLoad",
                    "lastFailureInfo": {"message": "no such\nkey"},
                },
            },
            "its model is BlockedByFailedLoad: no such key",
        ),
    ],
)
def test_what_is_not_ready_says_why(status: dict[str, Any], said: str) -> None:
    with Cluster("s3://models/nids/1") as cluster:
        cluster.object["status"] = status
        (seen,) = reloader(cluster.url).observe("1", None)
    assert (seen.version, seen.agreement, seen.problem, seen.note) == ("1", None, said, "")


def test_a_part_of_the_traffic_elsewhere_is_refused() -> None:
    with Cluster("s3://models/nids/2") as cluster:
        cluster.change({"spec": {"predictor": {"canaryTrafficPercent": 10}}})
        with pytest.raises(ReloadRefusedError, match="canaryTrafficPercent is 10: the rest would stay where it is"):
            reloader(cluster.url).start("2", "1")
        assert "canaryTrafficPercent is 10" in reloader(cluster.url).observe("2", None)[0].problem
        assert "canaryTrafficPercent is 10" in reloader(cluster.url).obstacles()[0]
        cluster.change({"spec": {"predictor": {"canaryTrafficPercent": 100}}})
        reloader(cluster.url).start("2", "1")
        assert cluster.uri == "s3://models/nids/1"


@pytest.mark.parametrize("code", [401, 403, 404, 422])
def test_what_the_api_server_refuses_is_refused_with_its_reason(code: int) -> None:
    with Cluster("s3://models/nids/2") as cluster:
        cluster.broken = Refusal(code, "because of this")
        with pytest.raises(ReloadRefusedError, match=rf"^{NAME}: GET {PATH}: status {code} \(because of this\)$"):
            reloader(cluster.url).start("2", "1")


@pytest.mark.parametrize("code", [409, 503])
def test_what_may_pass_may_be_tried_again(code: int) -> None:
    with Cluster("s3://models/nids/2") as cluster:
        cluster.broken = Refusal(code, "etcd is away")
        with pytest.raises(ReloadRetryableError, match="etcd is away"):
            reloader(cluster.url).start("2", "1")


def test_who_may_read_only_is_told_before_it_matters() -> None:
    with Cluster("s3://models/nids/2") as cluster:
        assert reloader(cluster.url).obstacles() == ()
        cluster.verbs = {"get"}
        (obstacle,) = reloader(cluster.url).obstacles()
        said = "we may not patch inferenceservices.serving.kserve.io in namespace soc: no RBAC policy matched"
        assert obstacle == f"{NAME}: {said}"
        with pytest.raises(ReloadRefusedError, match='cannot patch resource "inferenceservices"'):
            reloader(cluster.url).start("2", "1")
        assert ("PATCH", PATH) in cluster.requests
        assert ("POST", REVIEWS) in cluster.requests


def test_the_token_is_read_anew_and_sent(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    with Cluster("s3://models/nids/2") as cluster:
        servers = reloader(cluster.url, token_file=token)
        cluster.token = "second"  # noqa: S105 - of a server that lives as long as this test
        with pytest.raises(ReloadRefusedError, match=r"status 401 \(Unauthorized\)"):
            servers.start("2", "1")
        token.write_text("second")
        servers.start("2", "1")
        assert cluster.uri == "s3://models/nids/1"


def test_outside_of_a_cluster_the_files_of_the_service_account_are_missed_by_name() -> None:
    servers = KserveReloader(Settings(URI, api_server="https://127.0.0.1:1"), Site("nids"))
    (obstacle,) = servers.obstacles()
    assert (
        "namespace: is not set, and /var/run/secrets/kubernetes.io/serviceaccount/namespace cannot be read" in obstacle
    )
    servers = KserveReloader(Settings(URI, namespace="soc", api_server="https://127.0.0.1:1"), Site("nids"))
    assert f"token_file {SERVICE_ACCOUNT}/token cannot be read" in servers.obstacles()[0]
    servers = reloader("https://127.0.0.1:1", ca_file=Path("/nowhere/ca.crt"))
    assert "ca_file /nowhere/ca.crt cannot be used" in servers.obstacles()[0]


def test_an_api_server_that_hangs_is_left_in_time() -> None:
    with RawServer(lambda _, over: over.wait() and None) as server:
        with pytest.raises(ReloadRetryableError, match=r"no whole answer within 0\.3 s"):
            reloader(server.url, 0.3).start("2", "1")
        (seen,) = reloader(server.url, 0.3).observe("1", None)
    assert (seen.version, seen.agreement) == (None, None)
    assert "no whole answer within 0.3 s" in seen.problem


@pytest.mark.parametrize(
    "wrong",
    [
        {"metadata": {"name": "mail", "resourceVersion": "1"}},
        {"metadata": {"name": "nids"}},
        {"metadata": {"name": "nids", "resourceVersion": ""}},
        {"spec": {"predictor": {"sklearn": {"storageUri": "s3://models/nids/2"}}}},
        {"spec": {"predictor": {"model": {"storageUri": 7}}}},
        {"spec": {}},
        {"status": {"conditions": "Ready"}},
    ],
)
def test_an_object_that_is_not_what_it_should_be_is_not_patched(wrong: dict[str, Any]) -> None:
    with Cluster("s3://models/nids/2") as cluster:
        cluster.object |= wrong
        with pytest.raises((ReloadRefusedError, ReloadRetryableError)):
            reloader(cluster.url).start("2", "1")
        assert reloader(cluster.url).observe("2", None)[0].problem
        assert {method for method, _ in cluster.requests} == {"GET"}


def test_whatever_an_api_server_answers_nothing_but_the_two_errors_is_raised() -> None:
    said: dict[str, bytes] = {}
    json = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    )
    keys = st.sampled_from(
        ["metadata", "spec", "status", "resourceVersion", "name", "generation", "predictor", "model"]
    )
    near = st.dictionaries(keys, st.dictionaries(keys, json, max_size=3) | json, max_size=3)
    with JsonServer(("127.0.0.1", 0), lambda _: Reply(HTTPStatus.OK, said["body"])) as server:
        servers = reloader(server.url)

        @settings(max_examples=60)
        @given(near.map(msgspec.json.encode) | st.binary(max_size=20))
        def check(body: bytes) -> None:
            said["body"] = body
            with pytest.raises((ReloadRefusedError, ReloadRetryableError)):
                servers.start("2", "1")
            assert servers.observe("1", None)[0].problem

        check()


def test_the_double_is_as_strict_about_media_types() -> None:
    with Cluster("s3://models/nids/2") as cluster, pytest.raises(Refusal, match="unknown format"):
        cluster.patch(PATH, "application/json", {})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"storage_uri": "s3://models/nids"}, r"storage_uri: must be a URI with \{version\}"),
        ({"storage_uri": "{version}://models"}, "storage_uri: must be a URI"),
        ({"name": "Nids"}, "name: is no name of Kubernetes"),
        ({"namespace": "soc/../kube-system"}, "namespace: is no name of Kubernetes"),
        ({"api_server": "kubernetes:6443"}, "must look like http"),
    ],
)
def test_settings_that_mean_nothing_are_refused(change: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Settings(**{"storage_uri": URI, **change})  # type: ignore[arg-type]  # all of these are text


def test_a_model_whose_name_kubernetes_does_not_know_needs_another() -> None:
    with pytest.raises(ValueError, match=r"set kserve\.name"):
        KserveReloader(Settings(URI), Site("NIDS_1"))
    KserveReloader(Settings(URI, name="nids-1"), Site("NIDS_1"))


VERSIONS = st.text(
    st.characters(codec="ascii", categories=["L", "N"], include_characters="._-"), min_size=1, max_size=9
)


@given(
    st.lists(st.text(max_size=4).map(lambda t: t.replace("{", "").replace("}", "")), min_size=2, max_size=4), VERSIONS
)
def test_a_version_is_read_back_from_where_it_was_put(parts: list[str], version: str) -> None:
    template = "{version}".join(parts)
    text = fill(template, {"{version}": version})
    back = read_back(template, text)
    assert back is not None
    assert fill(template, {"{version}": back}) == text
    if len(parts) == 2:
        assert back == version


def test_it_takes_two_requests_and_a_look() -> None:
    with Cluster("s3://models/nids/2") as cluster:
        reloader(cluster.url).start("2", "1")
        assert cluster.requests == [("GET", PATH), ("PATCH", PATH), ("GET", PATH)]
