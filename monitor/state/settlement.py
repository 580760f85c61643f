"""Exactly once: state, outputs and offsets are saved together, and taken back together.

Order of saving: outputs synced, segments written, one atomic checkpoint, then the broker's commit that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

import structlog

from detectors.evidence import State
from monitor.sources.source import Committed, Partition
from monitor.state.checkpoint import CheckpointError, CheckpointStore
from monitor.state.output_file import OutputFile

log = structlog.get_logger()

FORMAT: Final = 5
"""Of what a checkpoint holds; one of another format cannot be read."""


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

    def holds(self, name: str) -> bool:
        """Whether a checkpoint of this name is here: then nobody else has committed since."""


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

    def holds(self, name: str) -> bool:  # noqa: ARG002 - likewise
        """See `Settlement`."""
        return False


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
                "format": FORMAT,
                "offsets": [[p.topic, p.number, offset] for p, offset in sorted(offsets.items())],
                "parts": {name: part.state() for name, part in self._parts.items()},
                "outputs": {name: output.position for name, output in self._outputs.items()},
            }
        )
        self._saved()
        return name

    def resume(self, committed: Mapping[Partition, Committed | None]) -> Mapping[Partition, int]:
        """See `Settlement`. The newest checkpoint that a commit names and that is here is taken back.

        A partition whose commit names none of ours was read by somebody else since: it starts at the broker's offset.
        """
        named = {p: c.metadata for p, c in committed.items() if c is not None}
        held = [name for name in self._store.names() if name in named.values()]
        if not held:
            self._say_cold(sorted(set(named.values())))
            return {}
        offsets = self._take_back(held[-1])
        foreign = [f"{p.topic}/{p.number}" for p, name in named.items() if name not in held]
        if foreign:
            log.warning("partitions that others have read start at the broker's offsets", partitions=foreign)
        log.info("resumed", checkpoint=held[-1])
        return {p: offsets[p] for p, name in named.items() if name in held and p in offsets}

    def holds(self, name: str) -> bool:
        """See `Settlement`."""
        return name in self._store.names()

    def _take_back(self, name: str) -> dict[Partition, int]:
        """Restore a checkpoint, whose offsets are returned; newer ones, which no commit names, never were."""
        _, state = self._store.load(name) or ("", {})
        if state.get("format") != FORMAT:
            raise CheckpointError(
                f"checkpoint {name} in {self._store.folder} was made by another version of Tocsin: run that version, "
                "or move the checkpoints away to start anew at the broker's offsets"
            )
        self._store.forget_after(name)
        for key, output in self._outputs.items():
            output.truncate_to(state["outputs"][key])
        for key, part in self._parts.items():
            part.restore(state["parts"][key])
        return {Partition(topic, number): offset for topic, number, offset in state["offsets"]}

    def _say_cold(self, named: list[str]) -> None:
        if named:
            log.warning("cold start at the broker's offsets: state_dir has no checkpoint of theirs", named=named)
        elif self._store.names():
            log.warning("cold start: the broker knows no offsets of this group, though state_dir has a checkpoint")
        else:
            log.info("no offsets are committed: starting anew")
