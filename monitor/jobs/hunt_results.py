"""Looks for what `tocsin hunt` has found, so that the incident can tell it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from monitor.explain import HUNTS
from monitor.hunting.messages import HuntResult
from monitor.inbox import Hunted, Inbox

SUMMARY: Final = "summary.json"
_RESULT: Final = msgspec.json.Decoder(HuntResult)


class HuntResultError(Exception):
    """Something in the folder of hunts is no hunt's result; the message names the file."""


class HuntResults:
    """Puts the result of every hunt below ``state_dir`` into ``inbox``: once, and again where it was replaced."""

    def __init__(self, state_dir: Path, inbox: Inbox) -> None:
        self._folder = state_dir / HUNTS
        self._inbox = inbox
        self._seen: dict[str, bytes] = {}

    def __call__(self) -> None:
        """Look. Raises `HuntResultError` after every other result was taken."""
        wrong: list[HuntResultError] = []
        for path in self._summaries():
            try:
                self._look(path)
            except HuntResultError as error:
                wrong.append(error)
        if wrong:
            raise wrong[0]

    def _summaries(self) -> Iterator[Path]:
        yield from sorted(self._folder.glob(f"*/{SUMMARY}"))

    def _look(self, path: Path) -> None:
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # a new hunt takes the old one's result away first
            return
        digest = hashlib.sha256(content).digest()
        if self._seen.get(path.parent.name) == digest:
            return
        self._seen[path.parent.name] = digest
        try:
            result = _RESULT.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise HuntResultError(f"{path}: is no tocsin.hunt.v1: {error}; hunt again, or remove it") from error
        if result.incident != path.parent.name:
            raise HuntResultError(f"{path}: is about incident {result.incident!r}, not its folder's; move it")
        self._inbox.put(Hunted(result.incident, result.summary, digest.hex()))
