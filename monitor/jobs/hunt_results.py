"""Looks for what `tocsin hunt` has found, so that the incident can tell it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from monitor.hunting.messages import HuntResult
from monitor.inbox import Hunted, Inbox
from monitor.incidents.explain import HUNTS, printable
from monitor.incidents.file import IncidentFileError, find_incident
from rollback.durable import read_plain

SUMMARY: Final = "summary.json"
MOST_BYTES: Final = 16_000_000
LONGEST: Final = 500
"""Characters of a sentence that an incident can hold; the file holds all of it."""
_RESULT: Final = msgspec.json.Decoder(HuntResult)


class HuntResultError(Exception):
    """Something in the folder of hunts is no hunt's result; the message names every such file, and why."""


class HuntResults:
    """Puts the result of every hunt below ``state_dir`` into ``inbox``: once, and again where it was replaced.

    Of incidents that were never told there are none to put: one that a crash has taken back is told again first.
    """

    def __init__(self, state_dir: Path, inbox: Inbox) -> None:
        self._state = state_dir
        self._inbox = inbox
        self._put: dict[str, str] = {}

    def __call__(self) -> None:
        """Look. Raises `HuntResultError`, after every good result was put, while there is a bad one."""
        wrong = []
        for path in sorted((self._state / HUNTS).glob(f"*/{SUMMARY}")):
            try:
                self._look(path)
            except FileNotFoundError:  # a new hunt replaces it this moment
                continue
            except OSError as error:
                wrong.append(f"{path}: cannot be read: {error.strerror}")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                wrong.append(f"{path}: is no tocsin.hunt.v1: {error}; hunt again, or remove it")
            except IncidentFileError as error:
                wrong.append(f"{path}: {error}")
        if wrong:
            raise HuntResultError("; ".join(wrong))

    def _look(self, path: Path) -> None:
        content = read_plain(path, MOST_BYTES)
        digest = hashlib.sha256(content).hexdigest()
        name = path.parent.name
        if self._put.get(name) == digest:
            return
        result = _RESULT.decode(content)
        if result.incident != name:
            raise IncidentFileError(f"is about incident {result.incident!r}, not its folder's; move it")
        find_incident(self._state, name)
        sentence = printable(result.summary)
        self._inbox.put(Hunted(name, sentence if len(sentence) <= LONGEST else f"{sentence[:LONGEST]}...", digest))
        self._put[name] = digest
