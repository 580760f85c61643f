"""A client of the Open Inference Protocol (V2) over HTTP that trusts nobody: time, size and shapes are checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Final, TypeAlias
from urllib.parse import quote

import msgspec
import numpy as np

from detectors.batch import Floats
from detectors.schema import Schema
from rollback.reload.exchange import AnswerError, Server, decode, plain, refusal
from rollback.reload.template import fill
from rollback.reload.v2_tensors import Tensor, TensorError, to_inputs, values

VERSION_PARAMETER: Final = {"version": "{version}"}


@dataclass(frozen=True, slots=True)
class V2Settings:
    """How model servers are asked.

    ``load_path`` is the hook that makes a server load a version (POST; ``{model}`` is the model's name),
    ``timeout_seconds`` bounds one request as a whole, ``load_timeout_seconds`` that of the hook. ``output`` names
    the tensor of scores [N, k] in class order. ``load_parameters`` go with the hook; `{version}` and `{model}` in
    their values stand for what they say. ``unload_first``: the model is unloaded before it is loaded, for servers that
    would go on with what they have; nothing serves in between.
    """

    timeout_seconds: float = 10.0
    load_timeout_seconds: float = 60.0
    load_path: str = "/v2/repository/models/{model}/load"
    output: str = "scores"
    max_answer_bytes: int = 1 << 20
    load_parameters: Mapping[str, str] = field(default_factory=lambda: VERSION_PARAMETER)
    unload_first: bool = False

    def __post_init__(self) -> None:
        if not (0 < self.timeout_seconds < 3600 and 0 < self.load_timeout_seconds < 3600):  # noqa: PLR2004 - an hour
            raise ValueError("timeout_seconds, load_timeout_seconds: must be above 0 and below 3600 seconds")
        if not re.fullmatch(r"/[!-~]*", self.load_path.replace("{model}", "")) or "#" in self.load_path:
            raise ValueError(f"load_path: must start with / and hold no spaces, got {self.load_path!r}")
        if self.max_answer_bytes < 1:
            raise ValueError(f"max_answer_bytes: must be positive, got {self.max_answer_bytes}")


_Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=100)]
"""What an endpoint calls a model or version ends in logs and alerts: nothing long."""


class _Metadata(msgspec.Struct, frozen=True):
    name: _Name
    versions: Annotated[tuple[_Name, ...], msgspec.Meta(max_length=1000)] | None = None


class _Listed(msgspec.Struct, frozen=True):
    name: _Name
    version: _Name | None = None
    state: _Name | None = None
    reason: Annotated[str, msgspec.Meta(max_length=10_000)] | None = None


class _Answer(msgspec.Struct, frozen=True):
    outputs: list[Tensor]
    model_name: _Name
    model_version: _Name | None = None


_METADATA: Final = msgspec.json.Decoder(_Metadata)
_ANSWER: Final = msgspec.json.Decoder(_Answer)
_INDEX: Final = msgspec.json.Decoder(Annotated[list[_Listed], msgspec.Meta(max_length=100_000)])


@dataclass(frozen=True, slots=True)
class Listed:
    """What a server's index says of a version of the model: ``state`` is READY, UNAVAILABLE, ... or what it likes."""

    version: str | None
    state: str
    reason: str


class V2Client:
    """One endpoint and one model. Every call returns or raises within its timeout; several threads may use it.

    All calls raise `ReloadRetryableError` where the endpoint is away, slow or busy, `ReloadRefusedError` where it will
    not do it, and `AnswerError` for an answer that cannot be used.
    """

    def __init__(self, url: str, model: str, settings: V2Settings | None = None) -> None:
        self.url = url
        self._settings = settings or V2Settings()
        self._server = Server(url, max_answer_bytes=self._settings.max_answer_bytes)
        self._model = model
        self._path = f"/v2/models/{quote(model, safe='')}"

    def versions(self) -> tuple[str, ...]:
        """The versions that the endpoint says it serves."""
        found = decode(_METADATA, self._server.demand("GET", self._path, None, self._settings.timeout_seconds))
        if found.name != self._model:
            raise AnswerError(f"it describes model {found.name!r}, asked was for {self._model!r}")
        return found.versions or ()

    def infer(self, schema: Schema, x: Floats) -> tuple[str | None, Floats]:
        """Which version answered (None: it does not say) and scores[n,k] for x[n,d], both in the terms of ``schema``.

        Raises `rollback.reload.v2_tensors.TensorError` for rows that cannot be asked about (infinite values).
        """
        question = {"inputs": to_inputs(schema, x), "outputs": [{"name": self._settings.output}]}
        seconds = self._settings.timeout_seconds
        answer = decode(_ANSWER, self._server.demand("POST", f"{self._path}/infer", question, seconds))
        if answer.model_name != self._model:
            raise AnswerError(f"model {answer.model_name!r} answered, asked was {self._model!r}")
        scores = next((t for t in answer.outputs if t.name == self._settings.output), None)
        if scores is None:
            raise AnswerError(f"its answer holds no tensor {self._settings.output!r}")
        return answer.model_version, _scores(scores, (len(x), len(schema.classes)))

    def index(self) -> tuple[Listed, ...]:
        """What the repository extension lists of the model, loaded or not; not every server has the extension."""
        body = self._server.demand("POST", "/v2/repository/index", {}, self._settings.timeout_seconds)
        found = [each for each in decode(_INDEX, body) if each.name == self._model]
        return tuple(Listed(each.version or None, each.state or "", plain(each.reason or "")) for each in found)

    def load(self, version: str) -> None:
        """Make the endpoint load ``version``; what it answers besides the status does not count."""
        chosen = self._settings
        if chosen.unload_first:
            self._unload()
        names = {"{version}": version, "{model}": self._model}
        parameters = {key: fill(value, names) for key, value in chosen.load_parameters.items()}
        body = {"parameters": parameters} if parameters else {}
        path = chosen.load_path.replace("{model}", quote(self._model, safe=""))
        self._server.demand("POST", path, body, chosen.load_timeout_seconds)

    def _unload(self) -> None:
        path = f"/v2/repository/models/{quote(self._model, safe='')}/unload"
        reply = self._server.ask("POST", path, {}, self._settings.timeout_seconds)
        if not reply.good and reply.status != HTTPStatus.NOT_FOUND:  # what is not loaded need not be unloaded
            raise refusal("POST", path, reply)


def _scores(tensor: Tensor, shape: tuple[int, int]) -> Floats:
    if tensor.shape != shape or tensor.datatype not in {"FP64", "FP32"}:
        found = f"{list(tensor.shape)[:8]} of {tensor.datatype[:20]!r}"
        raise AnswerError(f"its scores are {found}, expected are {list(shape)} of FP64 or FP32")
    try:
        scores = np.array(values(tensor), dtype=np.float64).reshape(shape)
    except TensorError as error:
        raise AnswerError(f"its scores cannot be read: {error}") from error
    if not np.isfinite(scores).all():
        raise AnswerError("one of its scores is no number")
    return scores
