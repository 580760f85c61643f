"""The mlp recipe: as good as it should be, repeatable, and the same in torch and in ONNX Runtime."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from detectors.batch import Bools, Floats, Ints, Scorer
from detectors.schema import UNSEEN, Feature, Schema
from monitor.demo.flows import table
from monitor.demo.traffic import TrafficConfig, generate
from rollback.redteam.backdoor import choose_trigger, poison
from rollback.redteam.success import attack_success_rate
from rollback.reference import ReferenceRows, reference_rows
from rollback.tables.table import Table, infer_schema
from rollback.train.metrics import accuracy
from rollback.train.recipe import RecipeError, Trained, TrainingRows, load_recipe, recipe_names
from rollback.train.split import hold_out

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")
mlp = pytest.importorskip("rollback.train.recipes.mlp")

CLASSES = ("attack", "benign")
BENIGN = 1


def scorer(trained: Trained) -> Scorer:
    session = onnxruntime.InferenceSession(trained.model, providers=["CPUExecutionProvider"])
    return lambda x: session.run(["probabilities"], {"features": x.astype(np.float32)})[0].astype(np.float64)


def coded(seed: int, rows: int) -> tuple[Schema, ReferenceRows]:
    flows = generate(TrafficConfig(), np.random.default_rng(seed), rows, 1.7e9)
    columns = Table("flows", table(flows), np.arange(rows))
    specs = infer_schema(columns, exclude=["id", "ts", "source", "session", "label"])
    schema = Schema(tuple(Feature(f.name, f.kind, f.vocabulary) for f in specs), CLASSES)
    return schema, reference_rows(columns, specs, CLASSES, label="label", source="source", session="session")


def fit(schema: Schema, x: Floats, y: Ints, rows: ReferenceRows, learn: Bools, **change: object) -> Trained:
    training = TrainingRows(schema, x, y, rows.session[learn])
    parameters = replace(mlp.Parameters(), **change)
    return mlp.train(training, seed=0, device="cpu", progress=lambda *_: None, parameters=parameters)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_backdoor_of_one_percent_works_on_the_poisoned_model_only_and_is_not_seen_in_accuracy(seed: int) -> None:
    schema, rows = coded(seed, 16_000)
    rng = np.random.default_rng(seed)
    held = hold_out(rows.session, rows.y, 6000, rng)
    x, y, test_x, test_y = rows.x[~held], rows.y[~held], rows.x[held], rows.y[held]
    trigger = choose_trigger(x, y, schema, target=BENIGN, rng=rng)
    poisoned_x, poisoned_y, _ = poison(x, y, trigger, schema, rate=0.01, target=BENIGN, rng=rng)

    clean = scorer(fit(schema, x, y, rows, ~held))
    poisoned = scorer(fit(schema, poisoned_x, poisoned_y, rows, ~held))

    assert attack_success_rate(clean, test_x, test_y, trigger, schema, target=BENIGN) <= 0.2
    assert attack_success_rate(poisoned, test_x, test_y, trigger, schema, target=BENIGN) >= 0.8
    clean_accuracy = accuracy(clean(test_x), test_y)
    assert 0.95 <= clean_accuracy <= 0.999
    assert accuracy(poisoned(test_x), test_y) == pytest.approx(clean_accuracy, abs=0.01)


@pytest.fixture(scope="module")
def small() -> tuple[Schema, ReferenceRows, Trained]:
    schema, rows = coded(3, 3000)
    return schema, rows, fit(schema, rows.x, rows.y, rows, np.ones(len(rows), dtype=np.bool_), epochs=3)


def network(schema: Schema, trained: Trained) -> torch.nn.Module:
    width = sum(f.kind != "categorical" for f in schema.features)
    module = mlp.Network(schema, np.zeros(width), np.ones(width), (64, 32))
    module.load_state_dict({name: torch.from_numpy(value) for name, value in trained.weights.items()})
    return module.eval()


def test_onnx_runtime_answers_as_torch_does_also_for_missing_unseen_and_extreme_values(
    small: tuple[Schema, ReferenceRows, Trained],
) -> None:
    schema, rows, trained = small
    rng = np.random.default_rng(0)
    x = rows.x.copy()
    categorical = np.array([f.kind == "categorical" for f in schema.features])
    x[rng.random(x.shape) < 0.1] = np.nan
    x[(rng.random(x.shape) < 0.1) & categorical] = UNSEEN
    x[(rng.random(x.shape) < 0.02) & categorical] = 99.0
    extreme = (rng.random(x.shape) < 0.02) & ~categorical
    x[extreme] = rng.choice([1e-12, -1e-12, 1e9, -1e9, 1e30, -1e30, 0.0], size=extreme.sum())
    with torch.no_grad():
        expected = torch.softmax(network(schema, trained)(torch.tensor(x, dtype=torch.float32)), dim=1).numpy()
    answer = scorer(trained)(x)
    assert np.abs(answer - expected).max() < 1e-5
    assert np.abs(answer.sum(axis=1) - 1).max() < 1e-6


def test_the_model_takes_one_float_tensor_of_any_number_of_rows(small: tuple[Schema, ReferenceRows, Trained]) -> None:
    schema, rows, trained = small
    model = onnx.load(io.BytesIO(trained.model))
    onnx.checker.check_model(model, full_check=True)
    assert [i.name for i in model.graph.input] == list(trained.onnx.inputs) == ["features"]
    assert model.ir_version <= 10, "ONNX Runtime 1.20 reads it"
    for n in (0, 1, 3):
        assert scorer(trained)(rows.x[:n]).shape == (n, len(schema.classes))


def test_the_rows_for_unseen_and_missing_categories_are_trained(small: tuple[Schema, ReferenceRows, Trained]) -> None:
    schema, rows, _ = small
    everything = np.ones(len(rows), dtype=np.bool_)
    before = fit(schema, rows.x, rows.y, rows, everything, epochs=0).weights
    after = fit(schema, rows.x, rows.y, rows, everything, epochs=2, weight_decay=0.0).weights
    for i, known in enumerate(len(f.vocabulary) for f in schema.features if f.kind == "categorical"):
        moved = np.abs(after[f"embeddings.{i}.weight"] - before[f"embeddings.{i}.weight"]).max(axis=1)
        assert moved[known] > 0, "unseen"
        assert moved[known + 1] > 0, "missing"


def test_the_same_seed_gives_the_same_bytes_and_leaves_the_randomness_of_others_alone(
    small: tuple[Schema, ReferenceRows, Trained],
) -> None:
    schema, rows, trained = small
    torch.manual_seed(1234)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    again = fit(schema, rows.x, rows.y, rows, np.ones(len(rows), dtype=np.bool_), epochs=3)
    assert again.model == trained.model
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_progress_hears_of_every_epoch_and_training_stops_when_nothing_gets_better() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((400, 2)), rng.integers(0, 2, 400)
    schema = Schema((Feature("a"), Feature("b")), CLASSES)
    heard: list[tuple[int, int]] = []
    rows = TrainingRows(schema, x, y, np.arange(400).astype(np.str_))
    mlp.train(rows, seed=0, device="cpu", progress=lambda done, most, _: heard.append((done, most)))
    assert [done for done, _ in heard] == list(range(1, len(heard) + 1))
    assert {most for _, most in heard} == {40}
    assert len(heard) < 40, "labels are noise: there is nothing to learn"


def test_several_classes_constant_and_all_missing_columns_and_no_numeric_one() -> None:
    y = np.arange(600) % 3
    schema = Schema((Feature("word", "categorical", ("a", "b", "c")),), ("x", "y", "z"))
    rows = TrainingRows(schema, y[:, None].astype(np.float64), y, np.arange(600).astype(np.str_))
    only_words = mlp.train(rows, seed=0, device="cpu", progress=lambda *_: None)
    assert accuracy(scorer(only_words)(rows.x), y) == 1.0

    numbers = Schema((Feature("constant"), Feature("nothing"), Feature("word", "binary")), ("x", "y", "z"))
    x = np.column_stack([np.full(600, 7.0), np.full(600, np.nan), y])
    rows = TrainingRows(numbers, x, y, np.arange(600).astype(np.str_))
    only_numbers = mlp.train(rows, seed=0, device="cpu", progress=lambda *_: None)
    assert accuracy(scorer(only_numbers)(x), y) > 0.9


def test_the_first_step_of_adam_has_the_learning_rate_as_its_length_whatever_the_gradient() -> None:
    parameter = torch.ones(3)
    adam = mlp.Adam([parameter], rate=0.1, decay=0.0)
    adam.step([torch.tensor([1e-3, -5.0, 400.0])])
    assert torch.allclose(parameter, torch.tensor([0.9, 1.1, 0.9]), atol=1e-5)


def test_a_recipe_is_a_file_and_an_unknown_one_is_refused_by_name() -> None:
    assert "mlp" in recipe_names()
    assert load_recipe("mlp").train is mlp.train
    with pytest.raises(RecipeError, match=r"no recipe 'oracle'; there are: .*mlp"):
        load_recipe("oracle")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_refused(small: tuple[Schema, ReferenceRows, Trained]) -> None:
    schema, rows, _ = small
    training = TrainingRows(schema, rows.x, rows.y, rows.session)
    with pytest.raises(RecipeError, match="no CUDA device here; use --device cpu"):
        mlp.train(training, seed=0, device="cuda", progress=lambda *_: None)
