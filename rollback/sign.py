"""Who made a bundle: Ed25519 keys, and an in-toto statement over its files in a DSSE envelope.

Statement: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md; envelope and pre-authentication
encoding: https://github.com/secure-systems-lab/dsse. Tools for either can check an attestation without Tocsin.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from cryptography.exceptions import InvalidSignature

from rollback.keys import PublicKey, SigningKey

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://tocsin.dev/bundle/v1"


class SignatureError(Exception):
    """An envelope is malformed, altered, or signed by nobody who is trusted."""


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keyid: str
    sig: str


class _Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    payload: str
    signatures: tuple[_Signature, ...]
    payloadType: str = PAYLOAD_TYPE  # noqa: N815 - the specification's name


class Subject(msgspec.Struct, frozen=True):
    """A file that the statement is about."""

    name: str
    digest: dict[str, str]


class Statement(msgspec.Struct, frozen=True, rename={"type": "_type", "predicate_type": "predicateType"}, kw_only=True):
    """in-toto Statement v1: these files, byte for byte, are what ``predicate`` says."""

    type: Literal["https://in-toto.io/Statement/v1"] = STATEMENT_TYPE
    subject: tuple[Subject, ...]
    predicate_type: Literal["https://tocsin.dev/bundle/v1"] = PREDICATE_TYPE
    predicate: dict[str, Any] = {}


# made once, at import: msgspec may crash where two threads are the first to decode a type
_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_STATEMENT: Final = msgspec.json.Decoder(Statement)


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """What DSSE signs: type and payload with their lengths, so that neither can pass for the other.

    >>> pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def attest(digests: Mapping[str, str], predicate: Mapping[str, Any], key: SigningKey) -> bytes:
    """The signed envelope for files with these SHA-256 digests (hex), as the bytes of `attestation.json`."""
    subjects = tuple(Subject(name, {"sha256": digest}) for name, digest in sorted(digests.items()))
    payload = msgspec.json.encode(Statement(subject=subjects, predicate=dict(predicate)))
    signature = key.sign(pre_authentication_encoding(PAYLOAD_TYPE, payload))
    return _encode(_Envelope(_b64(payload), (_Signature(key.public.key_id, _b64(signature)),)))


def check_attestation(envelope: bytes, trusted: Mapping[str, PublicKey]) -> dict[str, str]:
    """The digests {file: SHA-256} that a trusted key has signed; raises `SignatureError`.

    ``trusted`` maps key ids to keys. Only the one way of writing that `attest` uses is accepted, so that no byte of
    the file can change unnoticed (base64 and JSON both allow several texts for the same content).
    """
    try:
        parsed = _ENVELOPE.decode(envelope)
        payload = base64.b64decode(parsed.payload, validate=True)
        signatures = {s.keyid: base64.b64decode(s.sig, validate=True) for s in parsed.signatures}
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error) as error:
        raise SignatureError(f"is no DSSE envelope: {error}") from error
    again = tuple(_Signature(keyid, _b64(sig)) for keyid, sig in signatures.items())
    if _encode(_Envelope(_b64(payload), again)) != envelope or parsed.payloadType != PAYLOAD_TYPE:
        raise SignatureError("was altered: it is not written as a signed envelope is")
    message = pre_authentication_encoding(PAYLOAD_TYPE, payload)
    if not any(_signed_by(trusted.get(keyid), signature, message) for keyid, signature in signatures.items()):
        known = ", ".join(trusted) or "none"
        signers = ", ".join(signatures) or "nobody"
        raise SignatureError(f"no valid signature by a trusted key: signed by {signers}, trusted: {known}")
    try:
        statement = _STATEMENT.decode(payload)
        return {subject.name: subject.digest["sha256"] for subject in statement.subject}
    except (msgspec.DecodeError, KeyError) as error:
        raise SignatureError(f"the signed statement is no bundle statement: {error!r}") from error


def _signed_by(key: PublicKey | None, signature: bytes, message: bytes) -> bool:
    if key is None:
        return False
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _encode(envelope: _Envelope) -> bytes:
    return msgspec.json.encode(envelope) + b"\n"


def _b64(content: bytes) -> str:
    return base64.b64encode(content).decode()
