"""A registry in memory, for tests and for runs that must not write: the same rules as `FileRegistry`, nothing kept."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from rollback.bundle import Bundle, IntegrityError, check_bundle, seal
from rollback.manifest import Draft
from rollback.registry import moves
from rollback.registry.registry import Buffer, Move, Pointers, RegistryError
from rollback.signing.keys import Keys


class MemoryRegistry:
    """The versions of the model ``name``; see `Registry`. Several threads may use it."""

    def __init__(self, name: str, keys: Keys, clock: Callable[[], float]) -> None:
        self._name = moves.check_name(name, "model")
        self._keys = keys
        self._clock = clock
        self._bundles: dict[str, dict[str, bytes]] = {}
        self._buffers: dict[str, Buffer] = {}
        self._history: list[Move] = []
        self._serving: str | None = None
        self._known_good: str | None = None
        self._lock = threading.RLock()

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
        """See `Registry.add`. A buffer is not copied, only its place and digest are kept."""
        if self._keys.signing is None:
            raise RegistryError(f"model {self._name!r}: a version must be signed, and no signing key is configured")
        with self._lock:
            if version is None:
                version = moves.next_version([*self._bundles, *(move.version for move in self._history)])
            moves.check_new(version, self.versions(), self._history)
            if draft.parent is not None:
                moves.require(draft.parent, self.versions(), self._name)
            at = self._clock()
            if buffer is not None:
                self._buffers[version] = buffer
                draft = msgspec.structs.replace(draft, lineage={**draft.lineage, "buffer": {"sha256": _digest(buffer)}})
            manifest = draft.manifest(self._name, version, datetime.fromtimestamp(at, UTC).isoformat())
            self._bundles[version] = seal(manifest, files, self._keys.signing)
            self._history.append(Move(at, "add", version, draft.parent, by, reason))
            if self._serving is None:
                self._serving = self._known_good = version
                why = "the first version: serves, and is assumed to be good"
                self._history.append(Move(at, "assume", version, None, by, why))
            return self.load(version)

    def versions(self) -> Sequence[str]:
        """See `Registry.versions`."""
        return list(self._bundles)

    def pointers(self) -> Pointers:
        """See `Registry.pointers`."""
        assumed = self._known_good is not None and moves.is_assumed(self._history)
        return Pointers(self._serving, self._known_good, assumed)

    def load(self, version: str) -> Bundle:
        """See `Registry.load`."""
        files = self._bundles[moves.require(version, self.versions(), self._name)]
        manifest, signer = check_bundle(files, self._keys.trusted, f"{self._name}/{version}")
        return Bundle(manifest, files, signed_by=signer)

    def verify(self, version: str) -> Bundle:
        """See `Registry.verify`."""
        bundle = self.load(version)
        bundle.check_content()
        self.buffer(version)
        return bundle

    def promote(self, version: str, *, expected: str | None, known_good: bool, by: str, reason: str) -> Pointers:
        """See `Registry.promote`."""
        with self._lock:
            bundle = self.load(version)
            bundle.check_content()
            moves.refuse_shadow(bundle.manifest)
            wanted = Move(self._clock(), "promote", version, expected, by, reason)
            for move in moves.promotion(self.pointers(), self.history(), wanted, known_good=known_good):
                self._apply(move)
            return self.pointers()

    def rollback(self, *, expected: str | None, by: str, reason: str, target: str | None = None) -> Pointers:
        """See `Registry.rollback`."""
        with self._lock:
            now = self.pointers()
            to = target if target is not None else moves.default_target(now)
            self.load(to).check_content()
            wanted = Move(self._clock(), "rollback", to, expected, by, reason)
            for move in moves.rollback(now, self.history(), wanted):
                moves.require(move.version, self.versions(), self._name)
                self._apply(move)
            return self.pointers()

    def quarantine(self, version: str, *, by: str, reason: str) -> None:
        """See `Registry.quarantine`."""
        with self._lock:
            moves.refuse_needed(self.pointers(), moves.require(version, self.versions(), self._name), "quarantined")
            if version not in moves.quarantined(self.history()):
                self._apply(Move(self._clock(), "quarantine", version, None, by, reason))

    def release(self, version: str, *, by: str, reason: str) -> None:
        """See `Registry.release`."""
        with self._lock:
            self._apply(moves.released(self.history(), Move(self._clock(), "release", version, None, by, reason)))

    def remove(self, version: str, *, by: str, reason: str) -> None:
        """See `Registry.remove`."""
        with self._lock:
            moves.refuse_needed(self.pointers(), moves.require(version, self.versions(), self._name), "removed")
            self._history.append(Move(self._clock(), "remove", version, None, by, reason))
            del self._bundles[version]
            self._buffers.pop(version, None)

    def history(self) -> Sequence[Move]:
        """See `Registry.history`."""
        return list(self._history)

    def trusted_history(self) -> Sequence[Move]:
        """See `Registry.trusted_history`; nobody else can write here."""
        return self.history()

    def buffer(self, version: str) -> Buffer | None:
        """See `Registry.buffer`."""
        entry = self.load(version).manifest.lineage.get("buffer")
        if entry is None:
            return None
        kept = self._buffers[version]
        if _digest(kept) != entry["sha256"]:
            raise IntegrityError(f"{kept.path}: changed since it was added")
        return kept

    def _apply(self, move: Move) -> None:
        self._history.append(move)
        if moves.SERVING in moves.MOVED.get(move.action, ()):
            self._serving = move.version
        if moves.KNOWN_GOOD in moves.MOVED.get(move.action, ()):
            self._known_good = move.version


def _digest(buffer: Buffer) -> str:
    return hashlib.sha256(buffer.path.read_bytes()).hexdigest()
