"""Logs: structured lines on stderr, coloured for a terminal and JSON for a machine."""

from __future__ import annotations

import io
import logging
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from monitor.incidents.explain import printable

LIBRARY_LEVEL = logging.WARNING
"""Libraries (kafka-python above all) tell more than anyone reads; their warnings are kept."""


def set_up_logging(stream: TextIO, *, as_json: bool, level: int = logging.INFO) -> None:
    """Send what Tocsin and its libraries log to ``stream``. Called once, by the command."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(stream, as_json=as_json),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, LIBRARY_LEVEL))
    own = logging.getLogger("tocsin")
    own.setLevel(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=lambda *_: own,
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _renderers(stream: TextIO, *, as_json: bool) -> list[Any]:
    if as_json:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(sort_keys=True)]
    return [_all_seen, structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=_traceback)]


def _all_seen(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Foreign text moves no cursor and clears no screen; JSON escapes it by itself."""
    return {name: printable(value) if isinstance(value, str) else value for name, value in line.items()}


def _traceback(stream: TextIO, failure: Any) -> None:
    """Without local variables, which the default shows: among them are tokens and passwords."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, failure)
    stream.write("\n".join(printable(each) for each in text.getvalue().split("\n")))
