"""Tries one sink out: a test alert, now and without the spool, and what the other side answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from monitor.alerts.alert import Alert, read_incident
from monitor.alerts.open_sinks import body_limit, open_encoder
from monitor.alerts.outgoing import incident_alert
from monitor.alerts.sample import sample_incident, sample_request
from monitor.alerts.sink import Sink, SinkPermanentError, SinkRetryableError
from monitor.alerts.vetting_requests import request_alert, request_body
from monitor.settings.sink_sections import SinkConfig

log = structlog.get_logger()

NO_ANSWER: Final = {
    "file": "written, and on the disk",
    "stdout": "written",
    "syslog_tcp": "read to the end (syslog has no answers)",
    "syslog_udp": "sent (nobody says whether a datagram arrives)",
}
"""What is known after a success where the receiver says nothing."""


@dataclass(frozen=True, slots=True)
class Trial:
    """``answer`` is what the other side said, ``error`` why the alert did not arrive; each empty where there is none.

    ``alert`` is the alert's id: empty where not even an alert could be made.
    """

    sink: str
    type: str
    sent: bool
    seconds: float
    answer: str
    alert: str
    error: str


def sample_for(config: SinkConfig, at: float, version: str) -> Alert:
    """What a sink that is configured so is tried out with at ``at`` (seconds since the epoch)."""
    if config.gets == "vetting":
        request = sample_request(at)
        return request_alert(request, request_body(request, body_limit(config)))
    message = read_incident(sample_incident(at))
    return incident_alert(message, open_encoder(config, version).incident(message))


def try_out(
    name: str, config: SinkConfig, sample: Callable[[], Alert], opened: Callable[[Callable[[str], None]], Sink]
) -> Trial:
    """Send ``sample`` through the sink that ``opened`` gives, which is told where to say what it hears.

    Never raises: whatever is odd about one sink, the others are still to be tried, and this one to be told of.
    """
    heard: list[str] = []
    ident, error, began = "", "", time.monotonic()
    try:
        alert = sample()
        ident = alert.id
        receiver = opened(heard.append)
        receiver.send([alert])
        # a receiver that refuses this client's certificate says so only after it was written to
        receiver.close()
    except (SinkRetryableError, SinkPermanentError) as failure:
        error = str(failure)
    except Exception as failure:
        log.exception("a sink failed in a way that nobody thought of", sink=name)
        error = f"the sender failed: {type(failure).__name__}: {failure}"
    seconds = round(time.monotonic() - began, 3)
    answer = heard[-1] if heard else NO_ANSWER.get(config.type, "") if not error else ""
    return Trial(name, config.type, not error, seconds, answer, ident, error)
