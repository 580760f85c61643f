"""Laws of sanitising that hold for every buffer, with a model that is fitted in no time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sanitise_traffic import silent

from detectors.batch import Floats, Scorer
from detectors.schema import UNSEEN, Feature, Schema
from rollback.sanitise import suspicion
from rollback.sanitise.rows import Rows, Sanitised
from rollback.sanitise.sanitise import SanitiseError, Settings, sanitise

SCHEMA = Schema(
    (Feature("bytes"), Feature("service", "categorical", ("http", "dns", "irc")), Feature("urgent", "binary")),
    ("attack", "benign", "unknown"),
)
seeds = st.integers(0, 2**31)


def buffer(n: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = np.column_stack(
        [rng.lognormal(5 + y, 1), (rng.random(n) < 0.4) + y * (rng.random(n) < 0.5), rng.random(n) < 0.1]
    )
    x = x.astype(np.float64)
    x[rng.random(x.shape) < 0.03] = np.nan
    x[rng.random(n) < 0.03, 1] = UNSEEN
    names = np.char.add("s", rng.integers(0, 3, n).astype(str))
    return Rows(schema=SCHEMA, x=x, y=y, source=names, session=np.char.add(f"{seed}-", (np.arange(n) // 2).astype(str)))


def naive_bayes(rows: Rows, seed: int) -> Scorer:
    """Counts of coarse values per class; nothing is drawn."""
    del seed
    k = len(rows.schema.classes)

    def cells(x: Floats) -> np.ndarray:
        return np.where(np.isnan(x), 0, np.clip(np.round(np.arcsinh(x)), -1, 9) + 2).astype(int)

    counts = np.ones((x_features := rows.x.shape[1], 12, k))
    for j in range(x_features):
        np.add.at(counts[j], (cells(rows.x)[:, j], rows.y), 1)
    logs = np.log(counts / counts.sum(axis=1, keepdims=True))
    prior = np.log(np.bincount(rows.y, minlength=k) + 0.1)

    def score(x: Floats) -> Floats:
        logits = prior + sum(logs[j, cells(x)[:, j]] for j in range(x_features))
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        return scores / scores.sum(axis=1, keepdims=True)

    return score


def run(base: Rows, new: Rows, seed: int = 0, **more: object) -> Sanitised:
    options = {"hint": None, "settings": Settings(), **more}
    return sanitise(base, new, naive_bayes, seed=seed, progress=silent, **options)


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 250), seeds)
def test_every_row_stays_with_weight_one_or_is_removed_by_a_named_screen_for_a_reason(n: int, seed: int) -> None:
    found = run(buffer(400, seed), buffer(n, seed + 1))
    assert len(found.removed) == n
    assert np.array_equal(found.weight, np.where(found.removed, 0.0, 1.0))
    assert set(found.screen[found.removed].tolist()) <= set(found.error_rate)
    for column in (found.screen, found.reason):
        assert np.array_equal(column != "", found.removed)
    assert np.array_equal(~np.isnan(found.score), found.removed)
    assert sum(s.rows for s in found.slices if s.valued) == np.count_nonzero(found.screen == "slice_mining")


@settings(deadline=None, max_examples=8)
@given(seeds)
def test_the_order_of_the_rows_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    base, new = buffer(400, seed), buffer(200, seed + 1)
    flip = rng.random(len(new)) < 0.1
    new = replace(new, y=np.where(flip, 1 - new.y, new.y))
    order = rng.permutation(len(new))
    plain, mixed = run(base, new), run(base.take(rng.permutation(len(base))), new.take(order))
    assert np.array_equal(plain.removed[order], mixed.removed)
    assert np.array_equal(plain.reason[order], mixed.reason)
    assert plain.slices == mixed.slices


@settings(deadline=None, max_examples=5)
@given(seeds)
def test_the_same_seed_gives_the_same_answer(seed: int) -> None:
    base, new = buffer(300, seed), buffer(200, seed + 1)
    first, second = run(base, new, seed), run(base, new, seed)
    assert np.array_equal(first.removed, second.removed)
    assert np.array_equal(first.score, second.score, equal_nan=True)


def test_no_new_rows_leave_models_of_the_base_for_the_gate() -> None:
    base = buffer(300, 1)
    found = run(base, base.take(slice(0, 0)))
    assert len(found.removed) == 0
    assert len(found.base_scorers) == 3
    assert found.base_scorers[0](base.x[:5]).shape == (5, 3)


def test_rows_without_sessions_are_a_session_each() -> None:
    base, new = buffer(300, 1), buffer(200, 2)
    found = run(replace(base, session=np.full(300, "-")), replace(new, session=np.full(200, "-")))
    assert found.removed.mean() < 0.1


@pytest.mark.parametrize("odd", ["all missing", "all unseen", "one source", "new source", "one label"])
def test_odd_columns_do_not_break_it(odd: str) -> None:
    base, new = buffer(400, 3), buffer(200, 4)
    if odd in {"all missing", "all unseen"}:
        at, value = (0, np.nan) if odd == "all missing" else (1, UNSEEN)
        base, new = (replace(r, x=np.where(np.arange(3) == at, value, r.x)) for r in (base, new))
    elif odd == "one source":
        base, new = (replace(r, source=np.full(len(r), "a")) for r in (base, new))
    elif odd == "new source":
        new = replace(new, source=np.full(len(new), "b"))
    else:
        new = new.take(new.y == 1)
    found = run(base, new)
    assert len(found.removed) == len(new)
    assert found.removed.mean() < 0.1


def test_a_label_that_the_base_does_not_know_is_left_alone_and_remarked() -> None:
    new = buffer(200, 4)
    new = replace(new, y=np.where(np.arange(200) < 20, 2, new.y))
    found = run(buffer(400, 3), new)
    assert not found.removed[:20][found.screen[:20] == "suspicion"].any()
    assert any("20 rows labelled unknown cannot be judged one by one" in r for r in found.remarks)


def test_a_base_of_one_class_is_refused() -> None:
    base = buffer(300, 1)
    with pytest.raises(SanitiseError, match=r"rows of \['benign'\] only; give it rows of two classes"):
        run(base.take(base.y == 1), buffer(10, 2))


def test_a_base_with_fewer_sessions_of_a_class_than_folds_is_refused() -> None:
    base = buffer(300, 1)
    few = np.flatnonzero(base.y == 0)[:1]
    with pytest.raises(SanitiseError, match="1 sessions of class attack, 3 are needed"):
        run(base.take(np.concatenate([few, np.flatnonzero(base.y == 1)])), buffer(10, 2))


def test_other_schemas_and_classes_are_refused() -> None:
    base, new = buffer(300, 1), buffer(10, 2)
    with pytest.raises(SanitiseError, match="differ in their schema"):
        run(base, replace(new, schema=replace(SCHEMA, classes=("benign", "attack", "unknown"))))
    with pytest.raises(SanitiseError, match="no class 'normal'; there are attack, benign, unknown"):
        run(base, new, settings=Settings(benign="normal"))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (lambda: Settings(folds=1), "folds: at least 2, got 1"),
        (lambda: Settings(screens={"magic": 1}), r"screens: 'magic' with int; there are \["),
        (lambda: Settings(screens={"slice_mining": suspicion.Parameters()}), "'slice_mining' with Parameters"),
        (lambda: suspicion.Parameters(level=0.1), "need 0 < level <= source_level < 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        settings()
