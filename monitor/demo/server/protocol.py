"""The Open Inference Protocol (V2) and its repository extension as a function: a request in, a status and JSON out."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import msgspec
import numpy as np

from detectors.batch import Floats
from detectors.schema import Schema
from monitor.demo.server.store import ModelStore, PointerMovedError, Serving
from rollback.bundle import IntegrityError
from rollback.registry.registry import RegistryError
from rollback.reload.v2_tensors import BAD_JSON, Tensor, TensorError, from_inputs, raw
from rollback.scorer import ScorerError

PLATFORM: Final = "onnxruntime_onnx"
EXTENSIONS: Final = ("model_repository",)


class Request(NamedTuple):
    """One HTTP request."""

    method: str
    path: str
    body: bytes


class Reply(NamedTuple):
    """Status and JSON."""

    status: HTTPStatus
    body: bytes


class RefusedError(Exception):
    """A request cannot be answered; ``status`` says whose fault it is."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Output(msgspec.Struct, frozen=True):
    name: str


class _Question(msgspec.Struct, frozen=True):
    inputs: list[Tensor]
    id: str | None = None
    outputs: list[_Output] = []


class _LoadParameters(msgspec.Struct, frozen=True):
    version: str | None = None


class _LoadRequest(msgspec.Struct, frozen=True):
    parameters: _LoadParameters = _LoadParameters()


class _IndexRequest(msgspec.Struct, frozen=True):
    ready: bool = False


def problem(status: HTTPStatus, message: str) -> Reply:
    """An error as the protocol writes it."""
    return Reply(status, msgspec.json.encode({"error": message}))


class Protocol:
    """Answers for one model; ``release`` is the server's own version. Several threads may call `respond`."""

    def __init__(self, store: ModelStore, release: str) -> None:
        self._store = store
        self._release = release

    def respond(self, request: Request) -> Reply:
        """The reply to any request: what is wrong with it, or with the registry, is a reply too."""
        try:
            return Reply(HTTPStatus.OK, msgspec.json.encode(self._answer(request)))
        except RefusedError as error:
            return problem(error.status, str(error))
        except PointerMovedError as error:
            return problem(HTTPStatus.CONFLICT, str(error))
        except TensorError as error:
            return problem(HTTPStatus.BAD_REQUEST, str(error))
        except (RegistryError, IntegrityError, ScorerError, OSError) as error:
            return problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))

    def _answer(self, request: Request) -> Any:
        path = tuple(unquote(part) for part in request.path.partition("?")[0].strip("/").split("/"))
        match (request.method, *path):
            case ("GET", "v2"):
                return {"name": "tocsin", "version": self._release, "extensions": EXTENSIONS}
            case ("GET", "v2", "health", "live"):
                return {"live": True}
            case ("GET", "v2", "health", "ready"):
                return {"ready": True}
            case (method, "v2", "models", name, "versions", version, *rest):
                return self._of_model(method, name, version, rest, request.body)
            case (method, "v2", "models", name, *rest):
                return self._of_model(method, name, None, rest, request.body)
            case ("POST", "v2", "repository", *rest):
                return self._of_repository(request, rest)
        raise _not_here(request)

    def _of_repository(self, request: Request, rest: list[str]) -> Any:
        match rest:
            case ["index"]:
                return self._index(request.body)
            case ["models", name, "load"]:
                return self._load(name, request.body)
        raise _not_here(request)

    def _of_model(self, method: str, name: str, version: str | None, rest: list[str], body: bytes) -> Any:
        serving = self._store.current
        self._require(name)
        if version not in {None, serving.version}:
            raise RefusedError(
                HTTPStatus.NOT_FOUND, f"version {version!r} of {name!r} is not loaded, version {serving.version!r} is"
            )
        match (method, *rest):
            case ("GET",):
                return _metadata(name, serving)
            case ("GET", "ready"):
                return {"name": name, "ready": True}
            case ("POST", "infer"):
                return _infer(name, serving, _decode(_QUESTION, body))
        raise _not_here(Request(method, "/".join(["/v2/models", name, *rest]), body))

    def _index(self, body: bytes) -> Any:
        if body:
            _decode(_INDEX, body)  # the one model is ready, so it is listed either way
        current = self._store.current
        return [{"name": self._store.name, "version": current.version, "state": "READY", "reason": ""}]

    def _load(self, name: str, body: bytes) -> Any:
        self._require(name)
        wanted = _decode(_LOAD, body).parameters.version if body else None
        loaded = self._store.load(wanted)
        return {"name": name, "version": loaded.version}

    def _require(self, name: str) -> None:
        if name != self._store.name:
            raise RefusedError(HTTPStatus.NOT_FOUND, f"there is no model {name[:100]!r}, only {self._store.name!r}")


_QUESTION: Final = msgspec.json.Decoder(_Question)
_LOAD: Final = msgspec.json.Decoder(_LoadRequest)
_INDEX: Final = msgspec.json.Decoder(_IndexRequest)


def _decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except BAD_JSON as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"the body cannot be read: {error}") from error


def _not_here(request: Request) -> RefusedError:
    return RefusedError(HTTPStatus.NOT_FOUND, f"{request.method} {request.path[:200]}: there is nothing here")


def _metadata(name: str, serving: Serving) -> Mapping[str, Any]:
    schema = serving.schema
    inputs = [
        {"name": f.name, "datatype": "BYTES" if f.kind == "categorical" else "FP64", "shape": [-1]}
        for f in schema.features
    ]
    outputs = [
        {"name": "scores", "datatype": "FP64", "shape": [-1, len(schema.classes)]},
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
    ]
    return {
        "name": name,
        "versions": [serving.version],
        "platform": PLATFORM,
        "inputs": inputs,
        "outputs": outputs,
        "classes": schema.classes,
    }


def _infer(name: str, serving: Serving, question: _Question) -> Mapping[str, Any]:
    scores = serving.scorer(from_inputs(serving.schema, question.inputs))
    if not np.isfinite(scores).all():
        raise RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, "the model answers with a score that is no number")
    outputs = {tensor.name: tensor for tensor in _outputs(serving.schema, scores)}
    wanted = [output.name for output in question.outputs] or list(outputs)
    if strange := [output for output in wanted if output not in outputs]:
        raise RefusedError(
            HTTPStatus.BAD_REQUEST, f"there is no output {strange[0][:100]!r}; the outputs are: {', '.join(outputs)}"
        )
    answer = {"model_name": name, "model_version": serving.version, "outputs": [outputs[each] for each in wanted]}
    return answer if question.id is None else {**answer, "id": question.id}


def _outputs(schema: Schema, scores: Floats) -> list[Tensor]:
    """Scores in class order, and the class with the highest."""
    best = [schema.classes[i] for i in scores.argmax(axis=1).tolist()]
    return [
        Tensor("scores", scores.shape, "FP64", raw(scores.ravel().tolist())),
        Tensor("label", (len(best),), "BYTES", raw(best)),
    ]
