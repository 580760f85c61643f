"""The seam to where model versions live: immutable signed bundles and two pointers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rollback.bundle import Bundle
from rollback.manifest import Draft


class RegistryError(Exception):
    """A registry cannot do what was asked: no such version, pointer moved meanwhile, version exists."""


@dataclass(frozen=True, slots=True)
class Pointers:
    """Which version is desired to serve and which is the last known good one; None in an empty registry.

    ``assumed`` is True while LKG is the first version added, which nobody has vouched for.
    """

    serving: str | None
    last_known_good: str | None
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """One entry of the history: a pointer moved (or a version was added) at ``at`` (seconds), by ``by``, because.

    ``action`` is ``add``, ``assume`` (the first version serves and is LKG, unvouched), ``promote``, ``known-good``,
    ``rollback``, ``quarantine``, ``release`` or ``remove``; ``previous`` is where the pointer was.
    """

    at: float
    action: str
    version: str
    previous: str | None
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Buffer:
    """The training buffer that a version was made from: its file, and which columns mean what."""

    path: Path
    label: str
    source: str | None = None
    session: str | None = None


class Registry(Protocol):
    """The versions of one model."""

    def add(
        self,
        draft: Draft,
        files: Mapping[str, bytes],
        *,
        by: str,
        reason: str,
        version: str | None = None,
        buffer: Buffer | None = None,
    ) -> Bundle:
        """Sign and keep a new version; the first one serves and is LKG, marked ``assumed``.

        ``files`` are the bundle's (`model.onnx`, `reference.npz`, ...); without ``version`` the id is the next free
        number. The ``buffer`` is kept by its digest, which the lineage names. Raises `RegistryError`.
        """

    def versions(self) -> Sequence[str]:
        """Every version, oldest first."""

    def pointers(self) -> Pointers:
        """Where `serving` and `last-known-good` point now."""

    def load(self, version: str) -> Bundle:
        """The bundle, after `verify`; raises `RegistryError` or `rollback.bundle.IntegrityError`."""

    def verify(self, version: str) -> Bundle:
        """The bundle, after a check of every digest, also its training buffer's, and of the signature.

        Also that its model, reference and canaries can be used. Raises `rollback.bundle.IntegrityError`, which says
        which file and why.
        """

    def promote(self, version: str, *, expected: str | None, known_good: bool, by: str, reason: str) -> Pointers:
        """Verify ``version``, then make it `serving` if `serving` is still ``expected`` (compare-and-set).

        Repeating a move that has happened is harmless. ``known_good`` moves LKG to it as well. A shadow is refused,
        and so is a version in quarantine.
        """

    def rollback(self, *, expected: str | None, by: str, reason: str, target: str | None = None) -> Pointers:
        """Quarantine ``expected``, then `promote` ``target``, without touching LKG itself.

        The target is LKG unless said; where LKG serves already that is refused. A target that is said may be serving
        already: repeating a rollback is harmless.
        """

    def quarantine(self, version: str, *, by: str, reason: str) -> None:
        """From now on ``version`` is never promoted; raises `RegistryError` for what serves or is LKG."""

    def release(self, version: str, *, by: str, reason: str) -> None:
        """Take ``version`` out of quarantine; a ``reason`` is needed. Raises `RegistryError`."""

    def remove(self, version: str, *, by: str, reason: str) -> None:
        """Delete a version for good, with its training buffer where no other version has it; the history stays.

        Its name is never given again. What serves or is LKG is refused: raises `RegistryError`.
        """

    def history(self) -> Sequence[Move]:
        """Every move, oldest first."""

    def trusted_history(self) -> Sequence[Move]:
        """The history, if it goes on from what is known of it elsewhere; raises `RegistryError` where it does not."""

    def buffer(self, version: str) -> Buffer | None:
        """The training buffer of a version, its digest checked; None where it has none.

        Raises `RegistryError` or `rollback.bundle.IntegrityError`.
        """
