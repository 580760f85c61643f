"""Model servers over HTTP that are away, slow, wrong or hostile: every one is caught, in bounded time and memory."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka_certificate import write_certificate
from lying_server import RawServer, ScriptedServer
from tiny_registry import NAME, make_registry

from detectors.schema import UNSEEN, Feature, Schema
from monitor.demo.server.http import JsonServer
from monitor.demo.server.protocol import Reply, Request
from rollback.canary.canaries import Canaries
from rollback.reload.reloader import Observation, ReloadRefusedError, ReloadRetryableError
from rollback.reload.v2 import MAX_ENDPOINTS, V2Reloader
from rollback.reload.v2_client import V2Client, V2Settings
from rollback.reload.v2_tensors import Tensor, TensorError, from_inputs, to_inputs

SHORT = V2Settings(timeout_seconds=0.2, load_timeout_seconds=0.2)
METADATA = {"name": NAME, "versions": ["2"], "platform": "p", "inputs": [], "outputs": []}
Talk = Callable[[socket.socket, threading.Event], None]


@pytest.fixture(scope="module")
def canaries() -> Canaries:
    found = make_registry().load("2").canaries()
    assert found is not None
    return found


def answer(canaries: Canaries, **changes: Any) -> dict[str, Any]:
    """What version 2 answers, with changes of the tensor of scores, or of the answer as a whole."""
    scores = {
        "name": "scores",
        "datatype": "FP64",
        "shape": list(canaries.scores.shape),
        "data": canaries.scores.ravel().tolist(),
    }
    whole = {"model_name": NAME, "model_version": "2", "outputs": [scores]}
    for name, value in changes.items():
        (scores if name in {*scores, "parameters"} else whole)[name] = value
    return whole


def observe(url: str, canaries: Canaries, settings: V2Settings | None = None) -> Observation:
    (seen,) = V2Reloader([url], NAME, settings).observe("2", canaries)
    return seen


def test_the_script_alone_is_a_good_server(canaries: Canaries) -> None:
    with ScriptedServer(nids=METADATA, infer=answer(canaries)) as server:
        assert observe(server.url, canaries) == Observation(server.url, "2", 1.0)


def test_scores_may_be_nested_and_single_precision(canaries: Canaries) -> None:
    nested = canaries.scores.astype(np.float32).tolist()
    with ScriptedServer(nids=METADATA, infer=answer(canaries, data=nested, datatype="FP32")) as server:
        assert observe(server.url, canaries) == Observation(server.url, "2", 1.0)


@pytest.mark.parametrize(
    ("metadata", "version", "seen", "said"),
    [
        (["2"], "1", "1", "version '1' answers, not '2'"),
        (["1"], "2", "2", "its metadata names '1', not '2'"),
        (["1"], None, "1", "its metadata names '1', not '2'"),
        (["1", "3"], None, None, "its metadata names '1', '3', not '2'"),
        ([], None, None, "it names no version"),
    ],
)
def test_every_place_that_names_a_version_must_name_the_right_one(
    canaries: Canaries, metadata: list[str], version: str | None, seen: str | None, said: str
) -> None:
    infer = answer(canaries, model_version=version)
    with ScriptedServer(nids={**METADATA, "versions": metadata}, infer=infer) as server:
        assert observe(server.url, canaries) == Observation(server.url, seen, 1.0, said)


@pytest.mark.parametrize(("metadata", "version"), [(["1", "2"], "2"), ([], "2"), (["2"], None)])
def test_a_version_may_be_named_in_one_place_only_or_among_others(
    canaries: Canaries, metadata: list[str], version: str | None
) -> None:
    infer = answer(canaries, model_version=version)
    with ScriptedServer(nids={**METADATA, "versions": metadata}, infer=infer) as server:
        assert observe(server.url, canaries).problem == ""


def deep(answered: Any, after: bytes, end: bytes = b"") -> bytes:
    """The answer, with lists in lists put after a name."""
    before, _, rest = msgspec.json.encode(answered).partition(after)
    nested = before + after + b"[" * 100_000 + end * 100_000
    return nested + b"," + rest.partition(b",")[2] if end else nested


WRONG: dict[str, Callable[[Canaries], Any]] = {
    "no JSON": lambda _: b"<html>",
    "no text": lambda _: b'{"model_name": "\xff"}',
    "nothing": lambda _: b"",
    "a version without end": lambda c: answer(c, model_version="2" * 1000),
    "a list": lambda _: [],
    "nested without end": lambda _: b"[" * 100_000,
    "data nested without end": lambda c: deep(answer(c), b'"data":'),
    "parameters nested without end": lambda c: deep(answer(c, parameters=0), b'"parameters":'),
    "closed data nested without end": lambda c: deep(answer(c), b'"data":', b"]"),
    "closed parameters nested without end": lambda c: deep(answer(c, parameters=0), b'"parameters":', b"]"),
    "an error with status 200": lambda _: {"error": "no"},
    "no scores": lambda c: answer(c, outputs=[]),
    "another model": lambda c: answer(c, model_name="mail"),
    "a row too few": lambda c: answer(c, shape=[len(c) - 1, 3], data=c.scores[1:].ravel().tolist()),
    "a class too many": lambda c: answer(c, shape=[len(c), 4], data=[0.25] * 4 * len(c)),
    "another shape than data": lambda c: answer(c, data=c.scores.ravel().tolist()[1:]),
    "a shape without end": lambda c: answer(c, shape=[2**40, 2**40]),
    "flat": lambda c: answer(c, shape=[c.scores.size]),
    "text": lambda c: answer(c, datatype="BYTES", data=["x"] * c.scores.size),
    "numbers as text": lambda c: answer(c, data=["0.5"] * c.scores.size),
    "not a number": lambda c: answer(c, data=[None, *c.scores.ravel().tolist()[1:]]),
    "NaN": lambda c: msgspec.json.encode(answer(c)).replace(b"[0.", b"[NaN,0.", 1),
    "infinite": lambda c: msgspec.json.encode(answer(c)).replace(b"[0.", b"[1e999,0.", 1),
}


@pytest.mark.parametrize("wrong", sorted(WRONG))
def test_an_answer_that_cannot_be_read_is_a_problem_in_words(canaries: Canaries, wrong: str) -> None:
    with ScriptedServer(nids=METADATA, infer=WRONG[wrong](canaries)) as server:
        seen = observe(server.url, canaries)
    assert (seen.version, seen.agreement) == ("2", None)
    assert seen.problem


@pytest.mark.parametrize("metadata", [b"", b"{", {"name": "mail"}, {"name": NAME, "versions": 2}, [], b"[" * 100_000])
def test_metadata_that_cannot_be_read_is_a_problem_in_words(canaries: Canaries, metadata: Any) -> None:
    with ScriptedServer(nids=metadata, infer=answer(canaries)) as server:
        seen = observe(server.url, canaries)
    assert (seen.version, seen.agreement) == (None, None)
    assert seen.problem


def test_whatever_a_server_answers_nothing_is_raised_and_only_the_right_scores_pass(canaries: Canaries) -> None:
    said: dict[str, bytes] = {}

    def respond(request: Request) -> Reply:
        return Reply(HTTPStatus.OK, said["infer" if request.path.endswith("infer") else "metadata"])

    json = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    )
    changes = st.dictionaries(
        st.sampled_from(["model_name", "model_version", "outputs", "name", "datatype", "shape", "data"]),
        json,
        min_size=1,
    )

    with JsonServer(("127.0.0.1", 0), respond) as server:
        reloader = V2Reloader([server.url], NAME)

        @settings(max_examples=60)
        @given(changes, st.none() | st.binary(max_size=20), json)
        def check(change: dict[str, Any], noise: bytes | None, metadata: Any) -> None:
            good = answer(canaries)
            said["infer"] = noise if noise is not None else msgspec.json.encode(answer(canaries, **change))
            said["metadata"] = msgspec.json.encode(METADATA if noise is None else metadata)
            (seen,) = reloader.observe("2", canaries)
            same = noise is None and msgspec.json.decode(said["infer"]) == good
            assert seen.problem or same or change.get("model_version", "2") is None

        check()


def endless(connection: socket.socket, _: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b" " * 65536)


def endless_chunks(connection: socket.socket, _: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")


def drip(start: bytes, drop: bytes) -> Talk:
    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        while not over.wait(0.02):
            connection.sendall(drop)

    return talk


SLOW: dict[str, Talk] = {
    "says nothing": drip(b"", b""),
    "drips its status": drip(b"HTTP/1.1 200", b" "),
    "drips headers": drip(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
    "promises to go on": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "drips its body": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
    "drips chunks": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "drips and will close": drip(b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n", b" "),
}


@pytest.mark.parametrize("slow", sorted(SLOW))
def test_who_drips_is_cut_off_when_the_time_is_over(canaries: Canaries, slow: str) -> None:
    with RawServer(SLOW[slow]) as server:
        seen = observe(server.url, canaries, SHORT)
        assert (seen.version, seen.agreement) == (None, None)
        assert "within 0.2 s" in seen.problem
        with pytest.raises(ReloadRetryableError, match=r"within 0\.2 s"):
            V2Reloader([server.url], NAME, SHORT).start("1", "2")


@pytest.mark.parametrize("talk", [endless, endless_chunks])
def test_a_body_without_end_is_not_read_to_its_end(canaries: Canaries, talk: Talk) -> None:
    with RawServer(talk) as server:
        assert observe(server.url, canaries).problem == "its answer is longer than 1048576 bytes"
        with pytest.raises(ReloadRetryableError, match="longer than 1048576 bytes"):
            V2Reloader([server.url], NAME).start("1", "2")


@pytest.mark.parametrize(
    "sent", [b"", b"\r\n", b"\x00" * 100, b"HTTP/9.9 x\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a" * 70000]
)
def test_what_is_no_http_may_be_tried_again(canaries: Canaries, sent: bytes) -> None:
    with RawServer(lambda connection, _: connection.sendall(sent)) as server:
        assert observe(server.url, canaries).problem
        with pytest.raises(ReloadRetryableError):
            V2Reloader([server.url], NAME).start("1", "2")


def test_what_a_server_says_cannot_write_lines_into_a_log(canaries: Canaries) -> None:
    with RawServer(lambda connection, _: connection.sendall(b"x\x1b[2J\ry\xff z\r\n\r\n")) as server:
        assert observe(server.url, canaries).problem.isprintable()


def test_who_is_not_there_may_be_tried_again(canaries: Canaries) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    assert "ConnectionRefusedError" in observe(url, canaries).problem
    with pytest.raises(ReloadRetryableError, match=f"{url}: POST /v2/repository/models/nids/load: ConnectionRefused"):
        V2Reloader([url], NAME).start("1", "2")


def status_server(status: int, headers: bytes = b"") -> RawServer:
    body = b'{"error": "because\\u0007of this"}'
    lines = b"HTTP/1.1 %d X\r\n%sContent-Length: %d\r\n\r\n%s" % (status, headers, len(body), body)
    return RawServer(lambda connection, _: connection.sendall(lines))


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_may_be_tried_again(canaries: Canaries, status: int) -> None:
    with status_server(status) as server:
        with pytest.raises(ReloadRetryableError, match=rf"status {status} \(because of this\)"):
            V2Reloader([server.url], NAME).start("1", "2")
        assert f"status {status}" in observe(server.url, canaries).problem


@pytest.mark.parametrize("status", [304, 400, 401, 403, 404, 405, 413, 422])
def test_what_does_not_pass_is_refused(canaries: Canaries, status: int) -> None:
    with status_server(status) as server:
        with pytest.raises(ReloadRefusedError, match=rf"status {status}"):
            V2Reloader([server.url], NAME).start("1", "2")
        assert f"status {status}" in observe(server.url, canaries).problem


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(canaries: Canaries, status: int) -> None:
    with ScriptedServer(nids=METADATA, infer=answer(canaries)) as elsewhere:
        header = f"Location: {elsewhere.url}/v2/models/nids\r\n".encode()
        with status_server(status, header) as server:
            assert f"status {status}" in observe(server.url, canaries).problem
            with pytest.raises(ReloadRefusedError):
                V2Reloader([server.url], NAME).start("1", "2")
        assert elsewhere.requests == []


def test_a_proxy_of_the_environment_is_not_used(canaries: Canaries, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer() as proxy, ScriptedServer(nids=METADATA, infer=answer(canaries)) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert observe(server.url, canaries).problem == ""
        assert proxy.requests == []


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate that only `certificate.pem` in ``tmp_path`` vouches for."""
    write_certificate(tmp_path / "certificate.pem", tmp_path / "both.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    return context


def accept(connection: socket.socket, _: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


def test_a_certificate_that_is_not_trusted_is_refused(canaries: Canaries, tls: ssl.SSLContext) -> None:
    with RawServer(accept, tls) as server:
        assert "certificate is not trusted" in observe(server.url, canaries).problem
        with pytest.raises(ReloadRefusedError, match="certificate is not trusted"):
            V2Reloader([server.url], NAME).start("1", "2")


def test_tls_with_a_trusted_certificate_works_and_is_cut_off_too(
    tls: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    with RawServer(accept, tls) as server, RawServer(SLOW["drips its body"], tls) as slow:
        V2Reloader([server.url], NAME).start("1", "2")
        with pytest.raises(ReloadRetryableError, match=r"within 0\.2 s"):
            V2Reloader([slow.url], NAME, SHORT).start("1", "2")


def test_a_refusal_outweighs_what_may_be_tried_again_and_every_endpoint_is_named() -> None:
    with status_server(503) as busy, status_server(403) as refusing, ScriptedServer() as fine:
        reloader = V2Reloader([busy.url, refusing.url, fine.url], NAME)
        with pytest.raises(ReloadRefusedError, match=rf"^{busy.url}: .*503.*; {refusing.url}: .*403") as caught:
            reloader.start("1", "2")
        assert fine.url not in str(caught.value)
        assert [msgspec.json.decode(r.body) for r in fine.requests] == [{"parameters": {"version": "2"}}]


def test_the_reload_hook_is_a_setting() -> None:
    with ScriptedServer() as server:
        V2Reloader([f"{server.url}/team/"], "a model", V2Settings(load_path="/hooks/{model}?now=1")).start("1", "2")
    assert [(r.method, r.path) for r in server.requests] == [("POST", "/team/hooks/a%20model?now=1")]


TRITON = '{"version_policy": {"specific": {"versions": [{version}]}}}'


@pytest.mark.parametrize(
    ("parameters", "sent"),
    [
        ({"version": "{version}"}, {"parameters": {"version": "2"}}),
        ({"config": TRITON}, {"parameters": {"config": '{"version_policy": {"specific": {"versions": [2]}}}'}}),
        ({"a": "{model}/{version}/{other}"}, {"parameters": {"a": f"{NAME}/2/{{other}}"}}),
        ({}, {}),
    ],
)
def test_what_goes_with_a_load_is_a_setting(parameters: dict[str, str], sent: dict[str, Any]) -> None:
    with ScriptedServer() as server:
        V2Reloader([server.url], NAME, V2Settings(load_parameters=parameters)).start("1", "2")
    assert [msgspec.json.decode(request.body) for request in server.requests] == [sent]


def answering(paths: list[str], **statuses: tuple[int, bytes]) -> JsonServer:
    """Answers with what is given for the end of a path, else with 200; ``paths`` gets every path."""

    def respond(request: Request) -> Reply:
        paths.append(request.path)
        status, body = statuses.get(request.path.rpartition("/")[2], (200, b"{}"))
        return Reply(HTTPStatus(status), body)

    return JsonServer(("127.0.0.1", 0), respond)


@pytest.mark.parametrize("status", [200, 404])
def test_unloading_first_is_harmless_where_nothing_is_loaded(status: int) -> None:
    paths: list[str] = []
    with answering(paths, unload=(status, b"{}")) as server:
        V2Reloader([server.url], NAME, V2Settings(unload_first=True)).start("1", "2")
    assert paths == [f"/v2/repository/models/{NAME}/{act}" for act in ("unload", "load")]


@pytest.mark.parametrize(("status", "error"), [(503, ReloadRetryableError), (403, ReloadRefusedError)])
def test_what_cannot_be_unloaded_is_not_loaded(status: int, error: type[Exception]) -> None:
    paths: list[str] = []
    with (
        answering(paths, unload=(status, b"{}")) as server,
        pytest.raises(error, match=f"{server.url}: POST .*/unload: status {status}"),
    ):
        V2Reloader([server.url], NAME, V2Settings(unload_first=True)).start("1", "2")
    assert paths == [f"/v2/repository/models/{NAME}/unload"]


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ([{"name": NAME, "version": "2", "state": "UNAVAILABLE", "reason": "no\nspace"}],
         "; its index says of version 2: UNAVAILABLE (no space)"),
        ([{"name": NAME, "state": "LOADING"}, {"name": "mail", "state": "UNAVAILABLE"}], "; its index says: LOADING"),
        ([{"name": NAME, "version": "2", "state": "READY"}], ""),
        ([], ""),
        ({"error": "what?"}, ""),
    ],
)  # fmt: skip
def test_why_a_model_is_not_served_is_looked_up_in_the_index(canaries: Canaries, listed: Any, said: str) -> None:
    refused = (404, b'{"error": "not found"}')
    with answering([], nids=refused, index=(200, msgspec.json.encode(listed))) as server:
        seen = observe(server.url, canaries)
    assert seen.problem == f"GET /v2/models/{NAME}: status 404 (not found){said}"


def test_a_server_that_does_not_list_its_repository_is_in_the_way_and_one_that_is_away_is_not() -> None:
    with answering([], index=(405, b"{}")) as deaf, answering([], index=(200, b"[]")) as fine:
        reloader = V2Reloader([deaf.url, fine.url, "http://127.0.0.1:1"], NAME)
        why = "it does not list its model repository: POST /v2/repository/index: status 405"
        assert reloader.obstacles() == (f"{deaf.url}: {why}",)
        assert V2Reloader([deaf.url], NAME, V2Settings(load_path="/reload")).obstacles() == ()


def test_canaries_that_cannot_tell_versions_apart_are_said_to_prove_nothing(canaries: Canaries) -> None:
    dull = Canaries(canaries.schema, canaries.x, canaries.scores, confused_with=("1",))
    with ScriptedServer(nids=METADATA, infer=answer(canaries)) as server:
        seen = observe(server.url, dull)
    assert (seen.agreement, seen.problem) == (1.0, "")
    assert seen.note == "the canaries cannot tell it from version 1: it is believed"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "models:8080",
        "ftp://models",
        "file:///etc/passwd",
        "http://",
        "http://a b",
        "http://a/\r\nX: y",
        "http://models:99999",
        "http://[::1",
        "http://models?x=1",
        "http://models#x",
    ],
)
def test_only_plain_addresses_are_taken(url: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        V2Reloader([url], NAME)


def test_an_address_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="no user or password") as caught:
        V2Reloader(["http://tocsin:geheim@models:8080"], NAME)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("urls", [[], ["http://a", "http://a"], [f"http://a{i}" for i in range(MAX_ENDPOINTS + 1)]])
def test_endpoints_are_some_but_not_many_and_different(urls: list[str]) -> None:
    with pytest.raises(ValueError, match="between 1 and 32 different ones"):
        V2Reloader(urls, NAME)


@pytest.mark.parametrize(
    "change",
    [
        {"timeout_seconds": 0.0},
        {"load_timeout_seconds": float("nan")},
        {"timeout_seconds": float("inf")},
        {"load_path": "hooks"},
        {"load_path": "/a b"},
        {"load_path": "/a\r\nHost: b"},
        {"max_answer_bytes": 0},
    ],
)
def test_settings_that_mean_nothing_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        V2Settings(**change)


WORDS = st.lists(st.sampled_from(["tcp", "", "<unseen>", "<unseen>?", "ü", '"', "0"]), unique=True, max_size=5)


@settings(max_examples=100)
@given(WORDS, st.data())
def test_rows_arrive_as_they_were_sent(words: list[str], data: st.DataObject) -> None:
    schema = Schema(
        (Feature("bytes"), Feature("proto", "categorical", tuple(words)), Feature("tls", "binary")), ("a", "b")
    )
    codes = st.sampled_from([UNSEEN, np.nan, *map(float, range(len(words)))])
    number = st.floats(allow_infinity=False)
    rows = data.draw(st.lists(st.tuples(number, codes, number), max_size=5))
    x = np.array(rows, dtype=np.float64).reshape(len(rows), 3)
    sent = msgspec.json.decode(msgspec.json.encode(to_inputs(schema, x)), type=list[Tensor])
    got = from_inputs(schema, data.draw(st.permutations(sent)))
    np.testing.assert_array_equal(got, x)
    assert (np.signbit(got) == np.signbit(x))[~np.isnan(x)].all()


def test_an_infinite_number_cannot_be_asked_about() -> None:
    schema = Schema((Feature("bytes"),), ("a", "b"))
    with pytest.raises(TensorError, match="'bytes': a value is infinite"):
        to_inputs(schema, np.array([[np.inf]]))
    with pytest.raises(TensorError):
        V2Client("http://localhost:1", NAME).infer(schema, np.array([[-np.inf]]))
