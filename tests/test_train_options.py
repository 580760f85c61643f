"""What the loop is asked for besides the model: trusted rows, precision, order, and the commands that use it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recipe_rows import SMALL, fit, make_rows, small

from monitor.cli.main import main
from monitor.cli.output import Progress
from monitor.demo.flows import table
from monitor.demo.traffic import TrafficConfig, generate
from rollback.tables.table import read_table, write_table
from rollback.train.recipe import RecipeError
from rollback.train.split import hold_out_trusted

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")


def test_only_whole_trusted_sessions_are_held_out_and_at_most_a_quarter_of_them() -> None:
    rng = np.random.default_rng(0)
    session = np.char.add("s", rng.integers(0, 120, 600).astype(np.str_))
    y, trusted = rng.integers(0, 2, 600), rng.random(600) < 0.9
    held = hold_out_trusted(session, y, trusted, 0.5, rng)
    mixed = np.isin(session, session[~trusted])
    assert held.any()
    assert not (held & mixed).any()
    assert held.sum() <= (~mixed).sum() / 4
    assert not hold_out_trusted(session, y, np.zeros(600, dtype=np.bool_), 0.5, rng).any()


def test_early_stopping_does_not_listen_to_rows_that_nobody_trusts() -> None:
    """They hold wrong labels: what they say of a network is no measure of it."""
    rows = make_rows(600)
    trusted = np.arange(600) < 450
    wrong = replace(rows, y=np.where(trusted, rows.y, 1 - rows.y))
    told = fit(small("mlp"), replace(wrong, trusted=trusted))
    untold = fit(small("mlp"), wrong)
    assert told.figures["validation_rows"] <= 60
    assert told.figures["validation_loss"] < untold.figures["validation_loss"] - 0.05


@pytest.mark.parametrize("weight", [np.nan, np.inf, -1.0])
def test_weights_that_are_none_are_refused_by_every_recipe(weight: float) -> None:
    rows = make_rows(40)
    for name in SMALL:
        with pytest.raises(RecipeError, match="weights must be finite and at least 0"):
            fit(small(name), replace(rows, weight=np.where(np.arange(40) < 5, weight, 1.0)))


def test_rows_that_all_weigh_nothing_are_refused_by_every_recipe() -> None:
    for name in SMALL:
        with pytest.raises(RecipeError, match="every row weighs 0"):
            fit(small(name), replace(make_rows(40), weight=np.zeros(40)))


def test_a_training_that_diverges_is_a_failure_and_no_untrained_network() -> None:
    with pytest.raises(RecipeError, match="the loss was no number after any epoch"):
        fit(small("mlp", learning_rate=1e30), make_rows())


def test_mixed_precision_trains_nearly_the_same_model() -> None:
    rows = make_rows()
    full, mixed = fit(small("mlp"), rows), fit(small("mlp", precision="mixed"), rows)
    assert mixed.model != full.model
    np.testing.assert_allclose(mixed.own(rows.x), full.own(rows.x), atol=0.05)
    assert fit(small("mlp", precision="full"), rows).model == full.model, "auto is full on a CPU"


def test_deterministic_mode_holds_during_the_training_and_not_beyond_it() -> None:
    seen: list[bool] = []
    recipe = small("mlp")
    recipe.train(
        make_rows(),
        seed=0,
        device="cpu",
        progress=lambda *_: seen.append(torch.are_deterministic_algorithms_enabled()),
    )
    assert all(seen)
    assert not torch.are_deterministic_algorithms_enabled()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_tells_the_time_left_as_soon_as_the_number_of_epochs_is_known() -> None:
    screen, times = Terminal(), iter([0.0, 4.0])
    Progress("training nids", stream=screen, clock=lambda: next(times)).update(2, "epoch 2", total=10)
    assert "training nids 20% (0/s, 16 s left) epoch 2" in screen.getvalue()


@pytest.fixture(scope="module")
def flows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flows") / "flows.csv"
    write_table(path, table(generate(TrafficConfig(), np.random.default_rng(0), 400, 1.7e9)))
    return path


def run(*arguments: object) -> int | str | None:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments], {})
    return stopped.value.code


def train(flows: Path, folder: Path, recipe: str, *more: object) -> int | str | None:
    path = folder / "recipe.yaml"
    path.write_text(recipe)
    columns = ["--label", "label", "--session", "session", "--ignore", "source", "--ignore", "ts"]
    where = ["--registry", folder / "registry", "--name", "nids", "--device", "cpu"]
    return run("train", "--data", flows, *columns, *where, "--recipe", path, *more)


def test_the_command_takes_a_recipe_file_and_bounds_and_notes_both(flows: Path, tmp_path: Path) -> None:
    (tmp_path / "bounds.yaml").write_text("{bytes_in: {low: 0, integer: true}, dst_port: {immutable: true}}")
    recipe = "recipe: mlp\nepochs: 2\npgd: {steps: 1}\n"
    more = ["--bounds", tmp_path / "bounds.yaml", "--checkpoints", tmp_path / "kept"]
    assert train(flows, tmp_path, recipe, *more) == 0
    manifest = json.loads((tmp_path / "registry" / "nids" / "1" / "manifest.json").read_bytes())
    assert manifest["recipe"]["name"] == "mlp"
    assert manifest["recipe"]["parameters"]["pgd"] == {"epsilon": 0.25, "steps": 1}
    said = {f["name"]: f["bounds"] for f in manifest["features"] if "bounds" in f}
    assert sorted(said) == ["bytes_in", "dst_port"]
    assert said["dst_port"]["immutable"] is True
    assert not list((tmp_path / "kept").iterdir())


def test_certify_says_prediction_radius_and_reach_of_each_row(
    flows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(flows, tmp_path, "recipe: mlp\nepochs: 6\nsmoothing: {sigma: 0.3}\n") == 0
    capsys.readouterr()
    certify = ["certify", "--registry", tmp_path / "registry", "--name", "nids", "--version", "1", "--data", flows]
    assert run(*certify, "--out", tmp_path / "out.csv", "--samples", 40, "--alpha", 0.05, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    found = read_table(tmp_path / "out.csv")
    assert told["rows"] == len(found) == 400
    abstain, radius = found.floats("abstain") == 1, found.floats("radius")
    assert (radius[abstain] == 0).all()
    assert (radius[~abstain] > 0).all()
    assert set(found.strings("prediction")[~abstain]) <= {"attack", "benign"}
    assert set(found.strings("prediction")[abstain]) <= {""}
    assert (found.floats("bytes_in_low") <= found.floats("bytes_in") + 1e-6).all()
    assert (found.floats("bytes_in_high") >= found.floats("bytes_in") - 1e-6).all()
    assert run(*certify, "--out", tmp_path / "again.csv", "--samples", 40, "--alpha", 0.05) == 0
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "out.csv").read_bytes()


def test_certify_counts_the_poisons_that_a_vote_withstands(flows: Path, tmp_path: Path) -> None:
    assert train(flows, tmp_path, "recipe: partition\nparts: 5\nbase: {recipe: linear_svm}\n") == 0
    certify = ["certify", "--registry", tmp_path / "registry", "--name", "nids", "--version", "1", "--data", flows]
    assert run(*certify, "--out", tmp_path / "out.csv") == 0
    poisons = read_table(tmp_path / "out.csv").floats("certified_poisons")
    assert set(poisons.tolist()) <= {0.0, 1.0, 2.0}
    assert poisons.max() > 0


def test_a_wrong_recipe_file_is_a_failure_that_names_file_and_key(
    flows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(flows, tmp_path, "recipe: mlp\nepoch: 2\n") == 1
    assert "recipe.yaml: epoch: no such parameter" in capsys.readouterr().err
