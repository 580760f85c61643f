"""A signed checkpoint says what was signed, and no byte of it can change unnoticed."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from rollback.audit.checkpoint import Checkpoint, CheckpointError, read_signed, signed
from rollback.signing.keys import SigningKey

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
TRUSTED = {KEY.public.key_id: KEY.public}
CHECKPOINT = Checkpoint("audit of nids", 17, hashlib.sha256(b"root").digest())


def test_what_was_signed_is_read_back() -> None:
    assert read_signed(signed(CHECKPOINT, KEY), TRUSTED) == CHECKPOINT


def test_the_note_is_one_that_other_tools_can_check() -> None:
    text, _, line = signed(CHECKPOINT, KEY).decode().rpartition("\n\n")
    mark, name, encoded = line.rstrip("\n").split(" ")
    content = base64.b64decode(encoded)
    assert (mark, name) == ("—", KEY.public.key_id)
    assert content[:4] == hashlib.sha256(name.encode() + b"\n\x01" + KEY.public.raw).digest()[:4]
    Ed25519PublicKey.from_public_bytes(KEY.public.raw).verify(content[4:], (text + "\n").encode())


@given(st.data())
def test_no_byte_can_change(data: st.DataObject) -> None:
    note = bytearray(signed(CHECKPOINT, KEY))
    at = data.draw(st.integers(0, len(note) - 1))
    note[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CheckpointError):
        read_signed(bytes(note), TRUSTED)


@pytest.mark.parametrize(
    ("note", "why"),
    [
        (b"", "is no signed checkpoint"),
        (b"\xff", "is no signed checkpoint"),
        (b"a\n-1\n" + base64.b64encode(bytes(32)) + b"\n\n", "a size of 0 or more"),
        (b"a\n1\nAAAA\n\n", "a root of 32 bytes"),
        (signed(CHECKPOINT, OTHER), "no valid signature by a trusted key"),
        (CHECKPOINT.text().encode() + b"\n", "no valid signature by a trusted key"),
    ],
)
def test_what_is_not_signed_by_a_trusted_key_is_refused(note: bytes, why: str) -> None:
    with pytest.raises(CheckpointError, match=why):
        read_signed(note, TRUSTED)


def test_signatures_of_others_beside_a_trusted_one_do_no_harm() -> None:
    line = signed(CHECKPOINT, OTHER).rpartition(b"\n\n")[2]
    assert read_signed(signed(CHECKPOINT, KEY) + line, TRUSTED) == CHECKPOINT


@pytest.mark.parametrize("origin", ["", "a\nb"])
def test_the_name_of_a_log_is_one_line(origin: str) -> None:
    with pytest.raises(ValueError, match="is one line"):
        Checkpoint(origin, 0, bytes(32))
