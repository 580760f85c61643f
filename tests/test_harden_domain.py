"""Rows moved by an adversary stay in the domain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_rows import fit, make_rows, small

from detectors.schema import Feature, Schema
from rollback.manifest import Bounds
from rollback.train.recipe import RecipeError, TrainingRows

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")
domains = pytest.importorskip("rollback.train.harden.domain")
adversary = pytest.importorskip("rollback.train.harden.adversary")
network_module = pytest.importorskip("rollback.train.network")
options = pytest.importorskip("rollback.train.harden.options")

NAMES = ("bytes", "seconds", "rate", "port", "score")
SCHEMA = Schema((*(Feature(name) for name in NAMES), Feature("proto", "categorical", ("tcp", "udp"))), ("a", "b"))
BOUNDS = {
    "bytes": Bounds(low=0, integer=True),
    "rate": Bounds(low=0, high=1e9, integer=False, depends_on=("bytes", "seconds"), relation="ratio"),
    "port": Bounds(immutable=True),
    "score": Bounds(low=-1, high=1),
}


def flows(seed: int, n: int = 60) -> TrainingRows:
    rng = np.random.default_rng(seed)
    amount = np.floor(np.exp(rng.normal(4, 2, n)))
    seconds = np.exp(rng.normal(0, 1, n))
    rate = amount / seconds
    rate[:5] = 1.0  # not computed like the others
    x = np.column_stack([amount, seconds, rate, rng.integers(0, 65_536, n), rng.uniform(-1.2, 1.2, n)])
    x[rng.random(x.shape) < 0.05] = np.nan
    x = np.column_stack([x, rng.integers(0, 2, n)]).astype(np.float64)
    y = rng.integers(0, 2, n)
    return TrainingRows(SCHEMA, x, y, np.arange(n).astype(np.str_), bounds=BOUNDS)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.01, 3.0), st.integers(1, 4))
def test_moved_rows_keep_every_rule_of_the_domain(seed: int, epsilon: float, steps: int) -> None:
    rows = flows(seed)
    domain = domains.domain_of(rows)
    torch.manual_seed(seed)
    mean = np.nan_to_num(np.nanmean(np.arcsinh(rows.x[:, :5]), axis=0))
    network = network_module.Network(SCHEMA, mean, np.ones(5), (4,))
    x = torch.tensor(rows.x, dtype=torch.float32)
    luck = torch.rand(len(x), 5) * 2 - 1
    how = options.Pgd(epsilon=epsilon, steps=steps)
    moved = adversary.worst_rows(network, x, lambda logits: logits[:, 0], how, domain, luck)

    missing = x.isnan()
    assert torch.equal(moved.isnan(), missing)
    assert torch.equal(moved[:, 3:4].nan_to_num(), x[:, 3:4].nan_to_num()), "immutable"
    assert torch.equal(moved[:, 5], x[:, 5]), "categories are not moved"
    whole = moved[:, 0][~missing[:, 0]]
    assert torch.equal(whole, whole.round()), "integer"
    assert (whole >= 0).all()
    score, before = moved[:, 4], x[:, 4]
    inside = (score >= before.clamp(max=-1.0)) & (score <= before.clamp(min=1.0))
    assert bool((inside | missing[:, 4]).all()), "no further out than it was"
    free = [0, 1, 4]
    apart = (network.standard(moved) - network.standard(x))[:, free].abs()
    assert float(apart.nan_to_num().max()) <= epsilon + 1e-3
    held = (x[:, 0] / x[:, 1] - x[:, 2]).abs() <= 1e-3 * x[:, 2].abs().clamp(min=1.0)
    now = (moved[:, 0] / moved[:, 1] - moved[:, 2]).abs() <= 2e-3 * moved[:, 2].abs().clamp(min=1.0)
    assert bool((now | ~held).all()), "what follows from others still does"
    assert torch.equal(moved[~held][:, :3].nan_to_num(), x[~held][:, :3].nan_to_num())


def test_bounds_that_nobody_has_said_are_those_of_trusted_rows() -> None:
    rows = replace(flows(0), bounds={})
    x = rows.x.copy()
    x[:, 0] = np.arange(len(x))
    x[-1, 0] = 1e6
    x[-1, 4] = 0.5
    trusted = np.arange(len(x)) < len(x) - 1
    domain = domains.domain_of(replace(rows, x=x, trusted=trusted))
    assert (domain.low[0], domain.high[0]) == (0, len(x) - 2)
    assert domain.integer.tolist()[:2] == [True, False]


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({"no": Bounds()}, "'no' is no feature; there are: bytes"),
        ({"proto": Bounds(low=0)}, "'proto' is categorical, and can be immutable alone"),
        ({"rate": Bounds(depends_on=("proto", "bytes"), relation="ratio")}, "depends on 'proto'"),
    ],
)
def test_bounds_that_contradict_the_schema_are_refused(bounds: dict[str, Bounds], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        domains.domain_of(replace(flows(0), bounds=bounds))


@pytest.mark.parametrize("option", [{"pgd": {"epsilon": 1.0, "steps": 3}}, {"trades": {"epsilon": 1.0, "steps": 3}}])
def test_adversarial_training_withstands_more_than_plain_training(option: dict[str, object]) -> None:
    """Attacked with more steps than it was trained with, at the same epsilon."""
    rows = make_rows(400)
    more = {"epochs": 12, "learning_rate": 0.02}

    def robust(**change: object) -> float:
        recipe = small("mlp", **more, **change)
        made = fit(recipe, rows)
        mlp = pytest.importorskip("rollback.train.recipes.mlp")
        network = mlp.network_of(rows, made.weights, recipe.parameters, torch.device("cpu"))
        x, y = torch.tensor(rows.x, dtype=torch.float32), torch.tensor(rows.y)
        torch.manual_seed(0)
        luck = torch.rand(len(x), len(network.numeric)) * 2 - 1
        wanted = lambda logits: torch.nn.functional.cross_entropy(logits, y, reduction="none")  # noqa: E731
        moved = adversary.worst_rows(
            network, x, wanted, options.Pgd(epsilon=1.0, steps=10), domains.domain_of(rows), luck
        )
        return float((network(moved).argmax(dim=1) == y).float().mean())

    assert robust(**option) > robust() + 0.02


def test_two_relations_that_share_a_part_both_hold_afterwards() -> None:
    """Where one of them does not hold in a row its parts stay, also for the other."""
    total = domains.Dependent(2, (0, 1), "sum")
    product = domains.Dependent(4, (1, 3), "product")
    low, high, no = np.full(5, -1e6), np.full(5, 1e6), np.zeros(5, dtype=np.bool_)
    fixed = np.array([False, False, True, False, True])
    original = torch.tensor([[1.0, 2.0, 3.0, 4.0, 8.0], [1.0, 2.0, 3.0, 4.0, 77.0]])
    for order in ((total, product), (product, total)):
        domain = domains.Domain(low, high, no, fixed, order)
        moved = domain.within(original, original + torch.tensor([5.0, 6.0, 0.0, 7.0, 0.0]))
        assert moved.tolist() == [[6.0, 8.0, 14.0, 11.0, 88.0], [6.0, 2.0, 8.0, 4.0, 77.0]]
