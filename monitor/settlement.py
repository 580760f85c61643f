"""Exactly once: state, outputs and offsets are saved together, and taken back together.

Order of saving: outputs synced, segments written, one atomic checkpoint, then the broker's commit that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from detectors.evidence import State
from monitor.checkpoint import CheckpointStore
from monitor.output_file import OutputFile
from monitor.sources.source import Committed, Partition

log = structlog.get_logger()


class Stateful(Protocol):
    """A part of the loop whose state belongs to the checkpoint."""

    def state(self) -> State:
        """All that would be lost in a crash."""

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""


class Settlement(Protocol):
    """Saves and restores the parts of a loop with its outputs and offsets."""

    def save(self, offsets: Mapping[Partition, int]) -> str:
        """Everything to disk; returns the checkpoint's name, for the broker's commit."""

    def resume(self, committed: Mapping[Partition, Committed | None]) -> Mapping[Partition, int]:
        """Where to read on, after restoring what the commits name; empty where the start is cold."""


class Unsaved:
    """For a run that starts from the beginning whenever it starts, as `replay` does: only flushes its outputs."""

    def __init__(self, outputs: Mapping[str, OutputFile]) -> None:
        self._outputs = outputs

    def save(self, offsets: Mapping[Partition, int]) -> str:  # noqa: ARG002 - the seam's signature
        """See `Settlement`."""
        for output in self._outputs.values():
            output.flush()
        return ""

    def resume(self, committed: Mapping[Partition, Committed | None]) -> Mapping[Partition, int]:  # noqa: ARG002 - likewise
        """See `Settlement`."""
        return {}


class Checkpoints:
    """See `Settlement`; ``saved`` is called when a checkpoint is on disk."""

    def __init__(
        self,
        store: CheckpointStore,
        parts: Mapping[str, Stateful],
        outputs: Mapping[str, OutputFile],
        saved: Callable[[], None],
    ) -> None:
        self._store = store
        self._parts = parts
        self._outputs = outputs
        self._saved = saved

    def save(self, offsets: Mapping[Partition, int]) -> str:
        """Everything to disk; returns the checkpoint's name, for the broker's commit."""
        for output in self._outputs.values():
            output.sync()
        name = self._store.save(
            {
                "offsets": [[p.topic, p.number, offset] for p, offset in sorted(offsets.items())],
                "parts": {name: part.state() for name, part in self._parts.items()},
                "outputs": {name: output.position for name, output in self._outputs.items()},
            }
        )
        self._saved()
        return name

    def resume(self, committed: Mapping[Partition, Committed | None]) -> Mapping[Partition, int]:
        """See `Settlement`. Partitions without a commit do not count; the others must name the same checkpoint."""
        names = sorted({c.metadata for c in committed.values() if c is not None})
        if not names:
            log.info("no offsets are committed: starting anew")
            return {}
        found = self._store.load(names[0]) if len(names) == 1 else None
        if found is None:
            log.warning("cold start at the broker's offsets: state_dir has no checkpoint of theirs", named=names)
            return {}
        name, state = found
        for key, output in self._outputs.items():
            output.truncate_to(state["outputs"][key])
        for key, part in self._parts.items():
            part.restore(state["parts"][key])
        log.info("resumed", checkpoint=name)
        return {Partition(topic, number): offset for topic, number, offset in state["offsets"]}
