"""A model version: a folder of files that is written once, signed, and checked whenever it is read.

The content is read into memory once and checked there, so that what was verified is what is used.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from detectors.batch import Scorer
from detectors.schema import Schema
from rollback.canary.canaries import Canaries
from rollback.canary.choice import choose
from rollback.canary.noisy_copies import NoisyCopies
from rollback.durable import sync_folder, write_new
from rollback.limits import BundleLimits
from rollback.manifest import Draft, Manifest
from rollback.onnx.graph import NotOnnx, read_graph
from rollback.reference import ReferenceRows
from rollback.scorer import OnnxScorer, ScorerError
from rollback.signing.attestation import attest, check_attestation
from rollback.signing.envelope import SignatureError
from rollback.signing.keys import PublicKey, SigningKey

__all__ = [
    "Bundle",
    "IntegrityError",
    "ReferenceRows",
    "check_bundle",
    "read_bundle",
    "seal",
    "with_canaries",
    "write_bundle",
]

MANIFEST: Final = "manifest.json"
ATTESTATION: Final = "attestation.json"
MODEL: Final = "model.onnx"
REFERENCE: Final = "reference.npz"
CANARIES: Final = "canaries.npz"
KINDS: Final = (".json", ".onnx", ".npz", ".safetensors")
"""What a bundle's files may be: data that is read without running anything."""


# made once, at import: msgspec may crash where two threads are the first to decode a type
_MANIFEST: Final = msgspec.json.Decoder(Manifest)


class IntegrityError(Exception):
    """A bundle is not what was signed; the message names the file, and the digests expected and found."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified version. ``files`` holds every file's content, ``path`` its folder (None in memory).

    ``signed_by`` is the id of the key that signed it, empty where it is trusted without.
    """

    manifest: Manifest
    files: Mapping[str, bytes]
    path: Path | None = None
    signed_by: str = ""

    @property
    def digest(self) -> str:
        """The SHA-256 of the manifest, which names that of every other file."""
        return digest(self.files[MANIFEST])

    @property
    def schema(self) -> Schema:
        """The columns as detectors see them."""
        return self.manifest.schema

    def reference(self) -> ReferenceRows | None:
        """The trusted reference window; None where the version has none. Raises `IntegrityError`."""
        if REFERENCE not in self.files:
            return None
        try:
            rows = ReferenceRows.from_npz(self.files[REFERENCE])
        except ValueError as error:
            raise IntegrityError(f"{self.where(REFERENCE)}: {error}") from error
        width, classes = len(self.manifest.features), len(self.manifest.classes)
        if rows.x.shape[1] != width or (len(rows) and not -1 <= rows.y.min() <= rows.y.max() < classes):
            raise IntegrityError(f"{self.where(REFERENCE)}: does not fit {width} features and {classes} classes")
        if rows.served is not None and rows.served.shape[1] != classes:
            raise IntegrityError(f"{self.where(REFERENCE)}: its served scores do not fit {classes} classes")
        return rows

    def scorer(self, threads: int = 1) -> Scorer | None:
        """Scores x[n,d] with `model.onnx`; None where the version has no model. Raises `IntegrityError`."""
        if self.manifest.onnx is None:
            return None
        if MODEL not in self.files:
            raise IntegrityError(f"{self.where(MODEL)}: the manifest says how to feed it, but the file is missing")
        try:
            if objection := read_graph(self.files[MODEL]).objection():
                raise IntegrityError(f"{self.where(MODEL)}: {objection}")
            return OnnxScorer(self.files[MODEL], self.manifest, threads)
        except (NotOnnx, ScorerError) as error:
            raise IntegrityError(f"{self.where(MODEL)}: {error}") from error

    def canaries(self) -> Canaries | None:
        """Rows with this version's answers; None where the version has none. Raises `IntegrityError`."""
        if CANARIES not in self.files:
            return None
        try:
            return Canaries.from_npz(self.files[CANARIES], self.schema)
        except ValueError as error:
            raise IntegrityError(f"{self.where(CANARIES)}: {error}") from error

    def check_content(self) -> None:
        """Read everything that is used later: a signed file may still be no model, or not fit the manifest.

        Raises `IntegrityError`.
        """
        self.reference()
        self.canaries()
        self.scorer()

    def where(self, file: str) -> str:
        """The place of a file, for messages."""
        return str(self.path / file) if self.path else f"{self.manifest.name}/{self.manifest.version}/{file}"


def with_canaries(draft: Draft, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """``files`` of a version to be, with canaries where it has a model and a reference with rows."""
    bundle = Bundle(draft.manifest("", "", ""), files)
    scorer, reference = bundle.scorer(), bundle.reference()
    if scorer is None or reference is None or not len(reference):
        return dict(files)
    copies = NoisyCopies(files[MODEL], bundle.manifest)
    return {**files, CANARIES: choose(reference, bundle.schema, scorer, copies).to_npz()}


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def seal(manifest: Manifest, files: Mapping[str, bytes], key: SigningKey) -> dict[str, bytes]:
    """All files of a bundle: ``files``, the manifest with their digests, and the attestation over everything.

    Raises `ValueError` for a file name that no bundle can hold, and for a manifest that could not be read again (JSON
    has no NaN).
    """
    for name in files:
        if name in {MANIFEST, ATTESTATION} or name.startswith(".") or Path(name).name != name:
            raise ValueError(f"a bundle cannot hold a file of the name {name!r}")
        if Path(name).suffix not in KINDS:
            raise ValueError(f"a bundle cannot hold the file {name!r}: its files end in {', '.join(KINDS)}")
    named = msgspec.structs.replace(manifest, files={name: digest(content) for name, content in sorted(files.items())})
    text = msgspec.json.format(msgspec.json.encode(named), indent=2) + b"\n"
    try:
        _MANIFEST.decode(text)
    except msgspec.ValidationError as error:
        raise ValueError(f"the manifest of {manifest.name} could not be read again: {error}") from error
    subjects = {**named.files, MANIFEST: digest(text)}
    predicate = {"name": manifest.name, "version": manifest.version, "created_at": manifest.created_at}
    return {**files, MANIFEST: text, ATTESTATION: attest(subjects, predicate, key)}


def check_bundle(files: Mapping[str, bytes], trusted: Mapping[str, PublicKey], where: str) -> tuple[Manifest, str]:
    """The manifest and the signer's key id, after every check; ``where`` is the bundle's place.

    Checked are the signature, the digest of every file, that none is missing and that there is none besides. Raises
    `IntegrityError`.
    """
    if ATTESTATION not in files:
        raise IntegrityError(f"{where}/{ATTESTATION}: missing; the bundle is not signed")
    try:
        attested = check_attestation(files[ATTESTATION], trusted)
    except SignatureError as error:
        raise IntegrityError(f"{where}/{ATTESTATION}: {error}") from error
    signed = attested.digests
    _check_digests(files, signed, where)
    if extra := sorted(set(files) - set(signed) - {ATTESTATION}):
        raise IntegrityError(f"{where}/{extra[0]}: was added after signing; a bundle holds only what was signed")
    if MANIFEST not in signed:
        raise IntegrityError(f"{where}/{MANIFEST}: is not among the signed files")
    manifest = _read_manifest(files[MANIFEST], where)
    if manifest.files != {name: sha for name, sha in signed.items() if name != MANIFEST}:
        raise IntegrityError(f"{where}/{MANIFEST}: lists other files than were signed")
    return manifest, attested.key_id


def check_unsigned(files: Mapping[str, bytes], where: str) -> Manifest:
    """The manifest of a bundle whose signature is not looked at: that its files are those that it lists.

    Raises `IntegrityError`.
    """
    if MANIFEST not in files:
        raise IntegrityError(f"{where}/{MANIFEST}: missing; this is no bundle")
    manifest = _read_manifest(files[MANIFEST], where)
    _check_digests(files, manifest.files, where)
    if extra := sorted(set(files) - set(manifest.files) - {ATTESTATION, MANIFEST}):
        raise IntegrityError(f"{where}/{extra[0]}: is not in the manifest; a bundle holds only what that lists")
    return manifest


def _check_digests(files: Mapping[str, bytes], signed: Mapping[str, str], where: str) -> None:
    for name, expected in signed.items():
        if name not in files:
            raise IntegrityError(f"{where}/{name}: missing; it was signed with SHA-256 {expected}")
        found = digest(files[name])
        if found != expected:
            raise IntegrityError(
                f"{where}/{name}: changed since it was signed: SHA-256 is {found}, signed was {expected}"
            )


def _read_manifest(content: bytes, where: str) -> Manifest:
    try:
        return _MANIFEST.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{where}/{MANIFEST}: is no manifest of a bundle: {error}") from error


def read_bundle(folder: Path, trusted: Mapping[str, PublicKey], limits: BundleLimits | None = None) -> Bundle:
    """Read a folder into memory and check it. Raises `IntegrityError`, also for what is too large or cannot be read."""
    files = _read_files(folder, limits or BundleLimits())
    manifest, signer = check_bundle(files, trusted, str(folder))
    return Bundle(manifest, files, folder, signer)


def read_unsigned(folder: Path, limits: BundleLimits | None = None) -> Bundle:
    """`read_bundle` without a look at the signature: for a version that an operator has named. Same errors."""
    files = _read_files(folder, limits or BundleLimits())
    return Bundle(check_unsigned(files, str(folder)), files, folder)


def _read_files(folder: Path, limits: BundleLimits) -> dict[str, bytes]:
    files = {}
    try:
        entries = sorted(os.scandir(folder), key=lambda e: e.name)
        if len(entries) > limits.files:
            raise IntegrityError(f"{folder}: holds {len(entries)} files; a bundle has {limits.files} at most")
        for entry in entries:
            files[entry.name] = _read_plain(Path(entry.path), limits)
    except OSError as error:
        raise IntegrityError(f"{error.filename or folder}: cannot be read: {error.strerror}") from error
    return files


def _read_plain(path: Path, limits: BundleLimits) -> bytes:
    """A file's content; links are not followed, and what is no file or too large is not read at all."""
    if not stat.S_ISREG(path.lstat().st_mode):  # opening a pipe would wait for whoever writes to it
        raise IntegrityError(f"{path}: is no plain file; a bundle holds only what was signed")
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if objection := limits.objection(path.name, size):
            raise IntegrityError(f"{path}: {objection}")
        return file.read(size)


def write_bundle(
    folder: Path, manifest: Manifest, files: Mapping[str, bytes], key: SigningKey, blobs: Path | None = None
) -> Bundle:
    """Sign and write a bundle that appears at ``folder`` complete or not at all. Raises `FileExistsError`.

    ``manifest.files`` is filled in. The temporary folder lies beside ``folder``; its name starts with a dot. With a
    folder of ``blobs`` on the same file system, files of the same content are kept once, as hard links.
    """
    sealed = seal(manifest, files, key)
    if folder.exists():
        raise FileExistsError(f"{folder}: exists; a version is written once and never changed")
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    temporary.mkdir(parents=True)
    try:
        for name, content in sealed.items():
            if blobs is None or name in {MANIFEST, ATTESTATION} or not _linked(temporary / name, content, blobs):
                write_new(temporary / name, content)
        sync_folder(temporary)
        temporary.rename(folder)  # fails where another writer was faster: a folder with content is not replaced
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(folder.parent)
    return Bundle(_MANIFEST.decode(sealed[MANIFEST]), sealed, folder, key.public.key_id)


def _linked(path: Path, content: bytes, blobs: Path) -> bool:
    """Whether ``path`` is a hard link to the blob of this content now; a blob that was changed is let be."""
    blob = blobs / digest(content)
    try:
        if not blob.exists():
            blobs.mkdir(exist_ok=True)
            temporary = blob.with_name(f".{secrets.token_hex(4)}")
            write_new(temporary, content)
            temporary.rename(blob)
            sync_folder(blobs)
        elif blob.read_bytes() != content:
            return False
        path.hardlink_to(blob)
    except OSError:  # a file system without links, or a full one: then writing says so
        return False
    return True
