"""Files of decisions and reputations: signed, so that only who holds the registry's key can write them."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeVar

import msgspec

from rollback.durable import replace_file
from rollback.signing.envelope import SignatureError, seal, unseal
from rollback.signing.keys import Keys
from rollback.trust.reputation import Outcome, Reputation

REPUTATION: Final = "application/vnd.tocsin.reputation.v1+json"
Content = TypeVar("Content")


class SealedFileError(Exception):
    """A file of decisions or reputations cannot be believed or written; the message names it and says why."""


def read_sealed(path: Path, payload_type: str, kind: type[Content], keys: Keys | None) -> Content:
    """What was signed by a key that is trusted. Raises `SealedFileError`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SealedFileError(f"{path}: cannot be read: {error.strerror}") from error
    if keys is None:
        raise SealedFileError(f"{path}: no key is known to check it with; give --trusted-key")
    try:
        return msgspec.json.decode(unseal(content, payload_type, keys.trusted)[0], type=kind)
    except (SignatureError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SealedFileError(f"{path}: {error}") from error


def write_sealed(path: Path, payload_type: str, content: object, keys: Keys | None) -> None:
    """Sign and write; the file appears complete or not at all. Raises `SealedFileError` where there is no key."""
    if keys is None or keys.signing is None:
        raise SealedFileError(f"{path}: no key to sign it with; give --signing-key")
    try:
        replace_file(path, seal(msgspec.json.encode(content, order="sorted"), payload_type, keys.signing))
    except OSError as error:
        raise SealedFileError(f"{path}: cannot be written: {error.strerror}") from error


def read_reputation(path: Path, keys: Keys | None) -> Reputation:
    """`reputation.json`. Raises `SealedFileError`."""
    return Reputation(read_sealed(path, REPUTATION, tuple[Outcome, ...], keys))


def write_reputation(path: Path, reputation: Reputation, keys: Keys | None) -> None:
    """Raises `SealedFileError`."""
    write_sealed(path, REPUTATION, reputation.outcomes, keys)
