"""Ed25519 keys: one to sign bundles with, any number to trust; those of a configuration: `trust_list`.

Trial keys are made beside a registry on first use (`.keys/`): they show that nothing has changed by accident, but who
can write to the registry can replace them. In production, give the public keys from elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

TRIAL_FOLDER: Final = ".keys"


class KeyFileError(Exception):
    """A key file is missing, unreadable, open to others, or holds no Ed25519 key."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that signatures are checked with; ``key_id`` is the start of the SHA-256 of its 32 bytes.

    What it signed before ``valid_from`` or after ``valid_until`` is not believed, and nothing where it was ``revoked``
    (which says when, by whom and why).
    """

    raw: bytes
    name: str = field(default="", compare=False)
    valid_from: datetime | None = field(default=None, compare=False)
    valid_until: datetime | None = field(default=None, compare=False)
    revoked: str = field(default="", compare=False)

    @property
    def key_id(self) -> str:
        """16 hexadecimal digits."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    @property
    def public(self) -> Ed25519PublicKey:
        """As the library has it."""
        return Ed25519PublicKey.from_public_bytes(self.raw)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Raises `cryptography.exceptions.InvalidSignature`."""
        self.public.verify(signature, message)

    def refused(self, signed: datetime | None) -> str:
        """Why what it has signed then (None: some time) is not believed; empty where it is."""
        if self.revoked:
            return f"key {self.key_id} was revoked {self.revoked}"
        if signed is not None and self.valid_from is not None and signed < self.valid_from:
            return f"key {self.key_id} is valid from {self.valid_from.isoformat()}, and this is of {signed.isoformat()}"
        if signed is not None and self.valid_until is not None and signed > self.valid_until:
            return f"key {self.key_id} expired on {self.valid_until.isoformat()}, and this is of {signed.isoformat()}"
        return ""

    def pem(self) -> bytes:
        """As a PEM file (SubjectPublicKeyInfo)."""
        return self.public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key. It never shows itself in a message."""

    private: Ed25519PrivateKey = field(repr=False)

    @property
    def public(self) -> PublicKey:
        """The key that checks what this one signs."""
        raw = self.private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return PublicKey(raw)

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of an Ed25519 signature."""
        return self.private.sign(message)

    def pem(self) -> bytes:
        """As a PEM file (PKCS 8, not encrypted)."""
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


@dataclass(frozen=True, slots=True)
class Keys:
    """What a registry signs with (None: it only reads) and whom it trusts, by key id."""

    trusted: Mapping[str, PublicKey]
    signing: SigningKey | None = None

    @staticmethod
    def of(signing: SigningKey) -> Keys:
        """Sign with a key and trust only that one."""
        return Keys({signing.public.key_id: signing.public}, signing)

    @staticmethod
    def trial(registry: Path, *, make: bool = False) -> Keys:
        """The trial keys beside a registry. ``make`` allows signing, and makes the key pair on first use.

        Raises `KeyFileError`.
        """
        folder = registry / TRIAL_FOLDER
        if make:
            _make_pair(folder)
        public = [read_public_key(path) for path in sorted(folder.glob("*.pub.pem"))]
        signing = read_signing_key(folder / "signing.pem") if make else None
        if signing is not None and signing.public not in public:
            raise KeyFileError(f"{folder}: signing.pub.pem does not belong to signing.pem; one of them was replaced")
        return Keys({key.key_id: key for key in public}, signing)


def new_signing_key() -> SigningKey:
    """A fresh key from the operating system's randomness."""
    return SigningKey(Ed25519PrivateKey.generate())


def read_signing_key(path: Path) -> SigningKey:
    """A private key file, which others must not be able to read. Raises `KeyFileError`."""
    content = _read(path)
    if stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO:
        raise KeyFileError(f"{path}: everyone may read this private key; chmod 600 it (Kubernetes: defaultMode: 0440)")
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path}: is no unencrypted private key in PEM form: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path}: is no Ed25519 key; make one with: openssl genpkey -algorithm ed25519")
    return SigningKey(key)


def read_public_key(path: Path) -> PublicKey:
    """A public key file. Raises `KeyFileError`."""
    try:
        key = serialization.load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path}: is no public key in PEM form: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(f"{path}: is no Ed25519 key; make one with: openssl pkey -in signing.pem -pubout")
    return PublicKey(key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror}") from error


def _make_pair(folder: Path) -> None:
    """Both files appear complete or not at all; of several processes at once, one makes the key for all."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (folder / "signing.pem").exists():
        place(folder / "signing.pem", new_signing_key().pem(), mode=0o600)
    if not (folder / "signing.pub.pem").exists():
        place(folder / "signing.pub.pem", read_signing_key(folder / "signing.pem").public.pem(), mode=0o644)


def place(path: Path, content: bytes, mode: int) -> None:
    """Write a file of this mode unless there is one; it appears complete or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)
    except FileExistsError:  # another process was faster: its key counts
        return
    finally:
        temporary.unlink()
