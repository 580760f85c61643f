"""A bundle is written once, and any changed byte in it is found and named."""

from __future__ import annotations

import io
import stat
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollback.bundle import Bundle, IntegrityError, check_bundle, read_bundle, seal, write_bundle
from rollback.manifest import Draft, FeatureSpec, Manifest
from rollback.reference import ReferenceRows
from rollback.signing.keys import KeyFileError, Keys, new_signing_key, read_public_key, read_signing_key

KEY = new_signing_key()
TRUSTED = Keys.of(KEY).trusted


def reference() -> ReferenceRows:
    return ReferenceRows(
        x=np.array([[1.0, np.nan], [-1.0, 0.0]]),
        y=np.array([0, -1]),
        source=np.array(["s1", "-"]),
        session=np.array(["", "a"]),
    )


def manifest() -> Manifest:
    features = (FeatureSpec("bytes"), FeatureSpec("proto", "categorical", ("tcp", "udp"), missing=None))
    return Draft(classes=("benign", "attack"), features=features).manifest("nids", "1", "2024-01-01T00:00:00+00:00")


@lru_cache
def sealed() -> dict[str, bytes]:
    return seal(manifest(), {"reference.npz": reference().to_npz(), "weights.safetensors": b"\x00\x01\x02"}, KEY)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_bundle(tmp_path / "1", manifest(), {"reference.npz": reference().to_npz()}, KEY)
    bundle = read_bundle(tmp_path / "1", TRUSTED)
    rows = bundle.reference()
    assert rows is not None
    np.testing.assert_array_equal(rows.x, reference().x)
    assert rows.y.tolist() == [0, -1]
    assert rows.source.tolist() == ["s1", "-"]
    assert bundle.schema == manifest().schema
    assert bundle.scorer() is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1"]


def test_a_version_is_never_overwritten(tmp_path: Path) -> None:
    write_bundle(tmp_path / "1", manifest(), {}, KEY)
    before = (tmp_path / "1" / "manifest.json").read_bytes()
    with pytest.raises(FileExistsError, match="a version is written once"):
        write_bundle(tmp_path / "1", manifest(), {"reference.npz": b"other"}, KEY)
    assert (tmp_path / "1" / "manifest.json").read_bytes() == before


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_changed_byte_in_any_file_is_found(data: st.DataObject) -> None:
    files = dict(sealed())
    name = data.draw(st.sampled_from(sorted(files)))
    position = data.draw(st.integers(0, len(files[name]) - 1))
    changed = bytearray(files[name])
    changed[position] ^= data.draw(st.integers(1, 255))
    files[name] = bytes(changed)
    with pytest.raises(IntegrityError, match=f"^nids/1/{name}: "):
        check_bundle(files, TRUSTED, "nids/1")


def test_every_bit_of_the_attestation_counts() -> None:
    files = sealed()
    envelope = files["attestation.json"]
    for position in range(len(envelope)):
        for bit in range(8):
            changed = bytearray(envelope)
            changed[position] ^= 1 << bit
            with pytest.raises(IntegrityError):
                check_bundle({**files, "attestation.json": bytes(changed)}, TRUSTED, "nids/1")


def test_a_changed_file_is_named_with_both_digests(tmp_path: Path) -> None:
    write_bundle(tmp_path / "1", manifest(), {"weights.safetensors": b"abc"}, KEY)
    (tmp_path / "1" / "weights.safetensors").write_bytes(b"abd")
    with pytest.raises(
        IntegrityError, match=r"weights.safetensors: changed .* SHA-256 is a52d159f.*, signed was ba7816bf"
    ):
        read_bundle(tmp_path / "1", TRUSTED)


def test_files_that_are_missing_or_added_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "1"
    write_bundle(folder, manifest(), {"weights.safetensors": b"abc"}, KEY)
    (folder / "extra.bin").write_bytes(b"")
    with pytest.raises(IntegrityError, match=r"extra.bin: was added after signing"):
        read_bundle(folder, TRUSTED)
    (folder / "extra.bin").rename(tmp_path / "elsewhere")
    (folder / "weights.safetensors").rename(tmp_path / "weights")
    with pytest.raises(IntegrityError, match=r"weights.safetensors: missing"):
        read_bundle(folder, TRUSTED)
    (folder / "weights.safetensors").symlink_to(tmp_path / "weights")
    with pytest.raises(IntegrityError, match=r"weights.safetensors: is no plain file"):
        read_bundle(folder, TRUSTED)
    with pytest.raises(IntegrityError, match=r"nothing: cannot be read: No such file"):
        read_bundle(tmp_path / "nothing", TRUSTED)


def test_a_signature_by_another_key_is_not_believed() -> None:
    other = seal(manifest(), {}, new_signing_key())
    with pytest.raises(IntegrityError, match="no valid signature by a trusted key"):
        check_bundle(other, TRUSTED, "nids/1")
    unsigned = {name: content for name, content in sealed().items() if name != "attestation.json"}
    with pytest.raises(IntegrityError, match="the bundle is not signed"):
        check_bundle(unsigned, TRUSTED, "nids/1")


def test_an_attestation_of_another_bundle_does_not_fit() -> None:
    other = seal(manifest(), {"weights.safetensors": b"other"}, KEY)
    with pytest.raises(IntegrityError, match=r"manifest.json: changed since it was signed"):
        check_bundle({**sealed(), "attestation.json": other["attestation.json"]}, TRUSTED, "nids/1")


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "manifest.json", "attestation.json"])
def test_a_bundle_holds_no_file_of_a_dangerous_name(name: str) -> None:
    with pytest.raises(ValueError, match="cannot hold a file of the name"):
        seal(manifest(), {name: b""}, KEY)


def test_a_reference_with_objects_is_not_loaded() -> None:
    archive = io.BytesIO()
    odd = np.array([{"a": 1}], dtype=object)
    np.savez(archive, x=odd, y=np.zeros(1), source=np.array(["-"]), session=np.array([""]))
    bundle = Bundle(manifest(), {"reference.npz": archive.getvalue()})
    with pytest.raises(IntegrityError, match=r"nids/1/reference.npz: x: holds objects"):
        bundle.reference()


def test_the_same_reference_gives_the_same_bytes() -> None:
    assert reference().to_npz() == reference().to_npz()


def test_trial_keys_are_made_once_and_are_private(tmp_path: Path) -> None:
    first = Keys.trial(tmp_path, make=True)
    again = Keys.trial(tmp_path, make=True)
    assert first.signing is not None
    assert again.signing is not None
    assert first.signing.public == again.signing.public
    assert stat.S_IMODE((tmp_path / ".keys" / "signing.pem").stat().st_mode) == 0o600
    reader = Keys.trial(tmp_path)
    assert reader.signing is None
    assert reader.trusted == first.trusted
    assert len(first.signing.public.key_id) == 16


def test_looking_makes_no_keys(tmp_path: Path) -> None:
    assert Keys.trial(tmp_path / "registry").trusted == {}
    assert not (tmp_path / "registry").exists()


def test_a_private_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(KEY.pem())
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="everyone may read this private key; chmod 600"):
        read_signing_key(path)
    path.chmod(0o600)
    assert read_signing_key(path).public == KEY.public


def test_key_files_that_hold_no_key_are_named(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    with pytest.raises(KeyFileError, match=r"key.pem: cannot be read: No such file"):
        read_public_key(path)
    path.write_text("hello")
    with pytest.raises(KeyFileError, match=r"key.pem: is no public key"):
        read_public_key(path)
    path.write_bytes(KEY.public.pem())
    assert read_public_key(path) == KEY.public


def test_a_signing_key_does_not_show_itself() -> None:
    assert "private" not in repr(KEY)


def test_a_manifest_that_could_not_be_read_again_is_never_written(tmp_path: Path) -> None:
    manifest = Draft(classes=("a", "b"), features=(), metrics={"auc": float("nan")}).manifest("nids", "1", "now")
    with pytest.raises(ValueError, match="the manifest of nids could not be read again"):
        write_bundle(tmp_path / "1", manifest, {}, new_signing_key())
    assert list(tmp_path.iterdir()) == []
