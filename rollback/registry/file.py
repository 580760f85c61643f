"""A registry in a folder: `NAME/VERSION/` bundles, `serving` and `last-known-good` symbolic links, `history.ndjson`.

Links are replaced atomically and only under a lock, so that compare-and-set holds between processes; reading needs no
lock and no right to write. A move is written to the history before the link is set: after a crash in between, the
history holds a move that did not happen, and repeating the command makes it happen.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from rollback.bundle import Bundle, IntegrityError, read_bundle, read_unsigned, write_bundle
from rollback.durable import sync_folder
from rollback.limits import BundleLimits
from rollback.manifest import Draft
from rollback.registry import moves
from rollback.registry.registry import Buffer, Move, Pointers, RegistryError
from rollback.signing.keys import Keys

HISTORY: Final = "history.ndjson"
BUFFERS: Final = "buffers"
BLOBS: Final = "blobs"
REPAIR: Final = "find out who changed it, remove it, and promote a version that you trust"


# made once, at import: msgspec may crash where two threads are the first to decode a type
_MOVE: Final = msgspec.json.Decoder(Move)


@dataclass(frozen=True, slots=True)
class Trust:
    """What is believed besides signatures.

    ``digests`` are those that versions' manifests are known to have: a version that is another one now is refused,
    whoever signed it. Versions that are ``unsigned`` are believed without a signature. ``rewritten`` says what is wrong
    with a history, empty for nothing: nothing is moved by a wrong one, for quarantine stands in it.
    """

    digests: Mapping[str, str] = field(default_factory=dict)
    unsigned: Collection[str] = ()
    rewritten: Callable[[Sequence[Move]], str] = lambda _: ""


class FileRegistry:
    """The versions of the model ``name`` under ``root``. ``clock`` gives seconds since the epoch; see `Registry`.

    A bundle beyond ``limits`` is neither added nor read.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        keys: Keys,
        clock: Callable[[], float],
        trust: Trust | None = None,
        limits: BundleLimits | None = None,
    ) -> None:
        self._trust = trust or Trust()
        self._name = moves.check_name(name, "model")
        self._folder = root / name
        self._keys = keys
        self._clock = clock
        self._limits = limits or BundleLimits()
        self._vouched: tuple[tuple[int, ...], bool] | None = None

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
        """See `Registry.add`."""
        if self._keys.signing is None:
            raise RegistryError(f"{self._folder}: a version must be signed, and no signing key is configured")
        known = self._keys.trusted.get(self._keys.signing.public.key_id)
        if known is not None and (why := known.refused(datetime.fromtimestamp(self._clock(), UTC))):
            raise RegistryError(f"{self._folder}: nothing would believe the new version: {why}")
        for file, content in files.items():
            if objection := self._limits.objection(file, len(content)):
                raise RegistryError(f"{self._folder}: {file} {objection}")
        with self._locked(make=True):
            present, history = self.versions(), self.history()
            if version is None:
                version = moves.next_version([*present, *(m.version for m in history)])
            moves.check_new(version, present, history)
            if draft.parent is not None:
                moves.require(draft.parent, present, self._name)
            kept = draft if buffer is None else self._keep(draft, buffer)
            at = self._clock()
            manifest = kept.manifest(self._name, version, datetime.fromtimestamp(at, UTC).isoformat())
            self._record(Move(at, "add", version, draft.parent, by, reason))
            folder, blobs = self._folder / version, self._folder / BLOBS
            bundle = write_bundle(folder, manifest, files, self._keys.signing, blobs)
            self._assume_first(at, by)
        return bundle

    def versions(self) -> Sequence[str]:
        """See `Registry.versions`."""
        try:
            present = {e.name for e in os.scandir(self._folder) if e.is_dir(follow_symlinks=False)}
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RegistryError(f"{self._folder}: cannot be read: {error.strerror}") from error
        present = {name for name in present if moves.NAME.fullmatch(name) and name not in moves.TAKEN}
        added = [move.version for move in self.history() if move.action == "add" and move.version in present]
        return list(dict.fromkeys([*added, *sorted(present)]))

    def pointers(self) -> Pointers:
        """See `Registry.pointers`."""
        good = self._read_link(moves.KNOWN_GOOD)
        return Pointers(self._read_link(moves.SERVING), good, good is not None and self._assumed())

    def load(self, version: str) -> Bundle:
        """See `Registry.load`."""
        moves.require(version, self.versions(), self._name)
        folder = self._folder / version
        if version in self._trust.unsigned:
            bundle = read_unsigned(folder, self._limits)
        else:
            bundle = read_bundle(folder, self._keys.trusted, self._limits)
        known = self._trust.digests.get(version, bundle.digest)
        if bundle.digest != known:
            raise IntegrityError(
                f"{folder}: is not the version that was seen before: the manifest's SHA-256 is {bundle.digest}, by the "
                f"audit log it was {known}; bundle and signature were swapped together"
            )
        found = (bundle.manifest.name, bundle.manifest.version)
        if found != (self._name, version):
            place = self._folder / version / "manifest.json"
            raise IntegrityError(f"{place}: belongs to model {found[0]!r} version {found[1]!r}; the folder was swapped")
        return bundle

    def verify(self, version: str) -> Bundle:
        """See `Registry.verify`."""
        bundle = self.load(version)
        bundle.check_content()
        self._check_buffer(bundle)
        return bundle

    def promote(self, version: str, *, expected: str | None, known_good: bool, by: str, reason: str) -> Pointers:
        """See `Registry.promote`."""
        with self._locked():
            bundle = self.load(version)
            bundle.check_content()
            moves.refuse_shadow(bundle.manifest)
            wanted = Move(self._clock(), "promote", version, expected, by, reason)
            for move in moves.promotion(self.pointers(), self.trusted_history(), wanted, known_good=known_good):
                self._apply(move)
            return self.pointers()

    def rollback(self, *, expected: str | None, by: str, reason: str, target: str | None = None) -> Pointers:
        """See `Registry.rollback`."""
        with self._locked():
            now = self.pointers()
            to = target if target is not None else moves.default_target(now)
            self.load(to).check_content()
            wanted = Move(self._clock(), "rollback", to, expected, by, reason)
            for move in moves.rollback(now, self.trusted_history(), wanted):
                moves.require(move.version, self.versions(), self._name)
                self._apply(move)
            return self.pointers()

    def quarantine(self, version: str, *, by: str, reason: str) -> None:
        """See `Registry.quarantine`."""
        with self._locked():
            moves.refuse_needed(self.pointers(), moves.require(version, self.versions(), self._name), "quarantined")
            if version not in moves.quarantined(self.trusted_history()):
                self._apply(Move(self._clock(), "quarantine", version, None, by, reason))

    def release(self, version: str, *, by: str, reason: str) -> None:
        """See `Registry.release`."""
        with self._locked():
            self._apply(
                moves.released(self.trusted_history(), Move(self._clock(), "release", version, None, by, reason))
            )

    def remove(self, version: str, *, by: str, reason: str) -> None:
        """See `Registry.remove`. A folder that a crash left is deleted by the next command that writes."""
        with self._locked():
            moves.refuse_needed(self.pointers(), moves.require(version, self.versions(), self._name), "removed")
            self._record(Move(self._clock(), "remove", version, None, by, reason))
            removed = self._folder / f".removed.{secrets.token_hex(4)}"
            (self._folder / version).rename(removed)
            sync_folder(self._folder)
            shutil.rmtree(removed)
            self._drop_buffers()
            self._drop_blobs()

    def history(self) -> Sequence[Move]:
        """See `Registry.history`. A last line that a crash left unfinished is no entry."""
        path = self._folder / HISTORY
        try:
            lines = path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RegistryError(f"{path}: cannot be read: {error.strerror}") from error
        found = []
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                found.append(_MOVE.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise RegistryError(f"{path}: line {number}: is no entry of a history: {error}") from error
        return found

    def trusted_history(self) -> Sequence[Move]:
        """See `Registry.trusted_history`."""
        found = self.history()
        if problem := self._trust.rewritten(found):
            raise RegistryError(f"{self._folder / HISTORY}: {problem}")
        return found

    def buffer(self, version: str) -> Buffer | None:
        """See `Registry.buffer`."""
        return self._check_buffer(self.load(version))

    @contextmanager
    def _locked(self, *, make: bool = False) -> Iterator[None]:
        """Nobody else changes this model meanwhile; what crashed writers left is cleared first."""
        if not make and not self._folder.is_dir():
            raise RegistryError(f"{self._folder}: there is no such model; tocsin registry add makes one")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / ".lock").open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._clear_leftovers()
                yield
        except OSError as error:
            raise RegistryError(f"{error.filename or self._folder}: {error.strerror}") from error

    def _clear_leftovers(self) -> None:
        for entry in list(os.scandir(self._folder)):
            if not entry.name.startswith(".") or entry.name == ".lock":
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                Path(entry.path).unlink()

    def _assume_first(self, at: float, by: str) -> None:
        """The first version serves and is LKG; also where a crash kept an earlier one from it."""
        missing = [link for link in (moves.SERVING, moves.KNOWN_GOOD) if self._read_link(link) is None]
        if not missing:
            return
        first = self.versions()[0]
        self._record(Move(at, "assume", first, None, by, "the first version: serves, and is assumed to be good"))
        for link in missing:
            self._set_link(link, first)

    def _apply(self, move: Move) -> None:
        last = self.history()[-1:]
        if not last or replace(last[0], at=move.at) != move:  # else a crash came between the entry and its link
            self._record(move)
        for link in moves.MOVED.get(move.action, ()):
            self._set_link(link, move.version)

    def _record(self, move: Move) -> None:
        path = self._folder / HISTORY
        with path.open("a+b") as file:
            file.seek(0)
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)  # cuts a line that a crash left unfinished
            file.write(msgspec.json.encode(move) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _read_link(self, link: str) -> str | None:
        path = self._folder / link
        try:
            target = str(path.readlink())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RegistryError(f"{path}: is no symbolic link to a version ({error.strerror}); {REPAIR}") from error
        if moves.NAME.fullmatch(target) and target not in moves.TAKEN and _is_folder(self._folder / target):
            return target
        present = ", ".join(self.versions()) or "none"
        raise RegistryError(f"{path}: points to {target!r}, which is no version (there are: {present}); {REPAIR}")

    def _assumed(self) -> bool:
        """Asked often: the history is read again only when its file has changed."""
        now = _fingerprint(self._folder / HISTORY)
        if self._vouched is None or self._vouched[0] != now:
            self._vouched = now, moves.is_assumed(self.history())
        return self._vouched[1]

    def _set_link(self, link: str, version: str) -> None:
        temporary = self._folder / f".{link}.{secrets.token_hex(4)}"
        temporary.symlink_to(version, target_is_directory=True)
        temporary.replace(self._folder / link)
        sync_folder(self._folder)

    def _keep(self, draft: Draft, buffer: Buffer) -> Draft:
        """Copy a training buffer to where its digest names it, and say so in the lineage."""
        folder = self._folder / BUFFERS
        folder.mkdir(exist_ok=True)
        temporary = self._folder / f".buffer.{secrets.token_hex(4)}"
        shutil.copyfile(buffer.path, temporary)
        sha = _file_digest(temporary)
        file = sha + "".join(s for s in buffer.path.suffixes[-2:] if s.isascii())
        temporary.replace(folder / file)
        sync_folder(folder)
        entry = {"file": file, "sha256": sha, "label": buffer.label, "source": buffer.source, "session": buffer.session}
        return msgspec.structs.replace(draft, lineage={**draft.lineage, "buffer": entry})

    def _drop_buffers(self) -> None:
        """Delete the training buffers that no version names; none while a version cannot be read."""
        folder = self._folder / BUFFERS
        try:
            entries = [self.load(version).manifest.lineage.get("buffer") for version in self.versions()]
        except IntegrityError:
            return
        named = {entry["file"] for entry in entries if entry is not None}
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in named:
                path.unlink()

    def _drop_blobs(self) -> None:
        """Delete the blobs that no version holds any more: those without another link."""
        folder = self._folder / BLOBS
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.stat().st_nlink == 1:
                path.unlink()

    def _check_buffer(self, bundle: Bundle) -> Buffer | None:
        entry = bundle.manifest.lineage.get("buffer")
        if entry is None:
            return None
        path = self._folder / BUFFERS / entry["file"]
        if entry["file"] in {"", "..", "."} or path.name != entry["file"] or path.is_symlink():
            raise IntegrityError(f"{bundle.where('manifest.json')}: {entry['file']!r} is no training buffer's name")
        try:
            found = _file_digest(path)
        except OSError as error:
            raise IntegrityError(f"{path}: the training buffer cannot be read: {error.strerror}") from error
        if found != entry["sha256"]:
            raise IntegrityError(
                f"{path}: changed since it was added: SHA-256 is {found}, signed was {entry['sha256']}"
            )
        return Buffer(path, entry["label"], entry["source"], entry["session"])


def _is_folder(path: Path) -> bool:
    """Whether there is a folder itself, no link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _fingerprint(path: Path) -> tuple[int, ...]:
    """What changes when a file does; empty where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
