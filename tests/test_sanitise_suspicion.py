"""The screen that combines scores: what it states, what it finds, and which sources it names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sanitise_traffic import silent
from score_material import ATTACK, BASE, BENIGN, NEW, backdoor, case, clean, far_out, rows, stamped, wrong_labels

from detectors.batch import Bools
from rollback.sanitise.bounded_mean import exceedance, upper_mean
from rollback.sanitise.rows import Rows
from rollback.sanitise.scores.score import score_names
from rollback.sanitise.screen import Findings
from rollback.sanitise.source_alarm import Limits, alarmed_sources
from rollback.sanitise.suspicion import Parameters, Suspicion

LIMITS = Limits(1e-4, 1e-3, 0.95)


def find(base: Rows, new: Rows, **more: object) -> Findings:
    return Suspicion(Parameters(**more)).find(case(base, new, 5), silent)


@pytest.mark.parametrize("names", [(), ("lkg_loss",), ("embedding_knn", "robust_statistics"), tuple(score_names())])
def test_whatever_is_combined_clean_rows_are_lost_as_seldom_as_stated(names: tuple[str, ...]) -> None:
    weights = {"scores": dict.fromkeys(names, 1.0)} if names else {}
    screen = Suspicion(Parameters(level=0.05, source_level=0.1, **weights))
    shares = [screen.find(clean(seed), silent).removed.mean() for seed in range(4)]
    error = np.sqrt(0.05 * 0.95 * (2 / NEW + 2 / BASE) / len(shares))
    assert np.mean(shares) <= screen.error_rate + 3 * error


def test_wrong_labels_backdoors_and_values_far_out_are_removed_and_the_reason_given() -> None:
    for plant, least in ((wrong_labels, 0.5), (backdoor, 0.8), (far_out, 0.9)):
        new, touched = plant(rows(NEW, 1005), np.random.default_rng(0))
        found = find(rows(BASE, 5), new)
        assert found.removed[touched].mean() >= least
        assert found.removed[~touched].mean() < 0.04
        assert np.array_equal(found.reason != "", found.removed)


def test_a_reason_names_the_cell_where_a_score_does() -> None:
    new, touched = stamped(rows(NEW, 1005), np.random.default_rng(0))
    found = find(rows(BASE, 5), new, scores={"foreign_values": 1.0}, doubt=1e6)
    assert set(found.reason[touched & found.removed]) == {
        "a number that the trusted base never has under its label recurs (packets)"
    }


def test_unusual_values_under_a_label_that_the_base_agrees_with_stay() -> None:
    base, new = rows(BASE, 5), rows(NEW, 1005)
    family = (new.y == BENIGN) & (np.arange(NEW) % 3 == 0)
    x = new.x.copy()
    x[family, 2] = 1e6  # models of the base do not look at it
    new = replace(new, x=x)
    far = {"lkg_loss": 2.0, "leave_sources_out": 1.0, "embedding_knn": 2.0}
    assert find(base, new, scores=far, doubt=1e6).removed[family].mean() > 0.9
    assert find(base, new, scores=far).removed[family].mean() < 0.2
    assert find(base, new).removed[family].mean() < 0.2


def _flagged(share: float, n: int, rng: np.random.Generator) -> Bools:
    return rng.random(n) < share


def test_what_comes_to_all_sources_alike_raises_no_alarm() -> None:
    rng = np.random.default_rng(1)
    base, new = rows(4000, 1), rows(4000, 2)
    few, many = _flagged(0.01, 4000, rng), _flagged(0.3, 4000, rng)
    for label in (ATTACK, BENIGN):
        assert alarmed_sources(base, few, new, many, label, LIMITS) == []
        assert alarmed_sources(base, few, new, _flagged(0.01, 4000, rng), label, LIMITS) == []


def test_sources_that_stand_out_are_alarmed_together_and_the_others_are_not() -> None:
    rng = np.random.default_rng(1)
    base, new = rows(4000, 1), rows(4000, 2)
    new = replace(new, source=np.char.add("s", (np.arange(4000) // 2 % 8).astype(str)))
    bad = np.isin(new.source, ["s2", "s5"])
    flagged = np.where(bad, _flagged(0.25, 4000, rng), _flagged(0.02, 4000, rng))
    assert alarmed_sources(base, _flagged(0.01, 4000, rng), new, flagged, BENIGN, LIMITS) == ["s2", "s5"]


def test_drift_of_the_whole_buffer_hides_no_source_that_is_beyond_it() -> None:
    rng = np.random.default_rng(2)
    base, new = rows(4000, 1), rows(4000, 2)
    flagged = np.where(new.source == "s3", _flagged(0.6, 4000, rng), _flagged(0.15, 4000, rng))
    assert alarmed_sources(base, _flagged(0.01, 4000, rng), new, flagged, ATTACK, LIMITS) == ["s3"]


def test_a_source_named_per_row_costs_no_more_than_the_rows_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[int] = []

    def counted(mean: float, count: int, confidence: float) -> float:
        bounds.append(count)
        return upper_mean(mean, count, confidence)

    monkeypatch.setattr("rollback.sanitise.source_alarm.upper_mean", counted)
    rng, (base, new) = np.random.default_rng(4), (rows(4000, 1), rows(4000, 2))
    own = np.arange(len(new)).astype(np.str_)
    renamed = replace(new, source=own, session=own)
    flagged = _flagged(0.02, 4000, rng)
    assert alarmed_sources(base, _flagged(0.01, 4000, rng), renamed, flagged, BENIGN, LIMITS) == []
    assert len(bounds) == 1  # that of the base: one row is never beyond it


def test_a_source_that_is_alone_is_not_alarmed() -> None:
    base, new = rows(400, 1), replace(rows(400, 2), source=np.full(400, "one"))
    assert alarmed_sources(base, np.zeros(400, np.bool_), new, np.ones(400, np.bool_), BENIGN, LIMITS) == []


def test_a_source_cannot_hide_in_the_sessions_of_another() -> None:
    rng = np.random.default_rng(2)
    base, new = rows(4000, 1), rows(4000, 2)
    flagged = np.where(new.source == "s3", _flagged(0.5, 4000, rng), _flagged(0.02, 4000, rng))
    new = replace(new, session=(np.arange(4000) // 8).astype(str))  # of two rows of a source, or of several sources
    assert alarmed_sources(base, _flagged(0.01, 4000, rng), new, flagged, ATTACK, LIMITS) == ["s3"]


def test_a_source_of_one_long_session_is_not_alarmed() -> None:
    base, new = rows(4000, 1), rows(4000, 2)
    long = new.source == "s1"
    new = replace(new, session=np.where(long, "long", new.session))
    assert alarmed_sources(base, np.zeros(4000, np.bool_), new, long, BENIGN, LIMITS) == []


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 1), st.integers(1, 300), st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_a_larger_mean_is_less_probable_and_a_bound_is_above_the_mean(
    mean: float, count: int, expected: float, other: float
) -> None:
    low, high = sorted((expected, other))
    assert 0 <= exceedance(mean, count, low) <= exceedance(mean, count, high) <= 1
    assert mean <= upper_mean(mean, count, 0.95) <= 1
    assert upper_mean(mean, count, 0.9) <= upper_mean(mean, count, 0.99)


def test_bounds_hold_for_numbers_that_are_no_coins() -> None:
    rng = np.random.default_rng(4)
    means = rng.beta(0.2, 1.8, (3000, 60)).mean(axis=1)
    assert np.mean([exceedance(m, 60, 0.1) <= 0.05 for m in means]) <= 0.05
    assert np.mean([upper_mean(m, 60, 0.95) < 0.1 for m in means[:500]]) <= 0.05


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"level": 0.1}, "need 0 < level <= source_level < 1"),
        ({"alarm": 0.0}, r"alarm, peer_alarm and confidence lie in \(0, 1\)"),
        ({"doubt": 0.5}, "doubt is at least 1, got 0.5"),
        ({"scores": {}}, "scores: weights above 0 of clusters, "),
        ({"scores": {"magic": 1.0}}, "scores: weights above 0 of clusters, "),
        ({"scores": {"lkg_loss": 0.0}}, "scores: weights above 0 of clusters, "),
    ],
)
def test_parameters_that_mean_nothing_are_refused(more: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Parameters(**more)
