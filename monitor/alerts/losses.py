"""What was dropped (no room, a failed disk) until the receiver was told: on disk, so that a crash hides nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import structlog

from monitor.alerts.alert import Notice

log = structlog.get_logger()

SEVERITY: Final = 7
"""Somebody should know that alerts are missing."""


class _Kept(msgspec.Struct, frozen=True):
    since: float
    counts: dict[str, int]


_KEPT: Final = msgspec.json.Decoder(_Kept)


class Losses:
    """How many alerts were dropped, by reason, since the last notice about it; in the file ``path``."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._kept = self._read()

    def __bool__(self) -> bool:
        return bool(self._kept.counts)

    def add(self, reason: str, n: int, at: float) -> None:
        """``n`` more; ``at`` is seconds since the epoch."""
        counts = {**self._kept.counts, reason: self._kept.counts.get(reason, 0) + n}
        self._write(_Kept(self._kept.since if self else at, counts))

    def notice(self, sink: str, at: float) -> Notice:
        """What is to be told. The same id until it was `told`, however often it is sent."""
        n = sum(self._kept.counts.values())
        facts = {"dropped": n, "reasons": dict(self._kept.counts), "since": self._kept.since, "sink": sink}
        why = ", ".join(f"{count} ({reason})" for reason, count in self._kept.counts.items())
        return Notice(
            uid=f"dropped-{sink}-{round(self._kept.since * 1000)}",
            at=at,
            severity=SEVERITY,
            title=f"{n} alerts were dropped",
            text=f"{n} alerts will not get to sink {sink}: {why}. All of them are in incidents.ndjson.",
            facts=facts,
        )

    def told(self) -> None:
        """The notice is on its way."""
        self._write(_Kept(0.0, {}))

    def _read(self) -> _Kept:
        try:
            return _KEPT.decode(self._path.read_bytes())
        except FileNotFoundError:
            return _Kept(0.0, {})
        except (OSError, msgspec.DecodeError) as error:
            log.warning("how many alerts were dropped is not known any more", file=str(self._path), reason=str(error))
            return _Kept(0.0, {})

    def _write(self, kept: _Kept) -> None:
        """Not synced: a power failure may hide what was dropped just before it; the metric and the log have it."""
        self._kept = kept
        temporary = self._path.with_suffix(".tmp")
        try:
            temporary.write_bytes(msgspec.json.encode(kept))
            temporary.replace(self._path)
        except OSError as error:
            log.warning("how many alerts were dropped is not kept", file=str(self._path), reason=str(error))
