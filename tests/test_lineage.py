"""What a candidate says of where it comes from: every row is accounted for, and it can be made again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from in_process import Run, runner
from small_registry import NAME, Small, make_small, oracle

from rollback.bundle import MODEL
from rollback.retraining.libraries import library_versions
from rollback.retraining.out import Out
from rollback.retraining.reproduce import reproduce
from rollback.retraining.retrain import Outcome, retrain
from rollback.retraining.training_input import TRAINING, TrainingInputError, unpack
from rollback.tables.table import read_table, write_table

pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")
pytest.importorskip("pyarrow", reason="the outputs are Parquet: pip install 'tocsin[data]'")


def silent(*_: object) -> None:
    pass


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Small, Outcome, Path]:
    """A candidate of a buffer of which a third is trusted, one row has no label, and poison is removed."""
    small = make_small(tmp_path_factory.mktemp("lineage"))
    columns = dict(read_table(small.buffer, text=["id", "session"]).columns)
    n = len(columns["id"])
    columns["trusted"] = np.where(np.arange(n) % 3 == 0, "true", "false")
    columns["label"] = np.where(np.arange(n) == 1, "", columns["label"])
    columns["session"] = np.where(np.arange(n) % 7 == 0, "", columns["session"])
    write_table(small.root / "mixed.parquet", columns)
    asked = small.asked(buffer=small.root / "mixed.parquet", tables={"trusted": "trusted"})
    out = small.root / "out"
    return small, retrain(small.registry, asked, Out(out), sanitise=oracle(), by="t", progress=silent), out


def test_every_row_of_the_buffer_is_in_one_of_removed_retained_and_believed(made: tuple[Small, Outcome, Path]) -> None:
    small, _, out = made
    parts = [read_table(out / f"{name}.parquet", text=["id"]) for name in ("removed", "retained", "believed")]
    ids = [ident for part in parts for ident in part.strings("id").tolist()]
    whole = read_table(small.root / "mixed.parquet", text=["id"])
    assert sorted(ids) == sorted(whole.strings("id").tolist())
    assert set(parts[2].strings("use").tolist()) == {"base", "holdout"}
    assert len(parts[2]) == np.count_nonzero(whole.strings("trusted") == "true")


def test_a_removed_row_says_its_slice_source_and_label(made: tuple[Small, Outcome, Path]) -> None:
    small, done, out = made
    removed = read_table(out / "removed.parquet", text=["id"])
    poison = np.isin(removed.strings("id"), list(small.poison_ids))
    assert set(removed.strings("slice")[poison].tolist()) == {"slice_1"}
    assert set(removed.strings("label")[poison].tolist()) == {"benign"}
    assert "" not in removed.strings("source")[poison].tolist()
    assert set(removed.floats("weight").tolist()) == {0.0}
    slices = small.registry.load(done.candidate).manifest.lineage["retrain"]["sanitising"]["slices"]
    assert len(slices) == 1


def test_a_row_that_weighs_less_says_why(made: tuple[Small, Outcome, Path]) -> None:
    retained = read_table(made[2] / "retained.parquet", text=["id"])
    assert set(retained.floats("weight").tolist()) == {0.5}
    assert set(retained.strings("reason").tolist()) == {"weighed down by a screen"}


def test_the_manifest_names_all_that_went_in(made: tuple[Small, Outcome, Path]) -> None:
    small, done, _ = made
    told = small.registry.load(done.candidate).manifest.lineage["retrain"]
    assert {len(told[part]["sha256"]) for part in ("base", "buffer", "holdout", "training")} == {64}
    assert told["libraries"] == library_versions()
    assert (told["answers"], told["decisions"], told["reputation"], told["seed"]) == (None, None, None, 0)


def test_made_again_it_is_the_same_byte_by_byte(made: tuple[Small, Outcome, Path]) -> None:
    small, done, _ = made
    found = reproduce(small.registry, done.candidate, None, silent)
    assert found.same, found
    assert found.differs == ()
    assert found.found == small.registry.load(done.candidate).manifest.files[MODEL]


def test_the_command_says_so(made: tuple[Small, Outcome, Path], capsys: pytest.CaptureFixture[str]) -> None:
    small, done, _ = made
    run: Run = runner(capsys)
    code, out, said = run("retrain", "--registry", small.root / "registry", "--name", NAME,
                          "--reproduce", done.candidate, "--json")  # fmt: skip
    assert code == 0, said
    assert json.loads(out)["same"] is True


def test_the_first_version_is_made_again_from_its_buffer(made: tuple[Small, Outcome, Path]) -> None:
    found = reproduce(made[0].registry, "1", None, silent)
    assert found.same, found
    assert found.differs == ("which libraries it was made with is not recorded",)


def test_what_differs_is_said_by_its_name(made: tuple[Small, Outcome, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    small, done, _ = made
    monkeypatch.setattr("rollback.retraining.reproduce.library_versions", lambda: {**library_versions(), "numpy": "0"})
    found = reproduce(small.registry, done.candidate, None, silent)
    assert found.differs == (f"numpy was {library_versions()['numpy']}, and is 0 here",)


def test_a_training_input_of_other_rows_is_refused(made: tuple[Small, Outcome, Path]) -> None:
    small, done, _ = made
    bundle = small.registry.load(done.candidate)
    reference = bundle.reference()
    assert reference is not None
    from rollback.retraining.data import as_rows  # noqa: PLC0415 - one use

    with pytest.raises(TrainingInputError, match=r"is of \d+ rows, the kept training buffer has"):
        unpack(bundle.files[TRAINING], as_rows(reference, bundle.schema, "other"))
    with pytest.raises(TrainingInputError, match="no archive of columns"):
        unpack(b"no", as_rows(reference, bundle.schema, "other"))


def test_without_its_buffer_it_says_that_that_is_missing(
    made: tuple[Small, Outcome, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = make_small(tmp_path, rows=600, keep_buffer=False)
    code, _, said = runner(capsys)("retrain", "--registry", small.root / "registry", "--name", NAME, "--reproduce", "1")
    assert code == 1
    assert "the registry keeps no training buffer" in said
