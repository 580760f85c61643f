"""How long a log was and which root it had, signed: kept elsewhere, it shows that the log has only grown since.

The text is a checkpoint as transparency logs have it (https://c2sp.org/tlog-checkpoint, in the signed note of
https://c2sp.org/signed-note, signature type Ed25519), so that tools for these can check it without Tocsin.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature

from rollback.signing.keys import PublicKey, SigningKey

_ED25519: Final = b"\x01"
_ROOT_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_KEY_ID: Final = re.compile(r"[0-9a-f]{16}")


class CheckpointError(Exception):
    """A checkpoint is malformed, altered, or signed by nobody who is trusted."""


class SignerError(CheckpointError):
    """A checkpoint is well-formed and signed by nobody who is trusted."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The log named ``origin`` had ``size`` records and the Merkle ``root`` (`rollback.audit.merkle`).

    >>> print(Checkpoint("audit of nids", 2, bytes(32)).text(), end="")
    audit of nids
    2
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not self.origin or "\n" in self.origin:
            raise ValueError(f"the name of a log is one line, not {self.origin!r}")
        if self.size < 0 or len(self.root) != _ROOT_BYTES:
            raise ValueError(f"a checkpoint has a size of 0 or more and a root of 32 bytes, not {self.size}")

    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def signed(checkpoint: Checkpoint, key: SigningKey) -> bytes:
    """The checkpoint as a signed note; the signer is named by its key id."""
    text, name = checkpoint.text(), key.public.key_id
    signature = base64.b64encode(_key_hash(name, key.public) + key.sign(text.encode())).decode()
    return f"{text}\n\N{EM DASH} {name} {signature}\n".encode()


def read_signed(note: bytes, trusted: Mapping[str, PublicKey]) -> Checkpoint:
    """The checkpoint of a note that a trusted key has signed; raises `CheckpointError`.

    ``trusted`` maps key ids to keys. Signatures by others are let be, as in every signed note.
    """
    try:
        text, _, signatures = note.decode().rpartition("\n\n")
        origin, size, root, *more = text.split("\n")
        checkpoint = Checkpoint(origin, int(size), base64.b64decode(root, validate=True))
    except (UnicodeDecodeError, ValueError) as error:
        raise CheckpointError(f"is no signed checkpoint: {error}") from error
    if more or checkpoint.text() != text + "\n":
        raise CheckpointError("is no signed checkpoint: it is not written as one")
    lines = signatures.split("\n")
    if lines.pop() != "" or not any(_holds(line, checkpoint, trusted) for line in lines):
        raise SignerError(f"no valid signature by a trusted key: {_who(lines, trusted)}")
    return checkpoint


def _who(lines: Sequence[str], trusted: Mapping[str, PublicKey]) -> str:
    """Who is said to have signed, and why that is not believed."""
    names = [name for line in lines for name in line.split(" ")[1:2] if _KEY_ID.fullmatch(name)]
    why = [trusted[name].refused(None) for name in names if name in trusted and trusted[name].refused(None)]
    known = ", ".join(name for name, key in trusted.items() if not key.refused(None)) or "none"
    signers = ", ".join(names) or "nobody"
    return "; ".join([f"signed by {signers}, trusted: {known}", *why])


def _holds(line: str, checkpoint: Checkpoint, trusted: Mapping[str, PublicKey]) -> bool:
    mark, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    key = trusted.get(name)
    if mark != "\N{EM DASH}" or key is None or key.refused(None):
        return False
    try:
        content = base64.b64decode(encoded, validate=True)
        if content[:-_SIGNATURE_BYTES] != _key_hash(name, key):
            return False
        key.verify(content[-_SIGNATURE_BYTES:], checkpoint.text().encode())
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return base64.b64encode(content).decode() == encoded


def _key_hash(name: str, key: PublicKey) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + key.raw).digest()[:4]
