"""A client of the Open Inference Protocol (V2) over HTTP that trusts nobody: time, size and shapes are checked.

Redirects are not followed and proxies of the environment not used: only the address that was configured is asked.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final, Self, TypeAlias
from urllib.parse import quote, urlsplit

import msgspec
import numpy as np

from detectors.batch import Floats
from detectors.schema import Schema
from rollback.reload.reloader import ReloadRefusedError, ReloadRetryableError
from rollback.reload.v2_tensors import BAD_JSON, Tensor, TensorError, to_inputs, values

READ_BYTES: Final = 65_536
RETRYABLE: Final = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)
"""Besides all of 5xx. A conflict: the server sees another pointer, for as long as its copy of the registry is older."""
SUCCESS: Final = range(200, 300)
SERVER_ERRORS: Final = range(500, 600)


class AnswerError(Exception):
    """An endpoint answered, but not what the protocol or the question asks for; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class V2Settings:
    """How model servers are asked.

    ``load_path`` is the hook that makes a server load a version (POST; ``{model}`` is the model's name),
    ``timeout_seconds`` bounds one request as a whole, ``load_timeout_seconds`` that of the hook. ``output`` names
    the tensor of scores [N, k] in class order.
    """

    timeout_seconds: float = 10.0
    load_timeout_seconds: float = 60.0
    load_path: str = "/v2/repository/models/{model}/load"
    output: str = "scores"
    max_answer_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        if not (0 < self.timeout_seconds < 3600 and 0 < self.load_timeout_seconds < 3600):  # noqa: PLR2004 - an hour
            raise ValueError("timeout_seconds, load_timeout_seconds: must be above 0 and below 3600 seconds")
        if not re.fullmatch(r"/[!-~]*", self.load_path.replace("{model}", "")) or "#" in self.load_path:
            raise ValueError(f"load_path: must start with / and hold no spaces, got {self.load_path!r}")
        if self.max_answer_bytes < 1:
            raise ValueError(f"max_answer_bytes: must be positive, got {self.max_answer_bytes}")


@dataclass(frozen=True, slots=True)
class Address:
    """Where an endpoint is; ``prefix`` is the path before `/v2`."""

    host: str
    port: int
    prefix: str
    secure: bool

    @staticmethod
    def of(url: str) -> Address:
        """Raises `ValueError` for anything but http(s)://host[:port][/prefix]; the message shows no password.

        >>> Address.of("http://models.soc:8080/a/")
        Address(host='models.soc', port=8080, prefix='/a', secure=False)
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"an endpoint's address cannot be read: {error}") from None
        if parts.username is not None or parts.password is not None:
            raise ValueError(f"endpoint {parts.hostname}: an address holds no user or password: it would be logged")
        plain = re.fullmatch(r"[!-~]+", url) and not parts.query and not parts.fragment
        if parts.scheme not in {"http", "https"} or not parts.hostname or not plain:
            raise ValueError(f"endpoint {url!r}: must look like http://host:port or https://host/prefix")
        secure = parts.scheme == "https"
        return Address(parts.hostname, port or (443 if secure else 80), parts.path.rstrip("/"), secure)


_Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=100)]
"""What an endpoint calls a model or version ends in logs and alerts: nothing long."""


class _Metadata(msgspec.Struct, frozen=True):
    name: _Name
    versions: Annotated[tuple[_Name, ...], msgspec.Meta(max_length=1000)] = ()


class _Answer(msgspec.Struct, frozen=True):
    outputs: list[Tensor]
    model_name: _Name
    model_version: _Name | None = None


_METADATA: Final = msgspec.json.Decoder(_Metadata)
_ANSWER: Final = msgspec.json.Decoder(_Answer)


class V2Client:
    """One endpoint and one model. Every call returns or raises within its timeout; several threads may use it.

    All calls raise `ReloadRetryableError` where the endpoint is away, slow or busy, `ReloadRefusedError` where it will
    not do it, and `AnswerError` for an answer that cannot be used.
    """

    def __init__(self, url: str, model: str, settings: V2Settings | None = None) -> None:
        self.url = url
        self._address = Address.of(url)
        self._model = model
        self._settings = settings or V2Settings()
        self._path = f"/v2/models/{quote(model, safe='')}"

    def versions(self) -> tuple[str, ...]:
        """The versions that the endpoint says it serves."""
        body = self._ask("GET", self._path, None, self._settings.timeout_seconds)
        found: _Metadata = _decode(_METADATA, body)
        if found.name != self._model:
            raise AnswerError(f"it describes model {found.name!r}, asked was for {self._model!r}")
        return found.versions

    def infer(self, schema: Schema, x: Floats) -> tuple[str | None, Floats]:
        """Which version answered (None: it does not say) and scores[n,k] for x[n,d], both in the terms of ``schema``.

        Raises `rollback.reload.v2_tensors.TensorError` for rows that cannot be asked about (infinite values).
        """
        question = {"inputs": to_inputs(schema, x), "outputs": [{"name": self._settings.output}]}
        body = self._ask("POST", f"{self._path}/infer", msgspec.json.encode(question), self._settings.timeout_seconds)
        answer: _Answer = _decode(_ANSWER, body)
        if answer.model_name != self._model:
            raise AnswerError(f"model {answer.model_name!r} answered, asked was {self._model!r}")
        scores = next((t for t in answer.outputs if t.name == self._settings.output), None)
        if scores is None:
            raise AnswerError(f"its answer holds no tensor {self._settings.output!r}")
        return answer.model_version, _scores(scores, (len(x), len(schema.classes)))

    def load(self, version: str) -> None:
        """Make the endpoint load ``version``; what it answers besides the status does not count."""
        path = self._settings.load_path.replace("{model}", quote(self._model, safe=""))
        body = msgspec.json.encode({"parameters": {"version": version}})
        self._ask("POST", path, body, self._settings.load_timeout_seconds)

    def _ask(self, method: str, path: str, body: bytes | None, seconds: float) -> bytes:
        """The body of a successful answer."""
        with _Deadline(self._connection(seconds), seconds) as deadline:
            status, answer = deadline.exchange(
                method, self._address.prefix + path, body, self._settings.max_answer_bytes
            )
        if status in SUCCESS:
            return answer
        why = f"{method} {path}: status {status}{_reason(answer)}"
        if status in RETRYABLE or status in SERVER_ERRORS:
            raise ReloadRetryableError(why)
        raise ReloadRefusedError(why)

    def _connection(self, seconds: float) -> http.client.HTTPConnection:
        host, port = self._address.host, self._address.port
        if self._address.secure:
            return http.client.HTTPSConnection(host, port, timeout=seconds, context=ssl.create_default_context())
        return http.client.HTTPConnection(host, port, timeout=seconds)


class _Deadline:
    """One exchange over a connection that is cut when the time is over, however slowly the other end drips."""

    def __init__(self, connection: http.client.HTTPConnection, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._ends = time.monotonic() + seconds
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._connection.close()

    def exchange(self, method: str, path: str, body: bytes | None, limit: int) -> tuple[int, bytes]:
        """Status and body. Raises as `V2Client` says; `AnswerError` for a body beyond ``limit``."""
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Connection": "close"}
        try:
            self._connection.connect()
            self._socket = self._connection.sock  # http.client forgets it once the answer has begun
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            answer = self._read(response, limit)
        except ssl.SSLCertVerificationError as error:
            raise ReloadRefusedError(f"its certificate is not trusted: {error.verify_message}") from error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, TimeoutError) or self._over():
                raise self._late() from error
            raise ReloadRetryableError(f"{method} {path}: {_in_words(error)}") from error
        if self._over():  # what was read may have been cut
            raise self._late()
        return response.status, answer

    def _read(self, response: http.client.HTTPResponse, limit: int) -> bytes:
        answer = bytearray()
        while part := response.read(READ_BYTES):
            answer += part
            if len(answer) > limit:
                raise AnswerError(f"its answer is longer than {limit} bytes")
        return bytes(answer)

    def _late(self) -> ReloadRetryableError:
        return ReloadRetryableError(f"no whole answer within {self._seconds:g} s")

    def _over(self) -> bool:
        return time.monotonic() >= self._ends

    def _cut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it has ended by itself
                self._socket.shutdown(socket.SHUT_RDWR)


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


def _decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except BAD_JSON as error:
        raise AnswerError(f"its answer is not what the protocol says: {error}") from error


def _reason(answer: bytes) -> str:
    """What an error says of itself, if it says it as the protocol wants, in one short line."""
    try:
        said = msgspec.json.decode(answer, type=dict[str, Any]).get("error")
    except BAD_JSON:
        return ""
    return f" ({_plain(said)})" if isinstance(said, str) else ""


def _in_words(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{type(error).__name__}: {_plain(text)}"


def _plain(text: str) -> str:
    """Foreign text for a message: one short line that nothing can hide in."""
    return re.sub(r"[^ -~]+", " ", text)[:300]
