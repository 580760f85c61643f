"""Signed messages: a payload in a DSSE envelope, signed with Ed25519.

Envelope and pre-authentication encoding: https://github.com/secure-systems-lab/dsse; tools for it can check one without
Tocsin.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import FormatError, VerificationError
from securesystemslib.signer import CryptoSigner, Key, SSlibKey  # type: ignore[attr-defined]  # it lists none

from rollback.signing.keys import PublicKey, SigningKey

# made once, at import: msgspec may crash where two threads are the first to decode a type
_JSON: Final = msgspec.json.Decoder(dict[str, Any])


class SignatureError(Exception):
    """An envelope is malformed, altered, or signed by nobody who is trusted."""


def seal(payload: bytes, payload_type: str, key: SigningKey) -> bytes:
    """The signed envelope, one line of JSON; the signer is named by its key id."""
    envelope = Envelope(payload, payload_type, {})
    envelope.sign(CryptoSigner(key.private, _named(key.public)))
    return _encode(envelope)


def unseal(envelope: bytes, payload_type: str, trusted: Mapping[str, PublicKey]) -> tuple[bytes, PublicKey]:
    """The payload, and the key among ``trusted`` (by key id) that has signed it; raises `SignatureError`.

    Only the one way of writing that `seal` uses is accepted, so that no byte of the file can change unnoticed (base64
    and JSON both allow several texts for the same content).
    """
    try:
        found = Envelope.from_dict(_JSON.decode(envelope))
        again = _encode(found)
    except (msgspec.DecodeError, UnicodeError, binascii.Error, FormatError) as error:
        raise SignatureError(f"is no DSSE envelope: {error}") from error
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ) as error:  # what the library makes of other JSON
        raise SignatureError(f"is no DSSE envelope: {error!r}") from error
    if again != envelope or found.payload_type != payload_type:
        raise SignatureError("was altered: it is not written as a signed envelope is")
    keys: list[Key] = [_named(key) for key in trusted.values()]
    try:
        (signer,) = found.verify(keys, 1)
    except (VerificationError, ValueError) as error:
        if trusted.keys() & found.signatures.keys():
            why = "no valid signature by a trusted key: the content was changed since it was signed"
            raise SignatureError(why) from error
        signers, known = ", ".join(found.signatures) or "nobody", ", ".join(trusted) or "none"
        raise SignatureError(f"no valid signature by a trusted key: signed by {signers}, trusted: {known}") from error
    return found.payload, trusted[signer]


def _named(key: PublicKey) -> SSlibKey:
    return SSlibKey.from_crypto(key.public, keyid=key.key_id)


def _encode(envelope: Envelope) -> bytes:
    found = envelope.to_dict()
    return msgspec.json.encode({name: found[name] for name in ("payload", "signatures", "payloadType")}) + b"\n"
