"""Differential privacy: what is spent is written down, and noise is where it has to be."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from recipe_rows import fit, make_rows, scorer, small

from rollback.manifest import Bounds
from rollback.train.recipe import RecipeError

pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")
pytest.importorskip("opacus", reason="privacy needs the extra: pip install 'tocsin[privacy]'")
privacy = pytest.importorskip("rollback.train.harden.privacy")
options = pytest.importorskip("rollback.train.harden.options")

WIDE = {"bytes": Bounds(low=0, high=1e5), "packets": Bounds(low=0, high=100), "constant": Bounds(low=0, high=10)}
REPEATABLE = {"epsilon": 8.0, "repeatable": True, "statistics": 4.0}


def test_the_accounting_is_in_the_figures_and_within_the_budget() -> None:
    made = fit(small("mlp", epochs=2, privacy={"epsilon": 2.0, "delta": 1e-4, "statistics": 0.5}), make_rows())
    spent = made.figures
    assert 1.9 <= spent["privacy_epsilon_gradients"] <= 2.0
    assert spent["privacy_epsilon"] == pytest.approx(spent["privacy_epsilon_gradients"] + 0.5)
    assert (spent["privacy_delta"], spent["privacy_holds"]) == (1e-4, 1.0)
    assert spent["privacy_noise_multiplier"] > 0.5
    assert spent["private_share.class0"] + spent["private_share.class1"] == pytest.approx(1)
    assert made.settings["privacy"]["epsilon"] == 2.0


def test_less_epsilon_is_more_noise() -> None:
    noise = [
        fit(small("mlp", epochs=1, privacy={"epsilon": e}), make_rows()).figures["privacy_noise_multiplier"]
        for e in (8.0, 1.0)
    ]
    assert noise[1] > 1.5 * noise[0]


def test_noise_is_not_that_of_the_seed_unless_it_is_asked_for() -> None:
    rows = make_rows()
    secret, other = (fit(small("mlp", epochs=1, privacy={}), rows) for _ in range(2))
    assert secret.model != other.model
    known, again = (fit(small("mlp", epochs=1, privacy=REPEATABLE), rows) for _ in range(2))
    assert known.model == again.model
    assert known.figures["privacy_holds"] == 0.0


def test_a_private_model_learns_and_answers_in_onnx_runtime_as_in_torch() -> None:
    rows = replace(make_rows(1500), bounds=WIDE)
    made = fit(small("mlp", epochs=6, learning_rate=0.05, batch=128, privacy=REPEATABLE), rows)
    fresh = make_rows(300, seed=9)
    np.testing.assert_allclose(scorer(made, rows)(fresh.x), made.own(fresh.x), atol=1e-5)
    assert np.mean(made.own(fresh.x).argmax(axis=1) == fresh.y) > 0.7


def test_one_row_moves_the_gradient_by_no_more_than_the_clip() -> None:
    """With the noise taken away; whatever the row is."""
    torch = pytest.importorskip("torch")
    network_module = pytest.importorskip("rollback.train.network")
    objective = pytest.importorskip("rollback.train.harden.objective")
    rows = make_rows(40)
    torch.manual_seed(0)
    network = network_module.Network(rows.schema, np.zeros(4), np.ones(4), (8,))
    x, y = torch.tensor(rows.x, dtype=torch.float32), torch.tensor(rows.y)
    x[0, :4] = torch.tensor([1e9, -1e9, 1e9, 1e9])
    weight = torch.ones(40)
    how = options.Privacy(clip=0.3)
    steps = privacy.PrivateSteps(network, objective.Objective(), (x, y, weight), how, batch=40, epochs=1, drop=0.0)
    steps.noise = 0.0
    all_rows, without = steps.gradients(torch.arange(40)), steps.gradients(torch.arange(1, 40))
    moved = torch.cat([(a - b).flatten() for a, b in zip(all_rows, without, strict=True)]).norm() * 40
    assert 0.25 < float(moved) <= 0.3 + 1e-4


def test_what_is_clipped_is_the_gradient_of_a_single_row() -> None:
    """With nothing clipped and no noise, the sum is the gradient of the summed loss, as torch has it."""
    torch = pytest.importorskip("torch")
    network_module = pytest.importorskip("rollback.train.network")
    objective = pytest.importorskip("rollback.train.harden.objective")
    rows = make_rows(40)
    torch.manual_seed(0)
    network = network_module.Network(rows.schema, np.zeros(4), np.ones(4), (8,))
    x, y = torch.tensor(rows.x, dtype=torch.float32), torch.tensor(rows.y)
    plain = torch.autograd.grad(torch.nn.functional.cross_entropy(network(x), y), list(network.parameters()))
    how = options.Privacy(clip=1e9)
    columns = (x, y, torch.ones(40))
    steps = privacy.PrivateSteps(network, objective.Objective(), columns, how, batch=40, epochs=1, drop=0.0)
    steps.noise = 0.0
    for ours, theirs in zip(steps.gradients(torch.arange(40)), plain, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_statistics_are_off_by_the_laplace_noise_that_was_stated() -> None:
    rows = replace(make_rows(2000), bounds=WIDE)
    how = options.Privacy(statistics=2.0)
    exact = privacy.private_statistics(rows, options.Privacy(statistics=1e9), np.random.default_rng(0))
    means = [privacy.private_statistics(rows, how, np.random.default_rng(s)).mean[0] for s in range(1, 400)]
    half = np.arcsinh(1e5) / 2
    wanted = 2 * half / (2000 * (0.9 * 2.0 / 8))
    assert np.mean(np.abs(np.array(means) - exact.mean[0])) == pytest.approx(wanted, rel=0.15)


def test_without_opacus_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "rollback.train.harden.privacy")
    monkeypatch.delattr("rollback.train.harden.privacy")
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    with pytest.raises(RecipeError, match=r'pip install "tocsin\[privacy\]"'):
        fit(small("mlp", privacy={}), make_rows(100))


@pytest.mark.parametrize(
    ("change", "weight", "said"),
    [
        ({"delta": 0.1}, None, "delta 0.1 must be below 1 / rows"),
        ({}, 2.0, "rows must weigh between 0 and 1"),
    ],
)
def test_a_bound_that_would_not_hold_is_refused(change: dict[str, float], weight: float | None, said: str) -> None:
    rows = make_rows(100)
    rows = rows if weight is None else replace(rows, weight=np.full(100, weight))
    with pytest.raises(RecipeError, match=said):
        fit(small("mlp", privacy=change), rows)
