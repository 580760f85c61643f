"""Keys that are made, trusted for a time, and revoked: what they sign is believed accordingly."""

from __future__ import annotations

import json
import stat
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]  # it lists none

from monitor.cli.main import main
from rollback.signing.attestation import attest, check_attestation
from rollback.signing.envelope import SignatureError, seal, unseal
from rollback.signing.keys import KeyFileError, PublicKey, SigningKey, new_signing_key
from rollback.signing.trust_list import (
    TrustedKey,
    TrustList,
    added,
    keys_from_files,
    read_trust_list,
    revoked,
    write_trust_list,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
KEY = new_signing_key()


def entry(key: SigningKey = KEY, **more: datetime | str | None) -> TrustedKey:
    return TrustedKey(key_id=key.public.key_id, public=key.public.raw.hex(), **more)  # type: ignore[arg-type]  # fields


def signed_at(created: datetime, key: SigningKey = KEY) -> bytes:
    return attest({"model.onnx": "00"}, {"created_at": created.isoformat()}, key)


def trusted(*entries: TrustedKey) -> dict[str, PublicKey]:
    return {each.key_id: each.key() for each in entries}


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as over:
        main(list(arguments), {})
    return int(over.value.code or 0)


def test_what_is_sealed_is_read_by_another_reader_of_dsse() -> None:
    found = Envelope.from_dict(json.loads(seal(b"payload", "text/plain", KEY)))
    key = SSlibKey.from_crypto(KEY.public.public, keyid=KEY.public.key_id)
    assert (found.payload, list(found.verify([key], 1))) == (b"payload", [KEY.public.key_id])


@given(st.binary(max_size=200))
def test_garbage_is_no_envelope(garbage: bytes) -> None:
    with pytest.raises(SignatureError, match="is no DSSE envelope"):
        unseal(garbage, "text/plain", trusted(entry()))


@pytest.mark.parametrize(
    "other",
    [
        {"payload": 1, "payloadType": "t", "signatures": []},
        {"payload": "AA==", "payloadType": "t", "signatures": {"a": 1}},
        {"payload": "AA==", "payloadType": "t", "signatures": [{"keyid": 3, "sig": "AA=="}]},
        {"payload": "AA==", "payloadType": "t", "signatures": [{"keyid": "a", "sig": None}]},
        {"payload": "AA==", "payloadType": "t", "signatures": [1]},
        {"payload": "AA==", "payloadType": ["t"], "signatures": []},
        {"payload": "AA==", "payloadType": "t", "signatures": [{"keyid": "a", "sig": ""}, {"keyid": "a", "sig": ""}]},
    ],
)
def test_json_of_another_shape_is_refused(other: dict[str, object]) -> None:
    with pytest.raises(SignatureError):
        unseal(msgspec.json.encode(other) + b"\n", "t", trusted(entry()))


def test_an_envelope_for_another_purpose_is_refused_and_so_is_one_that_nobody_trusted_has_signed() -> None:
    with pytest.raises(SignatureError, match="was altered"):
        unseal(seal(b"x", "application/answer", KEY), "application/bundle", trusted(entry()))
    stranger = new_signing_key()
    said = f"signed by {stranger.public.key_id}, trusted: {KEY.public.key_id}"
    with pytest.raises(SignatureError, match=said):
        unseal(seal(b"x", "t", stranger), "t", trusted(entry()))
    changed = seal(b"x", "t", KEY).replace(b64encode(b"x"), b64encode(b"y"))
    with pytest.raises(SignatureError, match="the content was changed since it was signed"):
        unseal(changed, "t", trusted(entry()))
    with pytest.raises(SignatureError, match="trusted: none"):
        unseal(seal(b"x", "t", stranger), "t", {})


def test_a_key_is_believed_about_what_it_signed_while_it_was_valid() -> None:
    known = trusted(entry(valid_from=NOW - DAY, valid_until=NOW + DAY))
    assert check_attestation(signed_at(NOW), known).key_id == KEY.public.key_id
    with pytest.raises(SignatureError, match="is valid from 2026-11-21T12:00:00"):
        check_attestation(signed_at(NOW - 2 * DAY), known)
    with pytest.raises(SignatureError, match="expired on 2026-11-23T12:00:00"):
        check_attestation(signed_at(NOW + 2 * DAY), known)


@given(st.integers(-1000, 1000))
def test_a_revoked_key_is_believed_at_no_time(days: int) -> None:
    gone = entry(revoked_at=NOW, revoked_by="ann", reason="laptop stolen")
    with pytest.raises(SignatureError, match=r"was revoked 2026-11-22T12:00:00\+00:00 by ann: laptop stolen"):
        check_attestation(signed_at(NOW + days * DAY), trusted(gone))


@pytest.mark.parametrize("predicate", [{}, {"created_at": 3}, {"created_at": "yesterday"}])
def test_a_statement_that_does_not_say_when_is_refused(predicate: dict[str, object]) -> None:
    with pytest.raises(SignatureError, match="is no bundle statement"):
        check_attestation(attest({}, predicate, KEY), trusted(entry(valid_from=NOW)))


def test_a_list_holds_keys_until_they_are_revoked_and_they_do_not_come_back(tmp_path: Path) -> None:
    file, other = tmp_path / "trust.json", new_signing_key()
    entries = added(added(TrustList(), entry(name="soc", valid_until=NOW + DAY)), entry(other))
    gone = revoked(entries, KEY.public.key_id[:6], NOW, "ann", "stolen")
    write_trust_list(file, gone)
    assert read_trust_list(file) == gone
    assert [each.state(NOW + 2 * DAY) for each in gone.keys] == ["revoked", "valid"]
    assert [each.state(NOW + 2 * DAY) for each in entries.keys] == ["expired", "valid"]
    with pytest.raises(KeyFileError, match="a revoked key does not come back"):
        added(gone, entry())
    with pytest.raises(KeyFileError, match="was revoked 2026-11-22"):
        revoked(gone, KEY.public.key_id, NOW, "bob", "again")
    with pytest.raises(KeyFileError, match="names no single key; there are: "):
        revoked(gone, "", NOW, "bob", "all of them")
    keys = keys_from_files([file])
    assert (list(keys.trusted), keys.signing) == ([KEY.public.key_id, other.public.key_id], None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "is no list of trusted keys"),
        ('{"keys": [{"key_id": "0", "public": "zz"}]}', "non-hexadecimal"),
        ('{"keys": [{"key_id": "0", "public": "00"}]}', "has 32 bytes, not 1"),
        ('{"keys": [{"key_id": "0", "public": "%s"}]}' % ("00" * 32), "is not that of its public half"),
        ('{"keys": [{"key_id": "a"}]}', "missing required field `public`"),
        ('{"keys": [], "more": 1}', "unknown field `more`"),
    ],
)
def test_a_file_that_is_no_such_list_is_named_with_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "trust.json"
    file.write_text(text)
    with pytest.raises(KeyFileError, match=rf"trust\.json.*{said}"):
        read_trust_list(file)


def test_times_without_a_zone_or_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="every time needs a zone"):
        entry(valid_from=NOW.replace(tzinfo=None))
    with pytest.raises(ValueError, match="valid_until must be after valid_from"):
        entry(valid_from=NOW, valid_until=NOW)
    with pytest.raises(ValueError, match="is there twice"):
        TrustList((entry(), entry()))


def test_the_commands_make_list_and_revoke_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, trust = tmp_path / "keys", tmp_path / "keys" / "trust.json"
    assert (
        run("keys", "generate", "--out", str(out), "--name", "a", "--trust", str(trust), "--days", "30", "--json") == 0
    )
    made = json.loads(capsys.readouterr().out)
    assert stat.S_IMODE((out / "a.pem").stat().st_mode) == 0o600
    assert keys_from_files([trust], out / "a.pem").signing is not None
    assert run("keys", "generate", "--out", str(out), "--name", "a") == 1
    assert "a key is never overwritten" in capsys.readouterr().err
    assert run("keys", "generate", "--out", str(out), "--name", "b") == 0
    assert run("keys", "trust", str(out / "b.pub.pem"), "--trust", str(trust), "--name", "ML team") == 0
    assert run("keys", "revoke", made["key_id"][:8], "--trust", str(trust), "--reason", "test", "--by", "ann") == 0
    assert "1 of 2 keys are revoked" in capsys.readouterr().out
    assert run("keys", "list", "--trust", str(trust), "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["state"]) for row in listed] == [("a", "revoked"), ("ML team", "valid")]
    assert listed[1]["until"] is None
    assert run("keys", "list") == 2
