"""Signatures of OpenSSF model-signing (https://github.com/sigstore/model-transparency): taken on the way in, given out.

With a key of an elliptic curve (NIST P-256 and larger), offline. The package is an extra:
`pip install "tocsin[openssf]"`.
"""

from __future__ import annotations

from pathlib import Path


class OpenssfError(Exception):
    """A model cannot be signed, or is not what was signed; the message says which and why."""


def sign(model: Path, signature: Path, key: Path) -> None:
    """Sign a file or a folder with a private key (PEM), and write the signature. Raises `OpenssfError`."""
    try:
        from model_signing import signing  # noqa: PLC0415 - an extra, which most do without
    except ImportError as error:
        raise OpenssfError(_missing(error)) from error
    try:
        config = signing.Config()  # type: ignore[no-untyped-call]  # the library's own lack
        config.use_elliptic_key_signer(private_key=key).sign(model, signature)
    except (OSError, ValueError, TypeError) as error:
        raise OpenssfError(f"{model}: cannot be signed with {key}: {error}") from error


def check(model: Path, signature: Path, key: Path) -> None:
    """Check a file or a folder against its signature with a public key (PEM). Raises `OpenssfError`."""
    try:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - beside what may be missing
        from model_signing import verifying  # noqa: PLC0415 - an extra, which most do without
    except ImportError as error:
        raise OpenssfError(_missing(error)) from error
    try:
        config = verifying.Config()  # type: ignore[no-untyped-call]  # likewise
        config.use_elliptic_key_verifier(public_key=key).verify(model, signature)
    except (OSError, ValueError, TypeError, KeyError, InvalidSignature) as error:
        why = str(error) or type(error).__name__
        raise OpenssfError(f"{model}: is not what {signature} was made for, by {key}: {why}") from error


def _missing(error: ImportError) -> str:
    return f'{error}: signatures of OpenSSF model-signing need an extra: pip install "tocsin[openssf]"'
