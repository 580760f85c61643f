"""Where messages go that cannot be read: counted by reason and source, and written with their place and beginning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from detectors.evidence import State
from monitor.decoding.reject import Reason, Reject
from monitor.sources.source import Partition
from monitor.state.output_file import OutputFile

OTHER_SOURCES: Final = "(other)"
"""Stands for all sources beyond the bound: sources are named by whoever writes to the topic."""
_SOURCES_KEPT: Final = 1000


class _Line(msgspec.Struct):
    topic: str
    partition: int
    offset: int
    reason: Reason
    source: str
    detail: str
    raw: str


class Quarantine:
    """``output`` None counts only. Beyond ``max_bytes`` rejects are counted as ``unwritten``, but no longer written.

    Topic, partition and offset find a message again as long as the broker keeps it.
    """

    def __init__(self, output: OutputFile | None, max_bytes: int = 256 * 2**20) -> None:
        self._output = output
        self._max_bytes = max_bytes
        self._counts: Counter[tuple[str, str]] = Counter()
        self._sources: set[str] = set()
        self.unwritten = 0

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """(reason, source) -> messages."""
        return dict(self._counts)

    @property
    def by_reason(self) -> dict[str, int]:
        """Reason -> messages, sorted by reason."""
        total: Counter[str] = Counter()
        for (reason, _), count in sorted(self._counts.items()):
            total[reason] += count
        return dict(total)

    def add(self, partition: Partition, rejects: Iterable[Reject]) -> None:
        """Count and write them."""
        for reject in rejects:
            if reject.source not in self._sources and len(self._sources) < _SOURCES_KEPT:
                self._sources.add(reject.source)
            source = reject.source if reject.source in self._sources else OTHER_SOURCES
            self._counts[reject.reason, source] += 1
            if self._output is not None:
                self._write(self._output, partition, reject)

    def state(self) -> State:
        """For the checkpoint; what was written is on the disk when this returns."""
        if self._output is not None:
            self._output.sync()
        return {
            "counts": [[reason, source, count] for (reason, source), count in sorted(self._counts.items())],
            "unwritten": self.unwritten,
            "position": self._output.position if self._output is not None else 0,
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave; lines that were written later are cut off."""
        self._counts = Counter({(reason, source): count for reason, source, count in state["counts"]})
        self._sources = {source for _, source in self._counts} - {OTHER_SOURCES}
        self.unwritten = state["unwritten"]
        if self._output is not None:
            self._output.truncate_to(state["position"])

    def _write(self, output: OutputFile, partition: Partition, reject: Reject) -> None:
        raw = reject.raw.decode("utf-8", "backslashreplace")
        line = _Line(*partition, reject.offset, reject.reason, reject.source, reject.detail, raw)
        encoded = msgspec.json.encode(line)
        if output.position + len(encoded) + 1 > self._max_bytes:
            self.unwritten += 1
        else:
            output.append(encoded)
