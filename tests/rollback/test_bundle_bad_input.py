"""What a bundle must not be is refused with the file and the reason, and the version that serves goes on serving."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import GOOD, graph, softmax_of
from tiny_registry import DRAFT, reference, weights

from monitor.inbox import RegistryChecked, ServedOtherwise
from monitor.jobs.registry_verification import check_registry
from monitor.verification_record import VerificationRecord
from rollback.archive import read_archive
from rollback.bundle import ATTESTATION, IntegrityError, check_bundle, seal, with_canaries
from rollback.limits import BundleLimits
from rollback.manifest import Draft, FeatureSpec
from rollback.onnx.layout import ImportRefused
from rollback.own_model import ReferenceTable, own_model
from rollback.registry.file import FileRegistry
from rollback.registry.registry import RegistryError
from rollback.reload.pointer import PointerReloader
from rollback.response.cases import Case
from rollback.response.steps import Target, perform
from rollback.signing.attestation import attest
from rollback.signing.keys import Keys, new_signing_key
from rollback.tables.table import write_table

KEYS = Keys.of(new_signing_key())
GOOD_FILES = {"model.onnx": softmax_of(weights(1)), "reference.npz": reference().to_npz()}
CASE = Case("k", "rollback", "i", "nids", "1", "2", "why", "verify", since=0.0)


@pytest.fixture
def registry(tmp_path: Path) -> FileRegistry:
    """Version 1 serves."""
    made = FileRegistry(tmp_path, "nids", KEYS, lambda: 0.0)
    made.add(DRAFT, with_canaries(DRAFT, GOOD_FILES), by="test", reason="")
    return made


def external() -> bytes:
    model = onnx.load_from_string(softmax_of(GOOD))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    return model.SerializeToString()


def with_custom_operator() -> bytes:
    model = onnx.load_from_string(softmax_of(GOOD))
    model.graph.node[0].domain = "acme.ops"
    model.opset_import.add(domain="acme.ops", version=1)
    return model.SerializeToString()


def looping() -> bytes:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Identity", ["v"], ["v2"])],
        "body",
        [helper.make_tensor_value_info(n, t, s) for n, t, s in (("i", 7, []), ("c", 9, []), ("v", 1, ["N", 3]))],
        [helper.make_tensor_value_info(n, t, s) for n, t, s in (("c2", 9, []), ("v2", 1, ["N", 3]))],
    )
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Loop", ["", "go", "z"], ["p"], body=body)]
    constants = {"w": GOOD.astype(np.float32), "go": np.array([True])[0]}
    return graph(nodes, [("x", 1, ["N", 4])], [("p", 1, ["N", 3])], constants)


def features(count: int) -> Draft:
    return msgspec.structs.replace(DRAFT, features=tuple(FeatureSpec(f"f{i}") for i in range(count)))


SIGNED_BUT_WRONG: Mapping[str, tuple[Draft, dict[str, bytes], str]] = {
    "external data": (DRAFT, {"model.onnx": external()}, r"model\.onnx: weights are kept outside the file"),
    "custom operators": (DRAFT, {"model.onnx": with_custom_operator()}, r"model\.onnx: .*custom operators \(acme"),
    "a loop": (DRAFT, {"model.onnx": looping()}, r"model\.onnx: .*holds a Loop"),
    "no model": (DRAFT, {"model.onnx": b"\x80\x04\x95pickle"}, r"model\.onnx: "),
    "a missing model": (DRAFT, {}, r"model\.onnx: .*the file is missing"),
    "too many features": (
        features(5),
        {"model.onnx": softmax_of(GOOD)},
        r"model\.onnx: the model takes 4 features, the manifest lists 5",
    ),
    "too few features": (
        features(3),
        {"model.onnx": softmax_of(GOOD)},
        r"model\.onnx: the model takes 4 features, the manifest lists 3",
    ),
    "a feature count that the file does not state": (
        features(3),
        {"model.onnx": softmax_of(GOOD, width="D")},  # type: ignore[arg-type]  # a name instead of a number
        r"model\.onnx: ONNX Runtime cannot run the model",
    ),
    "other classes": (
        msgspec.structs.replace(DRAFT, classes=("a", "b")),
        {"model.onnx": softmax_of(GOOD)},
        r"model\.onnx: .*(classes|answer)",
    ),
    "columns that the model lacks": (
        msgspec.structs.replace(DRAFT, onnx=msgspec.structs.replace(DRAFT.onnx, columns=(0, 1, 7))),  # type: ignore[type-var]  # it has one
        {"model.onnx": softmax_of(GOOD)},
        r"model\.onnx: the model's answer is not as the manifest says",
    ),
    "a reference of other features": (
        features(4),
        {"model.onnx": softmax_of(GOOD), "reference.npz": reference().take(slice(0, 5)).to_npz()[:-40]},
        r"reference\.npz: ",
    ),
}


@pytest.mark.parametrize("what", SIGNED_BUT_WRONG)
def test_a_signed_version_that_cannot_be_used_is_never_promoted(registry: FileRegistry, what: str) -> None:
    draft, files, said = SIGNED_BUT_WRONG[what]
    registry.add(draft, files, by="test", reason="", version="2")
    for act in (
        lambda: registry.verify("2"),
        lambda: registry.promote("2", expected="1", known_good=True, by="test", reason=""),
    ):
        with pytest.raises(IntegrityError, match=said):
            act()
    assert registry.pointers().serving == "1"
    assert registry.pointers().last_known_good == "1"


@pytest.mark.parametrize("what", SIGNED_BUT_WRONG)
def test_a_rollback_to_such_a_version_is_refused_before_anything_is_touched(registry: FileRegistry, what: str) -> None:
    """What a step returns is what the audit log records."""
    draft, files, said = SIGNED_BUT_WRONG[what]
    registry.add(draft, files, by="test", reason="", version="2")
    before = registry.history()
    result = perform(CASE, Target(registry, PointerReloader()))
    assert result.event == "refused"
    assert re.search(said, result.detail)
    assert registry.history() == before


def test_what_is_no_plain_file_is_refused_and_not_waited_for(registry: FileRegistry, tmp_path: Path) -> None:
    folder = tmp_path / "nids" / "1"
    os.mkfifo(folder / "pipe.json")
    with pytest.raises(IntegrityError, match=r"pipe\.json: is no plain file"):
        registry.load("1")


def test_a_link_out_of_the_folder_is_refused_and_so_is_a_folder_that_is_one(
    registry: FileRegistry, tmp_path: Path
) -> None:
    folder = tmp_path / "nids" / "1"
    (folder / "model.onnx").rename(tmp_path / "elsewhere.onnx")
    (folder / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(IntegrityError, match=r"model\.onnx: is no plain file"):
        registry.load("1")
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved", target_is_directory=True)
    with pytest.raises(RegistryError):
        registry.load("1")


def test_a_signed_path_out_of_the_folder_is_never_followed(tmp_path: Path) -> None:
    assert KEYS.signing is not None
    files = seal(DRAFT.manifest("nids", "1", ""), {}, KEYS.signing)
    digests = {"../outside.json": "0" * 64}
    forged = {**files, ATTESTATION: attest(digests, {"created_at": "2026-01-01T00:00:00+00:00"}, KEYS.signing)}
    with pytest.raises(IntegrityError, match=r"outside\.json: "):
        check_bundle(forged, KEYS.trusted, "nids/1")


@pytest.mark.parametrize("file", ["../../secret.csv", "/etc/hostname", "..", ""])
def test_a_training_buffer_outside_its_folder_is_refused(registry: FileRegistry, tmp_path: Path, file: str) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    entry = {"file": file, "sha256": "0" * 64, "label": "a", "source": None, "session": None}
    draft = msgspec.structs.replace(DRAFT, lineage={"buffer": entry})
    registry.add(draft, GOOD_FILES, by="test", reason="", version="2")
    with pytest.raises(IntegrityError, match="is no training buffer's name"):
        registry.verify("2")


def test_a_model_or_file_beyond_the_limit_is_neither_added_nor_read(registry: FileRegistry, tmp_path: Path) -> None:
    size = len(GOOD_FILES["model.onnx"])
    strict = FileRegistry(tmp_path, "nids", KEYS, lambda: 0.0, limits=BundleLimits(model_bytes=size - 1))
    with pytest.raises(RegistryError, match=rf"model\.onnx has {size} bytes, more than the {size - 1}"):
        strict.add(DRAFT, GOOD_FILES, by="test", reason="")
    assert strict.versions() == ["1"]
    with pytest.raises(IntegrityError, match=r"1/model\.onnx: has .*bundles\.max_model_mib"):
        strict.load("1")
    small = FileRegistry(tmp_path, "nids", KEYS, lambda: 0.0, limits=BundleLimits(file_bytes=1000))
    with pytest.raises(IntegrityError, match=r"1/[a-z]+\.(json|npz): has .*bundles\.max_file_mib"):
        small.load("1")
    few = FileRegistry(tmp_path, "nids", KEYS, lambda: 0.0, limits=BundleLimits(files=4))
    with pytest.raises(IntegrityError, match="holds 5 files; a bundle has 4 at most"):
        few.load("1")
    assert registry.load("1").manifest.version == "1"


def test_a_model_of_your_own_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    write_table(tmp_path / "rows.csv", {"a": np.arange(4.0), "label": np.array(["x", "y"] * 2)})
    (tmp_path / "m.onnx").write_bytes(b"x" * 11)
    rows = ReferenceTable(tmp_path / "rows.csv", "label")
    with pytest.raises(ImportRefused, match=r"m\.onnx: has 11 bytes, more than the 10"):
        own_model(rows, onnx=tmp_path / "m.onnx", limits=BundleLimits(model_bytes=10))


@pytest.mark.parametrize("limits", [{"model_bytes": 0}, {"file_bytes": 0}, {"files": 0}])
def test_limits_below_one_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        BundleLimits(**limits)


def stored(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def npy(header: Mapping[str, Any], body: bytes = b"") -> bytes:
    text = repr(dict(header)).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


def array(descr: str, shape: tuple[int, ...], body: bytes = b"") -> bytes:
    return npy({"descr": descr, "fortran_order": False, "shape": shape}, body)


def compressed() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.zeros(10**7))
    return buffer.getvalue()


def twice() -> bytes:
    """Under the same name: the second one is renamed in the bytes."""
    one = array("<f8", (1,), b"\0" * 8)
    return stored(x=one, z=one).replace(b"z.npy", b"x.npy")


ARCHIVES: Mapping[str, tuple[Callable[[], bytes], str]] = {
    "a bomb": (compressed, "x is compressed"),
    "more numbers than it holds": (lambda: stored(x=array("<f8", (10**12,))), "0 bytes do not fill the shape"),
    "texts of no letters without end": (lambda: stored(x=array("<U0", (10**12,))), "0 bytes do not fill the shape"),
    "fewer numbers than a row": (lambda: stored(x=array("<f8", (-1,))), "do not fill the shape"),
    "objects": (lambda: stored(x=array("|O", (1,), b"cos\nsystem\n(S'true'\ntR.")), "holds objects"),
    "code in the header": (lambda: stored(x=npy({"descr": "<f8"}) + b"__import__('os')"), "is no array"),
    "no array": (lambda: stored(x=b"hello"), "is no array"),
    "something else": (lambda: stored(y=array("<f8", (0,))), "x is missing"),
    "more than there should be": (lambda: stored(x=array("<f8", (0,)), y=b""), "a column 'y' has no place here"),
    "a column twice": (twice, "a column is there twice"),
    "no archive": (lambda: b"PK", "no archive of columns"),
}


@pytest.mark.parametrize("what", ARCHIVES)
def test_an_archive_of_columns_holds_nothing_else(what: str) -> None:
    make, said = ARCHIVES[what]
    with pytest.raises(ValueError, match=said):
        read_archive(make(), ["x"])


def test_columns_are_read_as_numpy_wrote_them() -> None:
    columns = {
        "a": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "b": np.array(["x", "", "yz"]),
        "c": np.zeros((0, 3)),
        "d": np.array(7),
    }
    buffer = io.BytesIO()
    np.savez(buffer, **columns)
    found = read_archive(buffer.getvalue(), list(columns))
    for name, column in columns.items():
        np.testing.assert_array_equal(found[name], column)
        assert found[name].dtype == column.dtype


class Log:
    """What was appended."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []

    def append(self, kind: str, body: dict[str, Any]) -> None:
        self.records.append((kind, body))


def test_the_audit_log_hears_once_of_a_version_that_fails_and_once_that_it_is_mended(
    registry: FileRegistry, tmp_path: Path
) -> None:
    log = Log()
    record = VerificationRecord(log.append)
    record.checked(check_registry("nids", registry, 0.0))
    assert log.records == []
    path = tmp_path / "nids" / "1" / "model.onnx"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    for at in (1.0, 2.0):
        record.checked(check_registry("nids", registry, at))
    ((kind, body),) = log.records
    assert kind == "version.failed"
    assert (body["model"], body["version"]) == ("nids", "1")
    assert body["reason"].startswith(f"{path}: changed since it was signed")
    path.write_bytes(whole)
    record.checked(check_registry("nids", registry, 3.0))
    assert log.records[1:] == [("version.mended", body)]


def test_the_audit_log_hears_of_pointers_that_nothing_accounts_for() -> None:
    log = Log()
    record = VerificationRecord(log.append)
    for at, wrong in enumerate([("x",), ("x",), (), ()]):
        record.checked(RegistryChecked("nids", at, pointers=wrong))
    assert log.records == [
        ("pointers.checked", {"model": "nids", "problems": ["x"]}),
        ("pointers.checked", {"model": "nids", "problems": []}),
    ]


def test_the_audit_log_hears_of_a_server_that_serves_something_else_and_hourly_while_it_does() -> None:
    log = Log()
    record = VerificationRecord(log.append)
    for at, problem in ((0, "a"), (60, "a"), (120, "b"), (180, "b"), (3720, "b"), (3780, "b")):
        record.served(ServedOtherwise("nids", "2", problem, float(at)))
    assert [body["problem"] for _, body in log.records] == ["a", "b", "b"]
    assert {kind for kind, _ in log.records} == {"served.otherwise"}
