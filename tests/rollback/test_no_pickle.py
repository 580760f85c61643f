"""No bundle holds anything that could be unpickled: each file is what its name says, in a format that runs nothing."""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx_models import softmax_of
from safetensors.numpy import load
from scenario import World
from tiny_registry import DRAFT, NAME, add, make_registry, reference, weights

from rollback.archive import read_archive
from rollback.bundle import KINDS, Bundle, read_bundle, seal
from rollback.onnx.graph import read_graph
from rollback.own_model import ReferenceTable, own_model
from rollback.registry.file import FileRegistry
from rollback.signing.keys import Keys, new_signing_key
from rollback.tables.table import write_table


def problems(files: Mapping[str, bytes]) -> list[str]:
    """The files that are not what they are called, and those that unpickling would make something of."""
    found = []
    for name, content in files.items():
        try:
            open_as_named(name, content)
        except Exception as error:  # noqa: BLE001 - whatever a reader says is told
            found.append(f"{name}: {error!r}")
        if any(is_pickle(part) for part in [content, *members(name, content)]):
            found.append(f"{name}: is a pickle")
    return found


def open_as_named(name: str, content: bytes) -> None:
    match Path(name).suffix:
        case ".json":
            msgspec.json.decode(content)
        case ".onnx":
            assert read_graph(content).objection() == ""
        case ".npz":
            read_archive(content, [m.removesuffix(".npy") for m in zipfile.ZipFile(io.BytesIO(content)).namelist()])
        case ".safetensors":
            assert load(content)
        case other:
            raise ValueError(f"a bundle has no files that end in {other!r}")


def members(name: str, content: bytes) -> list[bytes]:
    if not name.endswith(".npz") or not zipfile.is_zipfile(io.BytesIO(content)):
        return []
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [archive.read(member) for member in archive.namelist()]


def is_pickle(content: bytes) -> bool:
    try:
        return sum(1 for _ in pickletools.genops(content)) > 0
    except (ValueError, IndexError, UnicodeDecodeError):
        return False


def test_bundles_that_were_trained_hold_none(world: World) -> None:
    folders = [world.root / "registry" / world.registry.load(v).manifest.name / v for v in world.registry.versions()]
    keys = Keys.trial(world.root / "registry")
    for folder in folders:
        files = read_bundle(folder, keys.trusted).files
        assert {"manifest.json", "attestation.json", "model.onnx", "reference.npz", "canaries.npz"} <= set(files)
        assert {Path(name).suffix for name in files} == set(KINDS)
        assert problems(files) == []


def test_bundles_of_models_of_your_own_hold_none(tmp_path: Path) -> None:
    rows = reference()
    columns = {f.name: rows.x[:, j] for j, f in enumerate(DRAFT.features)}
    write_table(tmp_path / "rows.csv", {**columns, "label": np.array(DRAFT.classes)[rows.y]})
    (tmp_path / "m.onnx").write_bytes(softmax_of(weights(1) * 4))
    made = own_model(ReferenceTable(tmp_path / "rows.csv", "label"), onnx=tmp_path / "m.onnx")
    registry = FileRegistry(tmp_path, NAME, Keys.of(new_signing_key()), lambda: 0.0)
    bundle = registry.add(made.draft, made.files, by="test", reason="")
    assert problems(bundle.files) == []
    assert problems(add(make_registry(), 3).files) == []


def test_the_walk_would_find_one() -> None:
    pickled = b"\x80\x04\x8c\x05hello\x94."
    assert [text.partition(":")[0] for text in problems({"weights.safetensors": pickled})] == [
        "weights.safetensors"
    ] * 2
    assert problems({"model.pkl": b""}) == ["model.pkl: ValueError(\"a bundle has no files that end in '.pkl'\")"]
    buffer = io.BytesIO()
    np.savez(buffer, x=np.array([{}], dtype=object))
    assert "holds objects" in problems({"reference.npz": buffer.getvalue()})[0]


@pytest.mark.parametrize("name", ["model.pkl", "weights.pt", "model.joblib", "notes", "run.py", "weights.npy"])
def test_a_file_of_another_kind_cannot_be_put_into_a_bundle(name: str) -> None:
    with pytest.raises(ValueError, match="its files end in"):
        seal(DRAFT.manifest(NAME, "1", ""), {name: b""}, new_signing_key())


def test_a_bundle_in_memory_is_walked_as_well() -> None:
    bundle = Bundle(DRAFT.manifest(NAME, "1", ""), {"model.onnx": softmax_of(weights(1))})
    assert problems(bundle.files) == []
