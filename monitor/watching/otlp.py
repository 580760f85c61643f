"""The stages of the loop as spans, sent to a collector over OTLP (protobuf over HTTP); an extra.

Batches are sent by a thread of OpenTelemetry's, which gives up what a collector does not take: the loop never waits.
https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from __future__ import annotations

import logging
import threading
from contextlib import AbstractContextManager
from typing import Final, cast

from monitor.settings.problems import ConfigError, Problem
from monitor.watching.stages import About

TIMEOUT_SECONDS: Final = 5.0
"""How long a collector may take for a batch, and how long the end of the process waits for the last one."""
SERVICE: Final = "tocsin"


class OtlpStages:
    """`monitor.watching.stages.Stages` as spans, of so large a ``share`` of the turns; ``version`` is Tocsin's.

    Raises `ConfigError` where the extra is not installed.
    """

    def __init__(self, endpoint: str, share: float, version: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - likewise
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - likewise
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - likewise
            from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415 - likewise
        except ImportError as error:
            why = f'needs more packages: pip install "tocsin[tracing]" ({error})'
            raise ConfigError(None, [Problem("tracing.endpoint", why)]) from error
        # it would say each second that a collector is away; what is given up is said all the same
        logging.getLogger("opentelemetry").setLevel(logging.ERROR)
        about = Resource.create({"service.name": SERVICE, "service.version": version})
        self._provider = TracerProvider(ParentBasedTraceIdRatio(share), resource=about, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=TIMEOUT_SECONDS)))
        self._tracer = self._provider.get_tracer(SERVICE, version)

    def stage(self, name: str, **about: About) -> AbstractContextManager[object]:
        """See `Stages`. What an error says is not sent: it may hold what events do."""
        span = self._tracer.start_as_current_span(
            name, attributes=about, record_exception=False, set_status_on_exception=False
        )
        return cast("AbstractContextManager[object]", span)

    def close(self) -> None:
        """Send what is left; a collector that hangs is not waited for."""
        last = threading.Thread(target=self._provider.shutdown, name="tocsin-traces", daemon=True)
        last.start()
        last.join(TIMEOUT_SECONDS)
