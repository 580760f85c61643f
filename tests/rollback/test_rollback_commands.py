"""`tocsin registry`, `score` and `audit` as a person types them."""

from __future__ import annotations

import csv
import json
import stat
import warnings
from pathlib import Path

import numpy as np
import pytest
from in_process import Run
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression

from rollback.audit.log import AuditError, AuditLog
from rollback.audit.merkle import check_consistency, check_inclusion, leaf
from rollback.audit.verification import verify
from rollback.signing.keys import Keys


@pytest.fixture
def model(tmp_path: Path) -> tuple[Path, Path, LogisticRegression]:
    """Reference, ONNX file and the model itself: two features, two classes."""
    rng = np.random.default_rng(5)
    y = rng.integers(0, 2, 200)
    x = (rng.normal(size=(200, 2)) + 2.0 * y[:, None]).astype(np.float32)
    names = np.array(["attack", "benign"])[y]
    reference = tmp_path / "flows.csv"
    rows = [
        f"{float(a)!r},{float(b)!r},{c},fw{i % 3},{i // 4:03}"
        for i, ((a, b), c) in enumerate(zip(x, names, strict=True))
    ]
    reference.write_text("\n".join(["bytes,packets,class,sensor,host", *rows]) + "\n")
    fitted = LogisticRegression().fit(x, names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = to_onnx(fitted, initial_types=[("x", FloatTensorType([None, 2]))])
    onnx = tmp_path / "nids.onnx"
    onnx.write_bytes(exported.SerializeToString())
    return reference, onnx, fitted


def test_a_model_is_added_promoted_scored_and_rolled_back(
    run: Run, tmp_path: Path, model: tuple[Path, Path, LogisticRegression]
) -> None:
    reference, onnx, fitted = model
    registry = ("--registry", tmp_path / "registry", "--name", "nids")
    rows = ("--reference", reference, "--label", "class", "--source", "sensor", "--session", "host")
    code, out, err = run("registry", "add", *registry, "--onnx", onnx, *rows, "--buffer", reference, "--json")
    assert (code, err) == (0, "")
    added = json.loads(out)
    assert (added["version"], added["classes"], added["serving"], added["assumed"]) == (
        "1",
        ["attack", "benign"],
        "1",
        True,
    )
    assert stat.S_IMODE((tmp_path / "registry" / ".keys" / "signing.pem").stat().st_mode) == 0o600
    assert run("registry", "add", *registry, "--onnx", onnx, *rows, "--parent", "1", "--version", "rc.1")[0] == 0
    assert run("registry", "promote", *registry, "--version", "rc.1", "--by", "ann", "--reason", "why")[0] == 0
    listed = json.loads(run("registry", "list", *registry, "--json")[1])
    assert [(v["version"], v["serving"], v["last_known_good"]) for v in listed] == [
        ("1", False, True),
        ("rc.1", True, False),
    ]
    shown = json.loads(run("registry", "show", *registry, "--json")[1])
    assert shown["version"] == "rc.1"
    assert shown["features"] == {"bytes": "numeric", "packets": "numeric"}
    assert [(m["action"], m["by"], m["reason"]) for m in shown["history"]][-1] == ("promote", "ann", "why")
    assert run("registry", "rollback", *registry, "--reason", "poisoned")[0] == 0
    assert run("registry", "verify", *registry)[:2] == (0, "verified  1, rc.1\n")
    scored = tmp_path / "scored.csv"
    assert run("score", *registry, "--data", reference, "--out", scored)[0] == 0
    with scored.open() as file:
        table = list(csv.DictReader(file))
    assert [row["host"] for row in table[:5]] == ["000", "000", "000", "000", "001"]
    got = np.array([[float(row[c]) for c in ("attack", "benign")] for row in table])
    x = np.array([[float(row[c]) for c in ("bytes", "packets")] for row in table], dtype=np.float32)
    np.testing.assert_allclose(got, fitted.predict_proba(x), atol=1e-5)


def test_a_reference_alone_makes_a_version_that_cannot_score(
    run: Run, tmp_path: Path, model: tuple[Path, Path, LogisticRegression]
) -> None:
    registry = ("--registry", tmp_path / "registry", "--name", "nids")
    rows = ("--reference", model[0], "--label", "class", "--ignore", "sensor", "--ignore", "host")
    assert run("registry", "add", *registry, *rows)[0] == 0
    code, out, err = run("score", *registry, "--data", model[0], "--out", tmp_path / "o.csv")
    assert (code, out) == (1, "")
    assert err == "tocsin: version 1 of 'nids' has no model to score with, only a reference\n"


def test_a_refused_model_leaves_the_registry_as_it_was(
    run: Run, tmp_path: Path, model: tuple[Path, Path, LogisticRegression]
) -> None:
    reference, onnx, _ = model
    registry = ("--registry", tmp_path / "registry", "--name", "nids")
    code, out, err = run("registry", "add", *registry, "--onnx", onnx, "--reference", reference, "--label", "class")
    assert (code, out) == (1, "")
    assert f"{onnx}: input 'x' takes 2 features, but there are 4: bytes, packets, sensor, host" in err
    assert not (tmp_path / "registry").exists()


def test_features_may_be_said_in_a_file(run: Run, tmp_path: Path, model: tuple[Path, Path, LogisticRegression]) -> None:
    reference, onnx, _ = model
    features = tmp_path / "features.yaml"
    features.write_text("- {name: bytes, missing: 7}\n- {name: packets, kind: numeric}\n")
    registry = ("--registry", tmp_path / "registry", "--name", "nids")
    rows = ("--reference", reference, "--label", "class", "--features", features)
    assert run("registry", "add", *registry, "--onnx", onnx, *rows)[0] == 0
    manifest = json.loads((tmp_path / "registry" / "nids" / "1" / "manifest.json").read_text())
    assert [(f["name"], f.get("missing", 0.0)) for f in manifest["features"]] == [("bytes", 7.0), ("packets", 0.0)]
    features.write_text("- {name: bytes, knd: numeric}\n")
    code, _, err = run("registry", "add", *registry, "--onnx", onnx, *rows)
    assert code == 1
    assert f"{features}: Object contains unknown field `knd` - at `$[0]`; expected is a list like" in err


def test_codes_make_texts_numbers(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    proto = rng.integers(0, 2, 100)
    x = np.column_stack([rng.normal(size=100), np.array([6.0, 17.0])[proto]]).astype(np.float32)
    labels = np.array(["attack", "benign"])[proto]
    fitted = LogisticRegression().fit(x, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (tmp_path / "m.onnx").write_bytes(to_onnx(fitted, x[:1]).SerializeToString())
    names = np.array(["tcp", "udp"])[proto]
    rows = [f"{float(a)!r},{p},{c}" for a, p, c in zip(x[:, 0], names, labels, strict=True)]
    (tmp_path / "r.csv").write_text("\n".join(["size,proto,class", *rows]) + "\n")
    (tmp_path / "f.yaml").write_text(
        "- {name: size}\n- {name: proto, codes: {tcp: 6, udp: 17}, missing: 6, unseen: 0}\n"
    )
    registry = ("--registry", tmp_path / "registry", "--name", "nids")
    rows_of = ("--onnx", tmp_path / "m.onnx", "--reference", tmp_path / "r.csv", "--label", "class")
    code, _, err = run("registry", "add", *registry, *rows_of)
    assert code == 1
    assert "the features proto hold text, but the model takes numbers for them" in err
    code, _, err = run("registry", "add", *registry, *rows_of, "--features", tmp_path / "f.yaml")
    assert (code, err) == (0, "")
    assert run("score", *registry, "--data", tmp_path / "r.csv", "--out", tmp_path / "o.csv")[0] == 0
    with (tmp_path / "o.csv").open() as file:
        got = [float(row["attack"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(got, fitted.predict_proba(x)[:, 0], atol=1e-5)


def test_a_changed_byte_fails_verification_and_names_the_file(
    run: Run, tmp_path: Path, model: tuple[Path, Path, LogisticRegression]
) -> None:
    registry = ("--registry", tmp_path / "registry", "--name", "nids")
    rows = ("--reference", model[0], "--label", "class", "--ignore", "sensor", "--ignore", "host")
    run("registry", "add", *registry, "--onnx", model[1], *rows)
    path = tmp_path / "registry" / "nids" / "1" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    code, out, err = run("registry", "verify", *registry)
    assert (code, out) == (1, "")
    assert f"{path}: changed since it was signed" in err


def test_an_empty_registry_is_said_to_be_empty(run: Run, tmp_path: Path) -> None:
    registry = ("--registry", tmp_path / "none", "--name", "nids")
    assert run("registry", "list", *registry)[:2] == (0, f"model 'nids' has no versions in {tmp_path / 'none'}\n")
    code, _, err = run("registry", "show", *registry)
    assert code == 2
    assert "no version of 'nids' serves" in err
    code, _, err = run("registry", "promote", *registry, "--version", "1")
    assert code == 1
    assert f"{tmp_path / 'none' / 'nids'}: there is no such model" in err
    assert not (tmp_path / "none").exists()


def test_proofs_are_printed_that_hold_without_the_log(run: Run, tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.ndjson", lambda: 1.0)
    log.append("start", {})
    kept = merkle_root(tmp_path)
    for number in range(4):
        log.append("note", {"number": number})
    log.close()
    code, out, err = run("audit", "prove", tmp_path, 3)
    assert code == 0, err
    proof = json.loads(out)
    assert proof["record"]["body"] == {"number": 2}
    path, root = [bytes.fromhex(step) for step in proof["path"]], bytes.fromhex(proof["root"])
    check_inclusion(leaf(proof["leaf"].encode()), proof["index"], proof["size"], path, root)
    code, out, err = run("audit", "prove", tmp_path, "--since", 1)
    assert code == 0, err
    grown = json.loads(out)
    assert (grown["first"], grown["first_root"], grown["size"], grown["root"]) == (1, kept.hex(), 5, root.hex())
    check_consistency(1, kept, 5, root, [bytes.fromhex(step) for step in grown["path"]])
    for wrong in (["--since", 6], ["--since", 0], [5]):
        code, _, err = run("audit", "prove", tmp_path, *wrong)
        assert code != 0
        assert str(tmp_path) in err
    assert run("audit", "prove", tmp_path)[0] == 2
    assert run("audit", "prove", tmp_path, 3, "--since", 1)[0] == 2


def merkle_root(folder: Path) -> bytes:
    return verify(folder / "audit.ndjson").root


def test_the_audit_log_of_a_folder_is_verified(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "state" / "audit.ndjson"
    keys = Keys.trial(path.parent, make=True)
    log = AuditLog(path, lambda: 1.0, keys)
    for kind in ("intent", "outcome", "stop"):
        head = log.append(kind, {})
    log.close()
    code, out, err = run("audit", "verify", tmp_path / "state")
    assert (code, out) == (0, f"{path}: 3 records, chain intact, 3 of them signed\n")
    assert "who can write there can replace log and keys together" in err
    whole, checkpoint = path.read_bytes(), path.with_name("audit.ndjson.checkpoint")
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    code, _, err = run("audit", "verify", tmp_path)
    assert (code, "record 2 and what follows were cut off" in err) == (1, True)
    checkpoint.unlink()
    code, _, err = run("audit", "verify", tmp_path / "state")
    assert (code, "missing, beside a log that is not empty" in err) == (1, True)
    code, _, err = run("audit", "verify", tmp_path / "state", "--head", head)
    assert code == 1
    with pytest.raises(AuditError, match="missing, beside a log that is not empty"):
        AuditLog(path, lambda: 1.0, keys)
    (path.parent / ".keys").rename(tmp_path / "keys")
    code, _, err = run("audit", "verify", tmp_path / "state")
    assert (code, "no key to check its signed checkpoint with" in err) == (1, True)
    code, _, err = run("audit", "verify", tmp_path / "nowhere")
    assert code == 1


@pytest.mark.parametrize(
    "command",
    [
        "registry add",
        "registry list",
        "registry show",
        "registry verify",
        "registry promote",
        "registry rollback",
        "score",
        "audit verify",
    ],
)
def test_every_help_has_an_example(run: Run, command: str) -> None:
    code, out, _ = run(*command.split(), "--help")
    assert code == 0
    assert f"Example: tocsin {command}" in " ".join(out.split()).replace("│ ", "")


def test_every_broken_version_is_named_and_so_is_a_pointer_moved_by_hand(
    run: Run, tmp_path: Path, model: tuple[Path, Path, LogisticRegression]
) -> None:
    registry = ("--registry", tmp_path / "registry", "--name", "nids")
    rows = ("--reference", model[0], "--label", "class", "--ignore", "sensor", "--ignore", "host")
    folder = tmp_path / "registry" / "nids"
    for _ in range(2):
        assert run("registry", "add", *registry, "--onnx", model[1], *rows)[0] == 0
    assert run("registry", "verify", *registry)[0] == 0
    (folder / "last-known-good").unlink()
    (folder / "last-known-good").symlink_to("2")
    code, _, err = run("registry", "verify", *registry)
    assert code == 1
    assert "last-known-good is version 2, but by the history it is version 1" in err
    for version in ("1", "2"):
        (folder / version / "reference.npz").unlink()
    code, _, err = run("registry", "verify", *registry)
    assert code == 1
    assert f"{folder}/1/reference.npz: missing" in err
    assert f"{folder}/2/reference.npz: missing" in err


def test_an_empty_version_is_not_taken_for_the_one_that_serves(
    run: Run, tmp_path: Path, model: tuple[Path, Path, LogisticRegression]
) -> None:
    registry = ("--registry", tmp_path / "registry", "--name", "nids")
    rows = ("--reference", model[0], "--label", "class", "--ignore", "sensor", "--ignore", "host")
    assert run("registry", "add", *registry, "--onnx", model[1], *rows)[0] == 0
    for command in (["registry", "show"], ["registry", "verify"]):
        code, _, err = run(*command, *registry, "--version", "")
        assert code == 1
        assert "model 'nids' has no version ''; there are: 1" in err


def test_a_pointer_to_nothing_says_how_to_repair_it(
    run: Run, tmp_path: Path, model: tuple[Path, Path, LogisticRegression]
) -> None:
    registry = ("--registry", tmp_path / "registry", "--name", "nids")
    rows = ("--reference", model[0], "--label", "class", "--ignore", "sensor", "--ignore", "host")
    assert run("registry", "add", *registry, "--onnx", model[1], *rows)[0] == 0
    link = tmp_path / "registry" / "nids" / "serving"
    link.unlink()
    link.symlink_to("../../elsewhere")
    code, _, err = run("registry", "list", *registry)
    assert code == 1
    assert f"{link}: points to '../../elsewhere', which is no version (there are: 1); find out who changed it" in err
    link.unlink()
    code, _, err = run("registry", "show", *registry)
    assert code == 2
    assert "promote one with: tocsin registry promote" in " ".join(err.split())
    assert run("registry", "promote", *registry, "--version", "1")[0] == 0
    assert run("registry", "verify", *registry)[0] == 0


def test_a_model_may_come_with_a_reference_that_nobody_has_labelled(
    run: Run, tmp_path: Path, model: tuple[Path, Path, LogisticRegression]
) -> None:
    reference, onnx, _ = model
    text = reference.read_text().replace(",attack,", ",,").replace(",benign,", ",,")
    reference.write_text(text)
    registry = ("--registry", tmp_path / "registry", "--name", "nids")
    rows = ("--reference", reference, "--label", "class", "--ignore", "sensor", "--ignore", "host")
    code, _, err = run("registry", "add", *registry, *rows)
    assert code == 1
    assert "column 'class' names 0 classes" in err
    assert run("registry", "add", *registry, "--onnx", onnx, *rows)[0] == 0
    assert run("registry", "verify", *registry)[0] == 0
    assert json.loads(run("registry", "show", *registry, "--json")[1])["metrics"] == {}


def test_a_registry_that_is_a_file_is_said_to_be_one(run: Run, model: tuple[Path, Path, LogisticRegression]) -> None:
    code, _, err = run("registry", "list", "--registry", model[0], "--name", "nids")
    assert (code, err) == (1, f"tocsin: {model[0]}: is no folder; a registry is one\n")
