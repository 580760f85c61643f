"""The seam to model servers: tell every endpoint to load a version, ask every endpoint what it serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rollback.canary.canaries import Canaries


class ReloadRetryableError(Exception):
    """An endpoint is away, slow or busy: the same may be tried again."""


class ReloadRefusedError(Exception):
    """An endpoint will not do what was asked, however often it is asked; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one endpoint said. ``version`` is what it claims to serve (None: it did not say).

    ``agreement`` is the share of canary rows that it answered as the version that should serve does, None where it
    could not be asked; ``problem`` says in words what is wrong, and is empty where the endpoint serves what it should.
    ``note`` says what could not be checked where nothing is known to be wrong.
    """

    endpoint: str
    version: str | None
    agreement: float | None
    problem: str = ""
    note: str = ""


class Reloader(Protocol):
    """The endpoints that serve one model. Every call returns or raises within a stated time."""

    def start(self, expected: str | None, target: str) -> None:
        """Make every endpoint load ``target``, which replaces ``expected``; harmless where it serves it already.

        Raises `ReloadRetryableError` or `ReloadRefusedError`; the other endpoints have been told all the same.
        """

    def observe(self, version: str, canaries: Canaries | None) -> tuple[Observation, ...]:
        """One observation per endpoint, held against ``version`` and its canaries; what fails is said in it."""

    def obstacles(self) -> tuple[str, ...]:
        """What would keep `start` from working as far as it shows without changing anything: reach, rights, names."""
