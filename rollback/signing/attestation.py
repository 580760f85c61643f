"""Who made a bundle: an in-toto statement over its files, signed.

Statement: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md. Tools for it can check an attestation
without Tocsin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from rollback.signing.envelope import SignatureError, seal, unseal
from rollback.signing.keys import PublicKey, SigningKey

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://tocsin.dev/bundle/v1"


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
_STATEMENT: Final = msgspec.json.Decoder(Statement)


@dataclass(frozen=True, slots=True)
class Attested:
    """What was signed: the ``digests`` {file: SHA-256 in hexadecimal}, and by which key (its id)."""

    digests: Mapping[str, str]
    key_id: str


def attest(digests: Mapping[str, str], predicate: Mapping[str, Any], key: SigningKey) -> bytes:
    """The signed envelope for files with these SHA-256 digests (hex), as the bytes of `attestation.json`."""
    subjects = tuple(Subject(name, {"sha256": digest}) for name, digest in sorted(digests.items()))
    return seal(msgspec.json.encode(Statement(subject=subjects, predicate=dict(predicate))), PAYLOAD_TYPE, key)


def check_attestation(envelope: bytes, trusted: Mapping[str, PublicKey]) -> Attested:
    """What a trusted key has signed while it was valid; raises `SignatureError`.

    ``trusted`` maps key ids to keys. When it was signed is what the statement says: who has the key can say anything,
    which is why a revoked key is believed at no time.
    """
    try:
        payload, key = unseal(envelope, PAYLOAD_TYPE, trusted)
    except SignatureError as error:
        if trusted:
            raise
        raise SignatureError(f"{error}; give --trusted-key, or set signing.trusted_keys") from error
    try:
        statement = _STATEMENT.decode(payload)
        digests = {subject.name: subject.digest["sha256"] for subject in statement.subject}
        created = datetime.fromisoformat(statement.predicate["created_at"])
        why = key.refused(created)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise SignatureError(f"the signed statement is no bundle statement: {error!r}") from error
    if why:
        raise SignatureError(why)
    return Attested(digests, key.key_id)
