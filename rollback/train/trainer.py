"""The seam to retraining: ordered by the response, done elsewhere, asked about from time to time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from rollback.registry.registry import Buffer


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be retrained. ``key`` names the order: ordering twice is harmless, also across a restart.

    ``version`` was poisoned, ``buffer`` is what it was trained on, ``incident`` the incident's message as JSON (what it
    implicates is looked for first), ``out`` the folder for all that comes of it.
    """

    key: str
    model: str
    version: str
    buffer: Buffer
    incident: bytes
    out: Path


@dataclass(frozen=True, slots=True)
class Retrained:
    """What became of an order.

    ``passed``: ``candidate`` is in the registry and has passed the gate. ``rejected``: it is there and has not.
    ``vetting``: it has passed, but was trained without rows that may be honest news: a person decides. ``failed``:
    there is no candidate, ``detail`` says why.
    """

    result: Literal["passed", "rejected", "vetting", "failed"]
    candidate: str | None
    detail: str


class Trainer(Protocol):
    """Retrains what is ordered; orders of different keys do not disturb each other."""

    def start(self, order: Order) -> None:
        """Begin, or go on with what a crash interrupted; returns at once. Harmless where it runs already."""

    def poll(self, key: str) -> Retrained | None:
        """What became of it; None while it runs. Never blocks."""

    def close(self) -> None:
        """End what runs; it can be started again."""
