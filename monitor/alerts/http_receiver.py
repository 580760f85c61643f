"""A receiver that speaks HTTP: one bounded exchange at a time, with secrets from files, and what its answer means.

Only the address that was configured is spoken to: redirects are not followed, proxies of the environment not used.
Files (certificates, tokens) are read at every exchange: a renewed one needs no restart. Nothing that is a secret gets
into a message: of a URL only host and port are named, and what the receiver echoes is blacked out.
"""

from __future__ import annotations

import base64
import http.client
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final, NoReturn

from monitor.alerts.sink import SinkPermanentError, SinkRetryableError, SinkSurroundings
from monitor.alerts.tls import in_words, tls_context
from monitor.settings.sink_sections import SinkConfig
from rollback.reload.exchange import Address, plain, split_url
from rollback.timed_http import Answer, AnswerTooLongError, TimedConnection

JSON: Final = "application/json"
MOST_ANSWER_BYTES: Final = 1_048_576
SUCCESS: Final = range(200, 300)
REDIRECTS: Final = range(300, 400)
TAKES_NEVER: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""What is wrong with these alerts, not with the receiver, or with how it is spoken to."""
ADVICE: Final[Mapping[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "it does not accept who we say we are: check the secret, and the file that holds it",
    HTTPStatus.FORBIDDEN: "it does not let us: check the secret, and what it is allowed to do",
    HTTPStatus.NOT_FOUND: "there is nothing at that address: check url",
    HTTPStatus.METHOD_NOT_ALLOWED: "that address takes no messages: check url",
}
SHORTEST_SECRET: Final = 4
"""What is shorter is no secret, and would black out half of a message."""
SHORTEST_PART: Final = 8
"""The same for a part of a URL's path."""


@dataclass(frozen=True, slots=True)
class HttpReceiver:
    """What is at ``url()``. ``headers`` says who sends, ``wall`` is a clock in seconds since the epoch.

    Both may raise `OSError` that names the file that cannot be read.
    """

    config: SinkConfig
    url: Callable[[], str]
    headers: Callable[[], Mapping[str, str]]
    wall: Callable[[], float]
    heard: Callable[[str], None] = lambda _: None

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """What it answers, whatever that is, within `timeout_seconds`; `SinkRetryableError` where it does not."""
        seconds = self.config.timeout_seconds
        where = "the receiver"
        try:
            base, own_path = split_url(self.url())
            address = Address.of(base)
            where = f"{address.host}:{address.port}"
            secret = self.headers()
            context = tls_context(self.config) if address.secure else None
            with TimedConnection(address.host, address.port, seconds, context) as timed:
                sent = {"Connection": "close", "User-Agent": "tocsin", **headers, **secret}
                target = own_path.rstrip("/") + path if path else own_path
                answer = timed.exchange("POST", target, body, sent, MOST_ANSWER_BYTES)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise SinkRetryableError(f"{where}: {in_words(error, seconds, 'url')}") from error
        except (AnswerTooLongError, ValueError) as error:
            raise SinkRetryableError(f"{where}: {error}") from error
        self.heard(self.why(answer))
        return answer

    def demand(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """An answer that says success; else as `refuse` says."""
        answer = self.post(path, body, headers)
        if answer.status not in SUCCESS:
            self.refuse(answer)
        return answer

    def refuse(self, answer: Answer, *, never: bool | None = None) -> NoReturn:
        """Raise what an answer means: `SinkPermanentError` where the status says so, or ``never`` does."""
        why = self.why(answer)
        if answer.status in TAKES_NEVER if never is None else never:
            raise SinkPermanentError(why)
        raise SinkRetryableError(why, wait_seconds=self.patience(answer))

    def why(self, answer: Answer) -> str:
        """Who answers what, without any secret, and what to do about it."""
        said = answer.body.decode(errors="replace")
        for secret in self._secrets():
            said = said.replace(secret, "***")
        text = f"{self.where()}: status {answer.status}" + (f" ({plain(said)})" if said.strip() else "")
        if answer.status in REDIRECTS:
            return f"{text}; redirects are not followed: configure the address that is meant"
        return f"{text}; {ADVICE[answer.status]}" if answer.status in ADVICE else text

    def where(self) -> str:
        """Host and port."""
        try:
            address = Address.of(split_url(self.url())[0])
        except (OSError, ValueError):
            return "the receiver"
        return f"{address.host}:{address.port}"

    def patience(self, answer: Answer) -> float:
        """How many seconds it asks for (RFC 9110 10.2.3); 0 where it does not say."""
        said = answer.headers.get("retry-after", "").strip()
        if re.fullmatch(r"\d{1,9}", said):
            return float(said)
        try:
            until = parsedate_to_datetime(said)
            until = until if until.tzinfo else until.replace(tzinfo=UTC)
            return max(0.0, (until - datetime.fromtimestamp(self.wall(), UTC)).total_seconds())
        except (ValueError, OverflowError):
            return 0.0

    def _secrets(self) -> list[str]:
        try:
            values = [value.rpartition(" ")[2] for value in self.headers().values()]
            path = split_url(self.url())[1] if self.config.url_file is not None else ""
        except (OSError, ValueError):
            return []
        parts = [part for part in re.split(r"[/?&=]", path) if len(part) >= SHORTEST_PART]
        return [secret for secret in (*values, path, *parts) if len(secret) >= SHORTEST_SECRET]


def receiver(config: SinkConfig, around: SinkSurroundings, scheme: str = "Bearer") -> HttpReceiver:
    """The one that is configured; ``scheme`` is what stands before a token."""

    def url() -> str:
        return config.url or read_url(config.url_file)

    def headers() -> dict[str, str]:
        if config.token_file is not None:
            return {"Authorization": f"{scheme} {read_secret('token_file', config.token_file)}"}
        if config.api_key_file is not None:
            return {"Authorization": f"ApiKey {read_secret('api_key_file', config.api_key_file)}"}
        if config.password_file is not None:
            login = f"{config.username}:{read_secret('password_file', config.password_file, spaces=True)}"
            return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
        return {}

    return HttpReceiver(config, url, headers, around.wall, around.heard)


def read_secret(field: str, path: Path | None, *, spaces: bool = False) -> str:
    """One line of printable ASCII (with ``spaces``, any text); `OSError` that says what is wrong with the file."""
    try:
        text = (path or Path()).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise OSError(f"{field} {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not (text if spaces else re.fullmatch(r"[!-~]+", text)):
        raise OSError(f"{field} {path} must hold one line of printable characters without spaces")
    return text


def read_url(path: Path | None) -> str:
    """The URL that a file holds; `OSError` that does not show it: it may be a secret."""
    text = read_secret("url_file", path)
    try:
        split_url(text)
    except ValueError:
        raise OSError(f"url_file {path} must hold http(s)://host[:port]/path") from None
    return text
