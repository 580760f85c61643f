"""HTTP exchanges with servers that nobody trusts: time, size and every address are bounded.

Redirects are not followed and proxies of the environment not used: only the address that was configured is asked.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from rollback.reload.reloader import ReloadRefusedError, ReloadRetryableError
from rollback.reload.v2_tensors import BAD_JSON
from rollback.timed_http import AnswerTooLongError, TimedConnection

JSON: Final = "application/json"
MAX_ANSWER_BYTES: Final = 1 << 20
Said = TypeVar("Said")
RETRYABLE: Final = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)
"""Besides all of 5xx. A conflict: the server sees another pointer, for as long as its copy of the registry is older."""
SUCCESS: Final = range(200, 300)
SERVER_ERRORS: Final = range(500, 600)


class AnswerError(Exception):
    """An endpoint answered, but not what the protocol or the question asks for; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is; ``prefix`` is the path before everything that is asked for."""

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


def split_url(url: str) -> tuple[str, str]:
    """Base address and path (with its query) of a URL; raises `ValueError` as `Address.of` does.

    >>> split_url("http://models.soc:8080/hooks/reload?now=1")
    ('http://models.soc:8080', '/hooks/reload?now=1')
    """
    scheme, mark, rest = url.partition("://")
    host, _, path = rest.partition("/")
    base = f"{scheme}{mark}{host}"
    Address.of(base)
    if not re.fullmatch(r"[!-~]*", path) or "#" in path:
        raise ValueError(f"endpoint {base}: the path must hold no spaces, and no #")
    return base, f"/{path}"


class Reply(NamedTuple):
    """What a server answered."""

    status: int
    body: bytes

    @property
    def good(self) -> bool:
        """Whether the status says success."""
        return self.status in SUCCESS


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an API is asked with: files, read at every request, so that a renewed one needs no restart.

    ``ca_file`` holds the certificates to believe (PEM; None: the system's), ``token_file`` a bearer token.
    """

    ca_file: Path | None = None
    token_file: Path | None = None

    def headers(self) -> dict[str, str]:
        """Who asks. Raises `ReloadRefusedError` where the file cannot be read."""
        if self.token_file is None:
            return {}
        try:
            token = self.token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ReloadRefusedError(f"token_file {self.token_file} cannot be read: {_in_words(error)}") from error
        if not re.fullmatch(r"[!-~]+", token):
            raise ReloadRefusedError(f"token_file {self.token_file} holds no token")
        return {"Authorization": f"Bearer {token}"}

    def context(self) -> ssl.SSLContext:
        """How TLS is spoken. Raises `ReloadRefusedError` where the file cannot be used."""
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise ReloadRefusedError(f"ca_file {self.ca_file} cannot be used: {_in_words(error)}") from error


class Server:
    """One HTTP server. Every call returns or raises within its time; several threads may use it.

    Raises `ReloadRetryableError` where it is away, slow or busy, `ReloadRefusedError` where it will not do what was
    asked, and `AnswerError` for an answer of more than ``max_answer_bytes``.
    """

    def __init__(
        self, url: str, credentials: Credentials | None = None, max_answer_bytes: int = MAX_ANSWER_BYTES
    ) -> None:
        self.url = url
        self._address = Address.of(url)
        self._credentials = credentials or Credentials()
        self._limit = max_answer_bytes

    def demand(self, method: str, path: str, body: Any, seconds: float, kind: str = JSON) -> bytes:
        """The body of a successful answer to ``body``, which is sent as JSON (None: nothing is sent)."""
        reply = self.ask(method, path, body, seconds, kind)
        if not reply.good:
            raise refusal(method, path, reply)
        return reply.body

    def ask(self, method: str, path: str, body: Any, seconds: float, kind: str = JSON) -> Reply:
        """Whatever it answers; ``kind`` is the media type of ``body``."""
        headers = {"Content-Type": kind, "Accept": JSON, "Connection": "close", **self._credentials.headers()}
        sent = None if body is None else msgspec.json.encode(body)
        with _failures(f"{method} {self._address.prefix}{path}"), self._connection(seconds) as timed:
            answer = timed.exchange(method, self._address.prefix + path, sent, headers, self._limit)
        return Reply(answer.status, answer.body)

    def reach(self, seconds: float) -> None:
        """Connect, and send nothing. Raises as every call does."""
        with _failures("it takes no connection"), self._connection(seconds) as timed:
            timed.connect()

    def _connection(self, seconds: float) -> TimedConnection:
        context = self._credentials.context() if self._address.secure else None
        return TimedConnection(self._address.host, self._address.port, seconds, context)


def refusal(method: str, path: str, reply: Reply) -> ReloadRetryableError | ReloadRefusedError:
    """What an answer without success means: whether the same may be tried again."""
    why = f"{method} {path.partition('?')[0]}: status {reply.status}{_reason(reply.body)}"
    passing = reply.status in RETRYABLE or reply.status in SERVER_ERRORS
    return ReloadRetryableError(why) if passing else ReloadRefusedError(why)


def decode(decoder: msgspec.json.Decoder[Said], body: bytes) -> Said:
    """An answer's JSON; raises `AnswerError`."""
    try:
        return decoder.decode(body)
    except BAD_JSON as error:
        raise AnswerError(f"its answer is not what the protocol says: {error}") from error


@contextlib.contextmanager
def _failures(what: str) -> Iterator[None]:
    """Those of a connection, as `Server` raises them."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise ReloadRefusedError(f"its certificate is not trusted: {error.verify_message}") from error
    except TimeoutError as error:
        raise ReloadRetryableError(str(error)) from error
    except (OSError, http.client.HTTPException) as error:
        raise ReloadRetryableError(f"{what}: {_in_words(error)}") from error
    except AnswerTooLongError as error:
        raise AnswerError(str(error)) from error


def _reason(answer: bytes) -> str:
    """What an error says of itself (V2: `error`; Kubernetes, MLflow: `message`), in one short line."""
    try:
        found = msgspec.json.decode(answer, type=dict[str, Any])
    except BAD_JSON:
        return ""
    said = found.get("error") or found.get("message")
    return f" ({plain(said)})" if isinstance(said, str) else ""


def _in_words(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{type(error).__name__}: {plain(text)}"


def plain(text: str) -> str:
    """Foreign text for a message: one short line that nothing can hide in."""
    return re.sub(r"[^ -~]+", " ", text)[:300]
