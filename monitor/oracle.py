"""For `replay`: a file that holds what a trusted labeller would answer, read only where Tocsin asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from monitor.sources.source import Chunk, Partition
from monitor.vetting import VettingDesk
from monitor.window import ClosedWindow

ORIGIN: Final = "vetting"
"""The origin of the answers, trusted in a replay."""


class _Answer(msgspec.Struct):
    id: str
    label: str


class OracleError(Exception):
    """A vetting file cannot be used; the message names file and line."""


class Answering(Protocol):
    """Who answers vetting requests from within the process."""

    def due(self, closed: ClosedWindow) -> list[Chunk]:
        """The answers that are due when this window is judged, as messages of the guarded channel."""

    def outstanding(self) -> set[tuple[str, str]]:
        """Models and versions with open requests that will be answered."""


class Elsewhere:
    """Answers come from outside, through the trusted topic: nobody answers from within."""

    def due(self, closed: ClosedWindow) -> list[Chunk]:  # noqa: ARG002 - the seam's signature
        """Never any."""
        return []

    def outstanding(self) -> set[tuple[str, str]]:
        """None."""
        return set()


class Oracle:
    """Answers a request ``delay`` windows after it was made. ``labels`` maps event ids to the true class.

    ``origin`` is whose answers they are; it must be a trusted one.
    """

    def __init__(
        self, labels: Mapping[str, str], desk: VettingDesk, delays: Mapping[str, int], origin: str = ORIGIN
    ) -> None:
        self._origin = origin
        self._labels = labels
        self._desk = desk
        self._delays = delays

    def due(self, closed: ClosedWindow) -> list[Chunk]:
        """See `Answering`."""
        delay = self._delays[closed.model]
        due = self._desk.due(closed.model, closed.version, closed.index, delay)
        values = [self._message(closed.model, ident) for ident in due if ident in self._labels]
        return [Chunk(Partition(ORIGIN, 0), "trusted", range(len(values)), values)] if values else []

    def outstanding(self) -> set[tuple[str, str]]:
        """See `Answering`: those that the file holds."""
        return {(model, version) for model, version, ident in self._desk.versions() if ident in self._labels}

    def _message(self, model: str, ident: str) -> bytes:
        event: dict[str, Any] = {"id": ident, "ts": 0, "label": self._labels[ident], "model": model}
        event["origin"] = self._origin
        return msgspec.json.encode(event)


def read_answers(path: Path, lines: Iterable[tuple[int, bytes]]) -> dict[str, str]:
    """Event id -> label, of feedback events one per line. Raises `OracleError`, also where two contradict."""
    decoder = msgspec.json.Decoder(_Answer)
    found: dict[str, str] = {}
    for number, line in lines:
        try:
            answer = decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise OracleError(f"{path}: line {number + 1}: is no feedback event: {error}") from error
        if found.setdefault(answer.id, answer.label) != answer.label:
            raise OracleError(
                f"{path}: line {number + 1}: event {answer.id!r} is {answer.label!r} here and {found[answer.id]!r} "
                "above; one answer per event is needed"
            )
    return found
