"""Which keys are trusted, from when until when: a JSON file beside the configuration, kept by `tocsin keys`.

A key is never deleted from it, only revoked: what it signed is then believed no more, whenever it says it was signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from rollback.durable import replace_file
from rollback.signing.keys import KeyFileError, Keys, PublicKey, read_public_key, read_signing_key

PUBLIC_BYTES: Final = 32


class TrustedKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One key: its public half in hexadecimal, and when it is to be believed (no limit where none is named)."""

    key_id: str
    public: str
    name: str = ""
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        key = self.key()
        if len(key.raw) != PUBLIC_BYTES:
            raise ValueError(f"key {self.key_id}: an Ed25519 key has {PUBLIC_BYTES} bytes, not {len(key.raw)}")
        if key.key_id != self.key_id:
            raise ValueError(f"key_id {self.key_id} is not that of its public half, {key.key_id}")
        times = (self.valid_from, self.valid_until, self.revoked_at)
        if any(time is not None and time.tzinfo is None for time in times):
            raise ValueError(f"key {self.key_id}: every time needs a zone, such as 2026-01-31T00:00:00Z")
        if self.valid_from is not None and self.valid_until is not None and self.valid_until <= self.valid_from:
            raise ValueError(f"key {self.key_id}: valid_until must be after valid_from")

    def key(self) -> PublicKey:
        """As signatures are checked with it."""
        revoked = ""
        if self.revoked_at is not None:
            revoked = f"{self.revoked_at.isoformat()} by {self.revoked_by or 'somebody'}: {self.reason or 'no reason'}"
        return PublicKey(bytes.fromhex(self.public), self.name, self.valid_from, self.valid_until, revoked)

    def state(self, now: datetime) -> str:
        """``valid``, ``not yet valid``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        if self.valid_from is not None and now < self.valid_from:
            return "not yet valid"
        return "expired" if self.valid_until is not None and now > self.valid_until else "valid"


class TrustList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys in the order in which they were added."""

    keys: tuple[TrustedKey, ...] = ()

    def __post_init__(self) -> None:
        names = [entry.key_id for entry in self.keys]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"key {twice[0]} is there twice")


# made once, at import: msgspec may crash where two threads are the first to decode a type
_LIST: Final = msgspec.json.Decoder(TrustList)


def read_trust_list(path: Path) -> TrustList:
    """The list in a file. Raises `KeyFileError`."""
    try:
        return _LIST.decode(path.read_bytes())
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path}: is no list of trusted keys: {error}; tocsin keys makes one") from error


def write_trust_list(path: Path, entries: TrustList) -> None:
    """Replace the file by this list. Raises `OSError`."""
    replace_file(path, msgspec.json.format(msgspec.json.encode(entries), indent=2) + b"\n")


def added(entries: TrustList, new: TrustedKey) -> TrustList:
    """The list with one more key. Raises `KeyFileError` where it is there already, also where it was revoked."""
    if any(entry.key_id == new.key_id for entry in entries.keys):
        raise KeyFileError(f"key {new.key_id} is in the list already; a revoked key does not come back: make a new one")
    return TrustList((*entries.keys, new))


def revoked(entries: TrustList, key_id: str, at: datetime, by: str, reason: str) -> TrustList:
    """The list in which a key is believed no more, named by its id, the beginning of it, or its name.

    Raises `KeyFileError` where that is not one key.
    """
    fitting = [e for e in entries.keys if key_id and (e.key_id.startswith(key_id) or e.name == key_id)]
    if len(fitting) != 1:
        there = ", ".join(entry.key_id for entry in entries.keys) or "none"
        raise KeyFileError(f"{key_id!r} names no single key; there are: {there}")
    gone = msgspec.structs.replace(fitting[0], revoked_at=at, revoked_by=by, reason=reason)
    if fitting[0].revoked_at is not None:
        raise KeyFileError(f"key {gone.key_id} was revoked {fitting[0].key().revoked}")
    return TrustList(tuple(gone if entry.key_id == gone.key_id else entry for entry in entries.keys))


def keys_from_files(trusted: Sequence[Path], signing: Path | None = None) -> Keys:
    """The keys that a configuration names: PEM files and trust lists (`.json`). Raises `KeyFileError`.

    Who names none to trust trusts its own.
    """
    own = None if signing is None else read_signing_key(signing)
    if own is not None and not trusted:
        return Keys.of(own)
    known: dict[str, PublicKey] = {}
    for path in trusted:
        for key in _read(path):
            known[key.key_id] = _agreed(known.get(key.key_id, key), key, path)
    return Keys(known, own)


def refused_now(keys: Keys, now: datetime) -> str:
    """Why nothing would be believed that the own key signs ``now``; empty where it would be, or there is none."""
    if keys.signing is None:
        return ""
    own = keys.signing.public.key_id
    if own not in keys.trusted:
        return f"key {own} is not among the trusted keys ({', '.join(keys.trusted) or 'none'})"
    return keys.trusted[own].refused(now)


def _agreed(one: PublicKey, other: PublicKey, path: Path) -> PublicKey:
    """What two files say of a key: revoked wins, and a different validity is an error."""
    if one.revoked or other.revoked:
        return one if one.revoked else other
    if (one.valid_from, one.valid_until) != (other.valid_from, other.valid_until):
        raise KeyFileError(f"{path}: key {other.key_id} has another validity than in an earlier file; name it once")
    return one


def _read(path: Path) -> list[PublicKey]:
    if path.suffix != ".json":
        return [read_public_key(path)]
    return [entry.key() for entry in read_trust_list(path).keys]
