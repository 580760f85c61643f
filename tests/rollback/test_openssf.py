"""Signatures of OpenSSF model-signing: given out for a version, and taken for a model of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from scenario import NAME, World
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from monitor.cli.main import main
from rollback.signing.openssf import OpenssfError, check, sign
from rollback.tables.table import write_table


def key_pair(folder: Path, name: str = "ec") -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, spki))
    return private, public


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as over:
        main(["registry", *arguments], {})
    captured = capsys.readouterr()
    return int(over.value.code or 0), captured.out + captured.err


def test_an_exported_version_verifies_and_any_change_is_found(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private, public = key_pair(tmp_path)
    out, root = tmp_path / "nids-1", world.root / "registry"
    place = [f"--registry={root}", f"--name={NAME}", "--version=1", f"--out={out}"]
    code, said = run(capsys, "export", *place, f"--openssf-key={private}", "--json")
    assert code == 0
    assert json.loads(said)["signature"] == f"{out}.sig"
    assert {path.name: path.read_bytes() for path in out.iterdir()} == dict(world.registry.load("1").files)
    check(out, Path(f"{out}.sig"), public)
    assert run(capsys, "export", *place)[0] == 1
    (out / "model.onnx").write_bytes((out / "model.onnx").read_bytes()[:-1] + b"!")
    with pytest.raises(OpenssfError, match="is not what"):
        check(out, Path(f"{out}.sig"), public)


def test_a_model_is_added_only_as_it_was_signed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private, public = key_pair(tmp_path)
    onnx, signature, root = tmp_path / "own.onnx", tmp_path / "own.sig", tmp_path / "registry"
    x = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    label = np.where(x[:, 0] > 0, "attack", "benign")
    onnx.write_bytes(to_onnx(LogisticRegression().fit(x, label), x[:1]).SerializeToString())
    sign(onnx, signature, private)
    table = tmp_path / "rows.csv"
    write_table(table, {"a": x[:, 0], "b": x[:, 1], "label": label})
    given = [f"--registry={root}", "--name=own", f"--onnx={onnx}", f"--reference={table}", "--label=label"]
    code, said = run(capsys, "add", *given, f"--openssf-signature={signature}")
    assert (code, "give --onnx, --openssf-signature and --openssf-key" in said) == (2, True), said
    _, stranger = key_pair(tmp_path, "other")
    code, said = run(capsys, "add", *given, f"--openssf-signature={signature}", f"--openssf-key={stranger}")
    assert (code, "is not what" in said) == (1, True), said
    assert not (root / "own").exists()
    code, said = run(capsys, "add", *given, f"--openssf-signature={signature}", f"--openssf-key={public}")
    assert code == 0, said


@pytest.mark.parametrize("content", [b"", b"{}", b"no signature", b"\xff\xfe"])
def test_garbage_is_no_signature(tmp_path: Path, content: bytes) -> None:
    _, public = key_pair(tmp_path)
    (tmp_path / "m").write_bytes(b"x")
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(OpenssfError, match="is not what"):
        check(tmp_path / "m", tmp_path / "s", public)


def test_a_key_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"x")
    (tmp_path / "k").write_bytes(b"no key")
    with pytest.raises(OpenssfError, match="cannot be signed with"):
        sign(tmp_path / "m", tmp_path / "s", tmp_path / "k")
