"""The demonstration's model server over real HTTP: the V2 protocol, reloads, and requests that are wrong."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenario import NAME, World
from tiny_registry import DRAFT, make_registry, point

from detectors.batch import Floats
from detectors.schema import UNSEEN
from monitor.cli.main import main
from monitor.demo.server.http import MAX_CONNECTIONS, JsonServer
from monitor.demo.server.protocol import Reply, Request
from monitor.demo.server.server import ModelServer
from rollback.bundle import Bundle, IntegrityError
from rollback.registry.file import FileRegistry
from rollback.registry.memory import MemoryRegistry
from rollback.registry.registry import Pointers, RegistryError
from rollback.reload.reloader import ReloadRetryableError
from rollback.reload.v2_client import V2Client
from rollback.signing.keys import Keys, new_signing_key

INFER = "/v2/models/nids/infer"
LOAD = "/v2/repository/models/nids/load"


class Browser:
    """One connection that stays open."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        content = body if isinstance(body, bytes | None) else msgspec.json.encode(body)
        self.connection.request(method, path, content, headers)
        response = self.connection.getresponse()
        assert response.headers["Content-Type"] == "application/json"
        return response.status, json.loads(response.read())


@pytest.fixture(scope="module")
def registry() -> MemoryRegistry:
    return make_registry()


@pytest.fixture
def own_registry() -> MemoryRegistry:
    """For tests that move the pointer."""
    return make_registry()


@pytest.fixture(scope="module")
def server(registry: MemoryRegistry) -> Iterator[ModelServer]:
    with ModelServer(registry, NAME) as running:
        yield running


@pytest.fixture
def browser(server: ModelServer) -> Iterator[Browser]:
    opened = Browser(server.url)
    yield opened
    opened.connection.close()


def question(rows: int = 2, **more: Any) -> dict[str, Any]:
    names = ("bytes", "packets", "duration", "ratio")
    inputs = [{"name": n, "shape": [rows], "datatype": "FP64", "data": [0.5] * rows} for n in names]
    return {"inputs": inputs, **more}


def test_it_says_who_it_is_and_that_it_lives(browser: Browser) -> None:
    assert browser.ask("GET", "/v2") == (200, {"name": "tocsin", "version": "0", "extensions": ["model_repository"]})
    assert browser.ask("GET", "/v2/health/live") == (200, {"live": True})
    assert browser.ask("GET", "/v2/health/ready") == (200, {"ready": True})
    assert browser.ask("GET", "/v2/models/nids/ready") == (200, {"name": "nids", "ready": True})
    assert browser.ask("GET", "/v2/models/nids/versions/1/ready")[0] == 200


@pytest.mark.parametrize("path", ["/v2/models/nids", "/v2/models/nids/versions/1", "/v2/models/nids/"])
def test_it_describes_its_model(browser: Browser, path: str) -> None:
    status, said = browser.ask("GET", path)
    assert status == 200
    assert (said["name"], said["versions"], said["platform"]) == ("nids", ["1"], "onnxruntime_onnx")
    assert said["inputs"][0] == {"name": "bytes", "datatype": "FP64", "shape": [-1]}
    assert said["outputs"] == [
        {"name": "scores", "datatype": "FP64", "shape": [-1, 3]},
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
    ]
    assert said["classes"] == ["benign", "exfiltration", "scan"]


def test_it_lists_its_repository(browser: Browser) -> None:
    listed = [{"name": "nids", "version": "1", "state": "READY", "reason": ""}]
    assert browser.ask("POST", "/v2/repository/index", {}) == (200, listed)
    assert browser.ask("POST", "/v2/repository/index", {"ready": True}) == (200, listed)
    assert browser.ask("POST", "/v2/repository/index") == (200, listed)


@pytest.mark.parametrize("path", [INFER, "/v2/models/nids/versions/1/infer"])
def test_an_answer_names_model_version_and_request(browser: Browser, registry: MemoryRegistry, path: str) -> None:
    status, said = browser.ask("POST", path, question(id="r-1"))
    scorer = registry.load("1").scorer()
    assert scorer is not None
    expected = scorer(np.full((2, 4), 0.5))
    assert status == 200
    assert (said["model_name"], said["model_version"], said["id"]) == ("nids", "1", "r-1")
    scores, label = said["outputs"]
    assert (scores["name"], scores["datatype"], scores["shape"]) == ("scores", "FP64", [2, 3])
    assert scores["data"] == expected.ravel().tolist()
    best = ("benign", "exfiltration", "scan")[int(expected[0].argmax())]
    assert label == {"name": "label", "datatype": "BYTES", "shape": [2], "data": [best] * 2}


def test_only_the_outputs_that_were_asked_for_come(browser: Browser) -> None:
    said = browser.ask("POST", INFER, question(outputs=[{"name": "label"}]))[1]
    assert [output["name"] for output in said["outputs"]] == ["label"]
    assert "id" not in said


def test_no_rows_give_no_scores(browser: Browser) -> None:
    said = browser.ask("POST", INFER, question(rows=0))[1]
    assert [(o["shape"], o["data"]) for o in said["outputs"]] == [([0, 3], []), ([0], [])]


@pytest.mark.parametrize(
    ("datatype", "shape", "data"),
    [("FP32", [2], [1, 2]), ("INT64", [2], [1, 2]), ("FP64", [2, 1], [[1.0], [2.0]]), ("FP64", [2, 1], [1.0, 2.0])],
)
def test_numbers_come_in_several_types_and_shapes(browser: Browser, datatype: str, shape: Any, data: Any) -> None:
    asked = question()
    asked["inputs"][1] |= {"datatype": "FP64", "shape": [2], "data": [1.0, 2.0]}
    expected = browser.ask("POST", INFER, asked)
    asked["inputs"][1] |= {"datatype": datatype, "shape": shape, "data": data}
    assert browser.ask("POST", INFER, asked) == expected


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "too few values": ({"data": [1.0]}, "1 values do not fill the shape [2]"),
    "too many rows": ({"data": [1.0] * 3, "shape": [3]}, "'packets' has 3 rows, input 'bytes' 2"),
    "text": ({"data": ["1", "2"]}, "Expected `float | null`, got `str`"),
    "another name": ({"name": "pockets"}, "is missing; the inputs are: bytes, packets, duration, ratio"),
    "a name twice": ({"name": "bytes"}, "an input is given twice"),
    "a wide shape": ({"data": [1.0] * 4, "shape": [2, 2]}, "shape is [2, 2], expected [N] or [N, 1]"),
    "no shape": ({"shape": []}, "expected [N] or [N, 1]"),
    "a negative shape": ({"shape": [-2]}, "do not fill the shape [-2]"),
    "a shape without end": ({"shape": [2**62]}, "2 values do not fill"),
    "a fractional shape": ({"shape": [2.5]}, "cannot be read"),
    "another type": ({"datatype": "BYTES", "data": ["a", "b"]}, "datatype is 'BYTES', a number is needed: FP64"),
    "an unknown type": ({"datatype": "FP16"}, "datatype is 'FP16'"),
    "fractions as integers": ({"datatype": "INT64", "data": [1.5, 2]}, "Expected `int`"),
    "integers without end": ({"datatype": "INT64", "data": [2**63, 2]}, "Expected `int` <= 9223372036854775807"),
    "missing integers": ({"datatype": "INT64", "data": [None, 2]}, "Expected `int`, got `null`"),
}


@pytest.mark.parametrize("wrong", sorted(WRONG))
def test_a_wrong_input_is_named(browser: Browser, wrong: str) -> None:
    change, said = WRONG[wrong]
    asked = question()
    asked["inputs"][1] |= change
    status, answer = browser.ask("POST", INFER, asked)
    assert status == 400
    assert said in answer["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"inputs": 1}', b'{"inputs": []}', b"[" * 100_000])
def test_a_body_that_cannot_be_read_is_refused(browser: Browser, body: bytes) -> None:
    status, answer = browser.ask("POST", INFER, body)
    assert status == 400
    assert answer["error"]


@pytest.mark.parametrize("end", [b"", b"]" * 100_000])
@pytest.mark.parametrize("name", [b"data", b"parameters", b"id"])
def test_what_is_nested_without_end_is_refused(browser: Browser, name: bytes, end: bytes) -> None:
    tensor = b'{"name":"bytes","shape":[1],"datatype":"FP64","%s":' % name + b"[" * 100_000 + end
    status, answer = browser.ask("POST", INFER, b'{"inputs":[%s}]}' % tensor)
    assert status == 400
    assert answer["error"]


def test_an_output_that_does_not_exist_is_refused(browser: Browser) -> None:
    status, answer = browser.ask("POST", INFER, question(outputs=[{"name": "logits"}]))
    assert (status, answer["error"]) == (400, "there is no output 'logits'; the outputs are: scores, label")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/metrics"),
        ("GET", "/v2/models"),
        ("GET", "/v2/models/mail"),
        ("GET", "/v2/models/mail/ready"),
        ("GET", "/v2/models/nids/versions"),
        ("GET", "/v2/models/nids/versions/2"),
        ("GET", "/v2/models/nids/versions/1/nothing"),
        ("GET", INFER),
        ("POST", "/v2/models/mail/infer"),
        ("POST", "/v2/models/nids/versions/2/infer"),
        ("POST", "/v2/models/nids"),
        ("POST", "/v2/repository/models/mail/load"),
        ("POST", "/v2/repository/models/nids/unload"),
        ("GET", LOAD),
        ("GET", "/v2/models/..%2f..%2fetc"),
    ],
)
def test_there_is_nothing_else(browser: Browser, method: str, path: str) -> None:
    status, answer = browser.ask(method, path, question() if method == "POST" else None)
    assert status == 404
    assert answer["error"]


def test_a_connection_stays_open_over_errors_too(browser: Browser) -> None:
    browser.ask("POST", INFER, question())
    used = browser.connection.sock
    browser.ask("POST", INFER, b"{")
    browser.ask("GET", "/nothing")
    browser.ask("POST", INFER, question())
    assert used is not None
    assert browser.connection.sock is used


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Length": "-1"}, 400),
        ({"Content-Length": "x"}, 400),
        ({"Content-Length": "+5"}, 400),
        ({"Content-Length": "9" * 30}, 413),
        ({"Content-Length": str(2**40)}, 413),
        ({"Transfer-Encoding": "chunked"}, 411),
    ],
)
def test_a_body_of_unknown_or_great_length_is_not_read(browser: Browser, headers: dict[str, str], status: int) -> None:
    browser.connection.putrequest("POST", INFER)
    for name, value in headers.items():
        browser.connection.putheader(name, value)
    browser.connection.endheaders()
    response = browser.connection.getresponse()
    assert response.status == status
    assert response.headers["Connection"] == "close"
    assert json.loads(response.read())["error"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "NONSENSE"])
def test_other_methods_are_refused_in_json(browser: Browser, method: str) -> None:
    status, answer = browser.ask(method, "/v2")
    assert status == 501
    assert answer["error"]


def test_an_error_of_its_own_is_told_without_details_and_ends_one_request_only() -> None:
    def respond(request: Request) -> Reply:
        if request.path == "/bad":
            raise ZeroDivisionError("a secret")
        return Reply(http.HTTPStatus.OK, b"{}")

    with JsonServer(("127.0.0.1", 0), respond) as running:
        browser = Browser(running.url)
        assert browser.ask("GET", "/bad") == (500, {"error": "the server failed; its log says why"})
        assert browser.ask("GET", "/good") == (200, {})
        browser.connection.close()


def test_who_comes_when_all_connections_are_taken_is_turned_away_until_one_is_free(registry: MemoryRegistry) -> None:
    with ModelServer(registry, NAME) as running, ExitStack() as idle:
        address = ("127.0.0.1", int(running.url.rpartition(":")[2]))
        for _ in range(MAX_CONNECTIONS):
            idle.enter_context(socket.create_connection(address, timeout=60))
        with socket.create_connection(address, timeout=60) as turned_away:
            assert turned_away.recv(1) == b""
        idle.close()
        client = V2Client(running.url, NAME)
        deadline = time.monotonic() + 60
        while True:  # the threads of the others notice that they are gone when they get to run
            try:
                assert client.versions() == ("1",)
                break
            except ReloadRetryableError:
                assert time.monotonic() < deadline


def test_an_address_in_use_is_named(server: ModelServer, registry: MemoryRegistry) -> None:
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{port}"):
        ModelServer(registry, NAME, ("127.0.0.1", port))


@settings(max_examples=60)
@given(st.data())
def test_whatever_is_asked_the_answer_is_json_and_the_server_goes_on(server: ModelServer, data: st.DataObject) -> None:
    scalar = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    json_like = st.recursive(
        scalar, lambda i: st.lists(i, max_size=3) | st.dictionaries(st.text(max_size=5), i, max_size=3)
    )
    asked = question()
    for name in data.draw(st.lists(st.sampled_from(["name", "shape", "datatype", "data", "parameters"]), max_size=3)):
        row = data.draw(st.integers(0, 3))
        asked["inputs"][row][name] = data.draw(json_like | st.sampled_from(["FP32", "INT64", "BYTES", [2], [2, 1]]))
    for name in data.draw(st.lists(st.sampled_from(["inputs", "outputs", "id", "parameters"]), max_size=1)):
        asked[name] = data.draw(json_like)
    text = json.dumps(asked).encode() if data.draw(st.booleans()) else msgspec.json.encode(asked)
    cut = data.draw(st.none() | st.integers(0, len(text)))
    browser = Browser(server.url)
    status, answer = browser.ask("POST", INFER, text[:cut])
    browser.connection.close()
    if status == 200:
        assert np.isfinite(answer["outputs"][0]["data"]).all() or answer["outputs"][0]["name"] == "label"
    else:
        assert status == 400
        assert answer["error"]


def odd_rows(bundle: Bundle, x: Floats) -> Floats:
    """Rows with missing values everywhere and categories that the vocabulary does not hold."""
    rng = np.random.default_rng(0)
    odd = np.where(rng.random(x.shape) < 0.1, np.nan, x)
    for j, feature in enumerate(bundle.schema.features):
        if feature.kind == "categorical":
            odd[rng.random(len(x)) < 0.1, j] = UNSEEN
    return odd


@pytest.mark.parametrize("version", ["1", "2"])
def test_scores_are_exactly_those_of_the_bundle(world: World, version: str) -> None:
    registry = make_registry_of(world, version)
    bundle = world.registry.load(version)
    reference, scorer = bundle.reference(), bundle.scorer()
    assert reference is not None
    assert scorer is not None
    x = odd_rows(bundle, reference.x[:1000])
    with ModelServer(registry, NAME) as running:
        answered, scores = V2Client(running.url, NAME).infer(bundle.schema, x)
    assert answered == version
    np.testing.assert_array_equal(scores, scorer(x))


class PointedRegistry(FileRegistry):
    """The world's registry as if its pointer named another version: the world is shared, and nobody moves it."""

    serving: str = "1"

    def pointers(self) -> Pointers:
        return replace(super().pointers(), serving=self.serving)


def make_registry_of(world: World, version: str) -> FileRegistry:
    root = world.root / "registry"
    made = PointedRegistry(root, NAME, Keys.trial(root, make=True), lambda: 0.0)
    made.serving = version
    return made


def test_another_order_of_inputs_and_empty_text_mean_the_same(world: World) -> None:
    bundle = world.registry.load("1")
    with ModelServer(make_registry_of(world, "1"), NAME) as running:
        browser = Browser(running.url)
        inputs = [
            {"name": f.name, "shape": [1], "datatype": "BYTES" if f.kind == "categorical" else "FP64", "data": [None]}
            for f in bundle.schema.features
        ]
        expected = browser.ask("POST", INFER, {"inputs": inputs})
        assert expected[0] == 200
        empty = [{**i, "data": [""]} if i["datatype"] == "BYTES" else i for i in inputs[::-1]]
        assert browser.ask("POST", INFER, {"inputs": empty}) == expected
        text = next(i for i in inputs if i["datatype"] == "BYTES")
        status, said = browser.ask(
            "POST", INFER, {"inputs": [i | {"datatype": "FP64"} if i is text else i for i in inputs]}
        )
        assert (status, said["error"].endswith("a category is BYTES")) == (400, True)
        browser.connection.close()


def test_it_loads_what_the_pointer_names_when_it_is_told(own_registry: MemoryRegistry) -> None:
    with ModelServer(own_registry, NAME) as running:
        browser = Browser(running.url)
        before = browser.ask("POST", INFER, question())[1]
        point(own_registry, "2")
        assert browser.ask("POST", INFER, question())[1] == before
        assert browser.ask("POST", LOAD, {"parameters": {"version": "2"}}) == (200, {"name": "nids", "version": "2"})
        after = browser.ask("POST", INFER, question())[1]
        assert after["model_version"] == "2"
        assert after["outputs"][0]["data"] != before["outputs"][0]["data"]
        assert browser.ask("GET", "/v2/models/nids")[1]["versions"] == ["2"]
        point(own_registry, "1")
        assert browser.ask("POST", LOAD) == (200, {"name": "nids", "version": "1"})
        assert browser.ask("POST", INFER, question())[1] == before
        browser.connection.close()


def test_a_version_that_the_pointer_does_not_name_is_not_loaded(own_registry: MemoryRegistry) -> None:
    with ModelServer(own_registry, NAME) as running:
        browser = Browser(running.url)
        status, said = browser.ask("POST", LOAD, {"parameters": {"version": "2"}})
        assert (status, said["error"]) == (409, "the registry's serving pointer names version '1', not '2'")
        assert browser.ask("POST", LOAD, {"parameters": {"version": 2}})[0] == 400
        assert running.version == "1"
        browser.connection.close()


def test_a_bundle_that_fails_verification_is_not_loaded_and_the_old_one_goes_on(tmp_path: Path) -> None:
    registry = file_registry(tmp_path)
    with ModelServer(registry, NAME) as running:
        browser = Browser(running.url)
        before = browser.ask("POST", INFER, question())
        registry.promote("2", expected="1", known_good=False, by="test", reason="test")
        model = tmp_path / NAME / "2" / "model.onnx"
        content = bytearray(model.read_bytes())
        content[-20] ^= 1
        model.write_bytes(bytes(content))
        status, said = browser.ask("POST", LOAD, {"parameters": {"version": "2"}})
        assert status == 500
        assert "model.onnx: changed since it was signed" in said["error"]
        assert browser.ask("POST", INFER, question()) == before
        assert browser.ask("GET", "/v2/health/ready")[0] == 200
        browser.connection.close()
    with pytest.raises(IntegrityError, match="changed since it was signed"):
        ModelServer(registry, NAME)


def test_a_bundle_that_nobody_trusted_has_signed_is_not_loaded(tmp_path: Path) -> None:
    file_registry(tmp_path)
    stranger = FileRegistry(tmp_path, NAME, Keys.of(new_signing_key()), lambda: 0.0)
    with pytest.raises(IntegrityError, match="no valid signature by a trusted key"):
        ModelServer(stranger, NAME)


def test_without_a_version_there_is_nothing_to_serve() -> None:
    empty = MemoryRegistry(NAME, Keys.of(new_signing_key()), lambda: 0.0)
    with pytest.raises(RegistryError, match="no version of 'nids' serves"):
        ModelServer(empty, NAME)


def file_registry(root: Path) -> FileRegistry:
    """The versions of `tiny_registry`, in a folder with trial keys."""
    source = make_registry()
    registry = FileRegistry(root, NAME, Keys.trial(root, make=True), lambda: 0.0)
    for version in ("1", "2"):
        bundle = source.load(version)
        files = {name: bundle.files[name] for name in bundle.manifest.files}
        registry.add(DRAFT, files, by="test", reason="test")
    return registry


def test_every_answer_during_reloads_is_whole_and_of_one_version(own_registry: MemoryRegistry) -> None:
    expected = {}
    for version in ("1", "2"):
        scorer = own_registry.load(version).scorer()
        assert scorer is not None
        expected[version] = scorer(np.full((2, 4), 0.5)).ravel().tolist()
    wrong: list[Any] = []
    seen: set[str] = set()
    over = threading.Event()

    def keep_asking(url: str) -> None:
        browser = Browser(url)
        while not over.is_set():
            status, said = browser.ask("POST", INFER, question())
            if status != 200 or said["outputs"][0]["data"] != expected[said["model_version"]]:
                wrong.append(said)
            seen.add(said["model_version"])
        browser.connection.close()

    with ModelServer(own_registry, NAME) as running:
        threads = [threading.Thread(target=keep_asking, args=(running.url,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        client = V2Client(running.url, NAME)
        for turn in range(20):
            version = "12"[turn % 2]
            point(own_registry, version)
            client.load(version)
            assert client.versions() == (version,)
        over.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert seen == {"1", "2"}


def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    file_registry(tmp_path)
    command = [sys.executable, "-m", "monitor", "serve", "--registry", str(tmp_path), "--name", NAME]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert (ready["model"], ready["version"]) == (NAME, "1")
        browser = Browser(ready["url"])
        assert browser.ask("POST", INFER, question())[0] == 200
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=60)
        browser.connection.close()
    assert (process.returncode, out, error) == (0, "", "")


@pytest.mark.parametrize(
    ("listen", "code", "said"), [("nowhere", 2, "must be host:port"), ("127.0.0.1:0", 1, "no version of 'nids' serves")]
)
def test_the_command_says_why_it_cannot_serve(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], listen: str, code: int, said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--registry", str(tmp_path), "--name", NAME, "--listen", listen])
    assert ended.value.code == code
    assert said in capsys.readouterr().err
