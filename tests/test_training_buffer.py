"""The rows of a training buffer as a version's schema reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scenario import World

from detectors.batch import Buffer, Floats
from monitor.panel import compare_versions
from monitor.training_buffer import find_rows, read_rows
from rollback.bundle import Bundle
from rollback.registry.registry import Buffer as BufferFile
from rollback.registry.registry import RegistryError
from rollback.retraining.data import row_ids
from rollback.tables.table import read_table


def halves(bundle: Bundle) -> Callable[[Floats], Floats]:
    return lambda x: np.full((len(x), len(bundle.schema.classes)), 0.5)


@pytest.fixture
def bundle(world: World) -> Bundle:
    return world.registry.load("2")


@pytest.fixture
def kept(world: World) -> BufferFile:
    found = world.registry.buffer("2")
    assert found is not None
    return found


def read(file: BufferFile, bundle: Bundle, notes: list[str] | None = None) -> Buffer:
    return read_rows(file, bundle, halves(bundle), halves(bundle), [] if notes is None else notes)


def changed(kept: BufferFile, path: Path, old: str, new: str) -> BufferFile:
    path.write_text(kept.path.read_text().replace(old, new))
    return BufferFile(path, kept.label, kept.source, kept.session)


def test_rows_have_their_own_ids_sources_sessions_and_labels(kept: BufferFile, bundle: Bundle) -> None:
    table, rows = read_table(kept.path), read(kept, bundle)
    assert rows.id.tolist() == table.strings("id").tolist()
    assert rows.source.tolist() == table.strings("source").tolist()
    assert [bundle.schema.classes[y] for y in rows.y] == table.strings("label").tolist()
    assert rows.session[0] == f"{rows.source[0]}/{table.strings('session')[0]}"
    assert set(rows.origin.tolist()) == {"-"}


def test_a_row_without_an_id_is_known_by_its_digest(kept: BufferFile, bundle: Bundle, tmp_path: Path) -> None:
    head, *body = kept.path.read_text().splitlines()
    path = tmp_path / "rows.csv"
    path.write_text("\n".join([head.removeprefix("id,"), *(line.split(",", 1)[1] for line in body)]))
    rows = read(BufferFile(path, kept.label, kept.source, kept.session), bundle)
    taken = [*bundle.schema.names, "label", "source", "session"]
    assert rows.id.tolist() == row_ids(read_table(path, text=["source", "session"]), taken).tolist()
    assert len(rows.id[0]) == 64


def test_a_label_that_is_no_class_is_unknown(kept: BufferFile, bundle: Bundle, tmp_path: Path) -> None:
    rows = read(changed(kept, tmp_path / "rows.csv", ",attack\n", ",ransom\n"), bundle)
    assert set(rows.y.tolist()) == {-1, bundle.schema.classes.index("benign")}


def test_what_cannot_be_read_is_a_note_and_no_buffer(kept: BufferFile, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")

    def broken(version: str) -> BufferFile:
        raise RegistryError(f"no {version}")

    for find in (
        lambda _: BufferFile(tmp_path / "bad.csv", "label"),
        lambda _: BufferFile(tmp_path / "x.csv", "label"),
        broken,
    ):
        notes: list[str] = []
        assert find_rows(find, bundle, halves(bundle), halves(bundle), notes) is None
        assert len(notes) == 1
        assert "training buffer of version 2" in notes[0]


def test_last_known_good_s_own_buffer_is_not_looked_into(world: World) -> None:
    good, watched = world.registry.load("1"), world.registry.load("2")
    own = compare_versions(good, good, world.registry.buffer).reference
    other = compare_versions(watched, good, world.registry.buffer).reference
    assert own is not None
    assert own.buffer is None
    assert other is not None
    assert other.buffer is not None
    assert np.isfinite(other.buffer.f).all()
