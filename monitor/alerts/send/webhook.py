"""A POST of JSON for each alert, signed as Standard Webhooks has it (https://www.standardwebhooks.com).

`webhook-id` is the alert's id, the same each time it is sent: receivers drop repeats by it. `webhook-signature` is
``v1,`` and the HMAC-SHA256 in base64 of id, timestamp and body, with dots between.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from monitor.alerts.alert import Alert, bounded_id
from monitor.alerts.http_receiver import JSON, HttpReceiver, read_secret, receiver
from monitor.alerts.json_body import as_json
from monitor.alerts.sink import Sink, SinkPermanentError, SinkRetryableError, SinkSurroundings
from monitor.alerts.template import TemplateError, fill, read_template
from monitor.settings.sink_sections import SinkConfig

CODED_SECRET: Final = "whsec_"  # noqa: S105 - what a secret in base64 begins with, none itself
MOST_SECONDS: Final = 60.0
"""A batch that takes longer is left at that; the rest is sent again."""


class WebhookSink:
    """A `Sink`. ``secret_file`` and ``template_file`` are read for every batch, None where there is none."""

    def __init__(
        self,
        hook: HttpReceiver,
        headers: Mapping[str, str],
        secret_file: Path | None,
        template_file: Path | None,
        around: SinkSurroundings,
    ) -> None:
        self._hook = hook
        self._headers = headers
        self._secret_file = secret_file
        self._template_file = template_file
        self._around = around

    def send(self, alerts: Sequence[Alert]) -> int:
        """See `Sink`."""
        if not alerts:
            return 0
        until = self._around.monotonic() + MOST_SECONDS
        secret, written = self._secret(), self._writer()
        for i, alert in enumerate(alerts):
            if i and self._around.monotonic() > until:
                raise SinkRetryableError(f"{self._hook.where()}: too slow for {len(alerts)} alerts at once", read=i)
            body = written(alert)
            try:
                self._hook.demand("", body, self._around_it(alert, body, secret))
            except SinkRetryableError as error:
                raise SinkRetryableError(str(error), read=i, wait_seconds=error.wait_seconds) from error
            except SinkPermanentError as error:
                raise SinkPermanentError(str(error), sent=i) from error
        return 0

    def close(self) -> None:
        """See `Sink`: nothing is held."""

    def _around_it(self, alert: Alert, body: bytes, secret: bytes | None) -> dict[str, str]:
        uid, at = header_id(alert.id), str(int(self._around.wall()))
        said = {
            **self._headers,
            "Content-Type": JSON,
            "Idempotency-Key": uid,
            "webhook-id": uid,
            "webhook-timestamp": at,
        }
        return said if secret is None else {**said, "webhook-signature": signature(secret, uid, at, body)}

    def _secret(self) -> bytes | None:
        if self._secret_file is None:
            return None
        try:
            text = read_secret("secret_file", self._secret_file)
            if text.startswith(CODED_SECRET):
                return base64.b64decode(text.removeprefix(CODED_SECRET), validate=True)
        except OSError as error:
            raise SinkRetryableError(str(error)) from error
        except binascii.Error as error:
            why = f"secret_file {self._secret_file}: what follows {CODED_SECRET} is no base64"
            raise SinkRetryableError(why) from error
        return text.encode()

    def _writer(self) -> Callable[[Alert], bytes]:
        if self._template_file is None:
            return lambda alert: as_json(alert.body)
        try:
            template: Any = read_template(self._template_file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, TemplateError) as error:
            why = getattr(error, "strerror", None) or error
            raise SinkRetryableError(f"template_file {self._template_file} cannot be used: {why}") from error
        return lambda alert: fill(template, alert)


def header_id(alert_id: str) -> str:
    r"""The id as a header can hold it, and without dots.

    >>> header_id("8f14-create-437a"), header_id("a.b\r\nEvil: 1")
    ('8f14-create-437a', 'a%2Eb%0D%0AEvil%3A%201')
    """
    return quote(bounded_id(alert_id), safe="", errors="replace").replace(".", "%2E")


def signature(secret: bytes, uid: str, at: str, body: bytes) -> str:
    """What `webhook-signature` says; ``at`` is in seconds since the epoch.

    >>> signature(b"secret", "msg", "1700000000", b"{}")
    'v1,GLQ6gzEQBH6wg+EPxNrVgvpc8ZHusH2JmJfj9j0z7Ak='
    """
    signed = hmac.digest(secret, f"{uid}.{at}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(signed).decode()}"


def make(config: SinkConfig, around: SinkSurroundings) -> Sink:
    """The sink."""
    hook = receiver(config, around)
    return WebhookSink(hook, config.headers, config.secret_file, config.template_file, around)
