"""A training that was cut off goes on where it was, and from nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recipe_rows import fit, make_rows, small

from rollback.train.checkpoint import Checkpoint, digest_of
from rollback.train.recipe import RecipeError, Trained, TrainingRows

pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")


class PowerCutError(Exception):
    """The end of a process."""


def interrupted(rows: TrainingRows, folder: Path, after: int, seed: int = 3) -> None:
    def cut(done: int, most: int, loss: float) -> None:
        del most, loss
        if done == after:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        small("mlp").train(rows, seed=seed, device="cpu", progress=cut, checkpoints=folder)


def resumed(rows: TrainingRows, folder: Path, seed: int = 3) -> tuple[Trained, list[int]]:
    heard: list[int] = []
    made = small("mlp").train(
        rows, seed=seed, device="cpu", progress=lambda done, *_: heard.append(done), checkpoints=folder
    )
    return made, heard


@pytest.mark.parametrize("after", [1, 3])
def test_a_resumed_training_gives_the_model_of_one_that_was_never_cut_off(tmp_path: Path, after: int) -> None:
    rows = make_rows()
    interrupted(rows, tmp_path / "kept", after)
    made, heard = resumed(rows, tmp_path / "kept")
    assert heard == list(range(after + 1, 5)), "what is done is not done again"
    whole = fit(small("mlp"), rows)
    assert made.model == whole.model
    assert made.figures == whole.figures
    assert not list((tmp_path / "kept").iterdir()), "nothing is left of a training that is over"


def test_the_checkpoint_of_other_rows_or_another_seed_is_not_gone_on_from(tmp_path: Path) -> None:
    rows = make_rows()
    interrupted(rows, tmp_path / "kept", 2)
    for other, seed in ((replace(rows, y=1 - rows.y), 3), (rows, 4)):
        assert resumed(other, tmp_path / "kept", seed)[1][0] == 1


def test_a_checkpoint_under_a_false_name_is_refused(tmp_path: Path) -> None:
    rows = make_rows()
    interrupted(rows, tmp_path / "kept", 2)
    (path,) = (tmp_path / "kept").iterdir()
    digest = digest_of(rows, 4, small("mlp").parameters, "cpu")
    path.rename(path.with_name(f"{digest}.safetensors"))
    with pytest.raises(RecipeError, match="is the checkpoint of another training"):
        resumed(rows, tmp_path / "kept", 4)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\0\0\0\0\0\0\0{}      "])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    rows = make_rows()
    interrupted(rows, tmp_path / "kept", 2)
    (path,) = (tmp_path / "kept").iterdir()
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"is no checkpoint: .*; delete it to begin anew"):
        resumed(rows, tmp_path / "kept")


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(RecipeError, match="others may read or write there"):
        Checkpoint(tmp_path / "open", "0")


def test_the_folder_is_private_and_a_checkpoint_gives_back_what_was_kept(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "new" / "folder", "abc")
    assert (tmp_path / "new" / "folder").stat().st_mode & 0o777 == 0o700
    assert kept.load() is None
    kept.save({"a": np.arange(3.0)}, {"epoch": 2})
    found = kept.load()
    assert found is not None
    np.testing.assert_array_equal(found[0]["a"], np.arange(3.0))
    assert found[1] == {"epoch": 2}
