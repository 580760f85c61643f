"""What every attack on training data promises. Attacks are found in the package: a new one is tested without a name."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.schema import Feature, Schema
from rollback.redteam.attack import Poisoned, Situation, attacks
from rollback.redteam.backdoor import Trigger
from rollback.redteam.placement import of_sources, spread
from rollback.redteam.success import success_rate
from rollback.redteam.surrogate import Surrogate

SCHEMA = Schema(
    (
        Feature("bytes"),
        Feature("packets"),
        Feature("ratio"),
        Feature("service", "categorical", ("http", "dns", "irc", "ssh")),
        Feature("urgent", "binary"),
        Feature("flag", "categorical", ("a", "b", "c")),
    ),
    ("attack", "benign", "odd"),
)
NAMES = sorted(attacks())
TRIGGERED = ("clean_label", "dirty_label", "split_trigger")
RELABELLING = ("dirty_label", "random_flips", "split_trigger", "targeted_flips")
TRIGGER = Trigger({"service": "irc", "urgent": 1.0, "packets": 7.0, "flag": "c"})


@cache
def situation(seed: int, target: int = 1, victim: int | None = 0, n: int = 240) -> Situation:
    """Rows of three classes, of four sources, with missing and unseen values."""
    rng = np.random.default_rng(seed)
    n_all = n + 60
    y = rng.permutation(np.arange(n_all) % 3)
    x = np.column_stack(
        [
            np.round(rng.lognormal(5 + y, 1)),
            rng.poisson(3 + 4 * y),
            rng.random(n_all) * (1 + y),
            (rng.integers(0, 3, n_all) + y) % 4,
            rng.random(n_all) < 0.2,
            rng.integers(-1, 3, n_all),
        ]
    ).astype(np.float64)
    x[:, 2][rng.random(n_all) < 0.05] = np.nan
    coming = x[n:][y[n:] == victim] if victim is not None else x[n:][y[n:] != target]
    source, family = np.char.add("s", (np.arange(n) % 4).astype(str)), np.char.add("f", (y[:n] % 2).astype(str))
    return Situation(SCHEMA, x[:n], y[:n], source, family, target, victim, np.ones(n, np.bool_), coming)


@cache
def run(name: str, seed: int = 1, target: int = 1, victim: int | None = 0) -> Poisoned:
    made = attacks()[name]
    given_trigger = {"trigger": TRIGGER} if name in TRIGGERED else {}
    parameters = made.parameters(rate=0.05, **given_trigger)
    return made.run(situation(seed, target, victim), parameters, np.random.default_rng(seed))


def test_attacks_are_found() -> None:
    assert {*TRIGGERED, *RELABELLING, "feature_collision", "gradient_matching"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("target", "victim"), [(1, 0), (0, 1), (1, None)])
def test_it_touches_the_share_that_was_asked_for_and_says_which_rows(
    name: str, target: int, victim: int | None
) -> None:
    on, done = situation(1, target, victim), run(name, 1, target, victim)
    changed = (done.y != on.y) | np.any((done.x != on.x) & ~(np.isnan(done.x) & np.isnan(on.x)), axis=1)
    assert not np.any(changed & ~done.rows)
    assert done.rows.sum() == round(0.05 * len(on.y))
    assert changed.sum() >= 0.5 * done.rows.sum()
    assert done.aim.target == target
    assert done.aim.victim == victim


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("target", "victim"), [(1, 0), (0, 1), (1, None)])
def test_labels_become_the_target_or_stay(name: str, target: int, victim: int | None) -> None:
    on, done = situation(1, target, victim), run(name, 1, target, victim)
    if name in RELABELLING:
        assert set(done.y[done.rows].tolist()) == {target}
        assert target not in on.y[done.rows]
        assert victim is None or set(on.y[done.rows].tolist()) == {victim}
    else:
        assert np.array_equal(done.y, on.y)
        assert set(on.y[done.rows].tolist()) == {target}


@pytest.mark.parametrize("name", NAMES)
def test_what_it_was_given_stays_as_it_was_and_the_same_randomness_does_the_same(name: str) -> None:
    on = situation(2)
    before = on.x.copy(), on.y.copy()
    first = run(name, 2)
    again = attacks()[name].run(
        on,
        attacks()[name].parameters(rate=0.05, **({"trigger": TRIGGER} if name in TRIGGERED else {})),
        np.random.default_rng(2),
    )
    np.testing.assert_array_equal(on.x, before[0])
    np.testing.assert_array_equal(on.y, before[1])
    np.testing.assert_array_equal(first.x, again.x)
    np.testing.assert_array_equal(first.rows, again.rows)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=4)
@given(seed=st.integers(0, 10_000), rate=st.sampled_from([0.005, 0.03]))
def test_every_value_lies_in_the_domain_of_its_column(name: str, seed: int, rate: float) -> None:
    on = situation(seed)
    parameters = attacks()[name].parameters(rate=rate, **({"trigger": TRIGGER} if name in TRIGGERED else {}))
    done = attacks()[name].run(on, parameters, np.random.default_rng(seed))
    stamped = {SCHEMA.names.index(name): value for name, value in TRIGGER.features.items()}
    for j, feature in enumerate(SCHEMA.features):
        known = np.concatenate([on.x[:, j], on.coming[:, j]])
        fresh = done.x[done.rows, j]
        if j in stamped and name in TRIGGERED and feature.kind == "numeric":
            known = np.append(known, float(stamped[j]))
        elif feature.kind == "categorical":
            known = np.append(known, np.arange(len(feature.vocabulary)))
        elif feature.kind == "binary":
            known = np.append(known, [0.0, 1.0])
        assert np.all(np.isin(fresh[~np.isnan(fresh)], known))
        assert not np.isnan(fresh).any() or np.isnan(known).any()


@pytest.mark.parametrize("name", NAMES)
def test_rows_out_of_reach_are_left_alone_and_too_few_are_refused_or_all_taken(name: str) -> None:
    on = situation(3)
    reach = on.source == "s1"
    made = attacks()[name]
    parameters = made.parameters(rate=0.02, **({"trigger": TRIGGER} if name in TRIGGERED else {}))
    done = made.run(replace(on, reach=reach), parameters, np.random.default_rng(3))
    assert not done.rows[~reach].any()
    with pytest.raises(ValueError, match=r"could be|reach"):
        made.run(replace(on, reach=np.zeros(len(on.y), np.bool_)), parameters, np.random.default_rng(3))


@pytest.mark.parametrize("name", ["feature_collision", "gradient_matching"])
def test_attacks_without_a_trigger_need_rows_to_aim_at(name: str) -> None:
    on = situation(1)
    with pytest.raises(ValueError, match="needs coming rows"):
        attacks()[name].run(replace(on, coming=on.coming[:0]), attacks()[name].parameters(), np.random.default_rng(0))


def test_collision_moves_rows_towards_the_coming_ones_in_the_eyes_of_a_model() -> None:
    on, done = situation(1), run("feature_collision")
    model = Surrogate.fitted(on.x, on.y, SCHEMA, np.random.default_rng(9))

    def distance(x: np.ndarray) -> float:
        hidden, goals = (model.hidden(model.encoding(part)) for part in (x[done.rows], on.coming))
        return float(np.mean(np.min(np.linalg.norm(hidden[:, None] - goals[None], axis=2), axis=1)))

    assert distance(done.x) < 0.8 * distance(on.x)


def test_matching_raises_the_cosine_of_the_gradients() -> None:
    on, done = situation(1), run("gradient_matching")
    model = Surrogate.fitted(on.x, on.y, SCHEMA, np.random.default_rng(1))
    assert done.aim.coming is not None
    aim = model.gradient(model.encoding(done.aim.coming), np.full(len(done.aim.coming), 1))

    def cosine(x: np.ndarray) -> float:
        own = model.gradient(model.encoding(x[done.rows]), on.y[done.rows])
        inner = np.sum(own.hidden * aim.hidden) + np.sum(own.last * aim.last)
        return float(inner / np.sqrt(own.squared * aim.squared))

    assert cosine(done.x) > cosine(on.x) + 0.1


def test_a_surrogates_gradient_is_that_of_its_loss() -> None:
    on = situation(5)
    model = Surrogate.fitted(on.x, on.y, SCHEMA, np.random.default_rng(0))
    inputs, y = model.encoding(on.x[:7]), on.y[:7]

    def loss(model: Surrogate) -> float:
        hidden = np.c_[model.hidden(inputs), np.ones(7)]
        logits = hidden @ model.last
        return float(np.sum(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(7), y]))

    slope, (by_itself,), squared = (
        model.gradient(inputs, y),
        *model.products(inputs, y, [model.gradient(inputs[:1], y[:1])]),
    )
    step = np.zeros_like(model.first)
    step[0, 3] = 1e-6
    rise = (loss(replace(model, first=model.first + step)) - loss(replace(model, first=model.first - step))) / 2e-6
    assert rise == pytest.approx(slope.hidden[0, 3], rel=1e-3, abs=1e-6)
    assert by_itself[0] == pytest.approx(squared[0])


def test_a_split_trigger_leaves_no_row_with_all_of_it() -> None:
    on, done = situation(1), run("split_trigger")
    whole = np.array([2.0, 1.0, 7.0, 2.0])
    new = done.x[done.rows][:, [3, 4, 1, 5]] == whole
    old = on.x[done.rows][:, [3, 4, 1, 5]] == whole
    assert np.all((new & ~old).sum(axis=1) <= 1)


def test_clean_labels_are_put_on_the_rows_that_a_model_is_least_sure_of() -> None:
    on, done = situation(1), run("clean_label")
    sure = Surrogate.fitted(on.x, on.y, SCHEMA, np.random.default_rng(1)).scores(on.x)[:, 1]
    own = on.y == 1
    assert sure[done.rows].max() <= np.sort(sure[own])[done.rows.sum() - 1] + 1e-12


def test_placement_takes_whole_sources_or_spreads_evenly_over_all() -> None:
    rng = np.random.default_rng(0)
    source = np.repeat(["a", "b", "c"], [50, 30, 3])
    assert len(np.unique(source[of_sources(source, 2, rng)])) == 2
    rows = spread(source, np.ones(83, np.bool_), 23, rng)
    assert {name: int(np.sum(source[rows] == name)) for name in "abc"} == {"a": 10, "b": 10, "c": 3}
    with pytest.raises(ValueError, match="84 rows were to be changed, 83 could be"):
        spread(source, np.ones(83, np.bool_), 84, rng)


def test_success_is_measured_on_what_the_attack_aims_at() -> None:
    on = situation(1)

    def scorer(x: np.ndarray) -> np.ndarray:
        fooled = (x[:, 3] == 2) & (x[:, 4] == 1)
        return np.where(fooled[:, None], [[0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]])

    rates = {
        n: success_rate(scorer, run(n).aim, on.x, on.y, on.family, SCHEMA) for n in ("dirty_label", "random_flips")
    }
    victims = on.x[on.y == 0]
    assert rates["dirty_label"] == 1.0
    assert rates["random_flips"] == pytest.approx(np.mean((victims[:, 3] == 2) & (victims[:, 4] == 1)))
    coming = run("feature_collision").aim
    assert coming.coming is not None
    assert success_rate(scorer, coming, on.x[:0], on.y[:0], on.family[:0], SCHEMA) == pytest.approx(
        np.mean((coming.coming[:, 3] == 2) & (coming.coming[:, 4] == 1))
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [({"target": 0, "victim": 0}, "both class 0"), ({"y": np.zeros(3, np.int64)}, "differ in length")],
)
def test_situations_that_mean_nothing_are_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(situation(1), **change)  # type: ignore[arg-type]


def test_a_rate_that_means_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a rate lies in \(0, 1\], got 0"):
        situation(1).count(0.0)
