"""What is served is held against the bundle: rounding is forgiven, tampering, wrong versions and mix-ups are named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detectors.batch import Batch, Floats, Reference, Window
from detectors.evidence import Budget, Evidence
from detectors.schema import Feature, Schema
from detectors.served_mismatch import Parameters, ServedMismatch

SCHEMA = Schema((Feature("a"), Feature("b")), ("x", "y", "z"))
BUDGET = Budget(alarm=1e6, ask=1e4)


def softmax(x: Floats, seed: int) -> Floats:
    logits = x @ np.random.default_rng(seed).normal(0, 2, (2, 3))
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def window(seed: int, *, n: int = 400) -> Window:
    x = np.random.default_rng(seed).normal(size=(n, 2))
    f = softmax(x, 1)
    text = np.array([f"{seed}-{i}" for i in range(n)])
    session = np.array([f"{seed}-{i // 4}" for i in range(n)])
    number, key = np.zeros(n, np.int64), np.zeros(n, np.uint64)
    batch = Batch(
        "m", "2", np.zeros(n), text, np.full(n, "s"), session, text.copy(), x, f, number, number.copy(), key, key.copy()
    )
    return Window(seed, batch, f, softmax(x, 2), np.ones(n, np.bool_), has_bundle=True)


def serving(made: Window, scores: Floats) -> Window:
    return replace(made, batch=replace(made.batch, scores=scores))


def fitted() -> ServedMismatch:
    detector = ServedMismatch(Parameters(), BUDGET, np.random.default_rng(0))
    x = np.zeros((3, 2))
    text = np.array(["r0", "r1", "r2"])
    detector.fit(Reference(SCHEMA, x, np.zeros(3, np.int64), text, text.copy(), softmax(x, 1), softmax(x, 2)))
    return detector


def last(scores: list[Floats], windows: list[Window]) -> Evidence:
    detector = fitted()
    return [detector.observe(serving(w, s), None) for w, s in zip(windows, scores, strict=True)][-1]


WINDOWS = [window(i) for i in range(5)]


@pytest.mark.parametrize("digits", [2, 3, 4, 6])
def test_rounded_scores_are_the_same_scores(digits: int) -> None:
    evidence = last([np.round(w.f, digits) for w in WINDOWS], WINDOWS)
    assert (evidence.status, evidence.score) == ("ok", 0.0)


def test_float32_noise_in_the_logits_is_forgiven() -> None:
    rng = np.random.default_rng(7)
    noisy = [np.exp(np.log(w.f) + 3e-5 * rng.normal(size=w.f.shape)) for w in WINDOWS]
    assert last([s.astype(np.float32).astype(float) for s in noisy], WINDOWS).score == 0.0


def test_producers_that_round_differently_share_a_window() -> None:
    mixed = [np.where(np.arange(len(w))[:, None] % 2, np.round(w.f, 3), w.f) for w in WINDOWS]
    evidence = last(mixed, WINDOWS)
    assert (evidence.status, evidence.score) == ("ok", 0.0)


def test_events_that_the_bundle_cannot_score_differ_from_what_was_served() -> None:
    unscored = []
    for w in WINDOWS:
        f = w.f.copy()
        f[::40] = np.nan
        unscored.append(replace(w, f=f))
    evidence = last([w.f for w in WINDOWS], unscored)
    assert (evidence.status, evidence.score) == ("fired", pytest.approx(0.025))


def test_changed_scores_of_a_few_events_look_like_tampering() -> None:
    changed = []
    for w in WINDOWS:
        scores = w.f.copy()
        scores[::40] = [0.98, 0.01, 0.01]
        changed.append(scores)
    evidence = last(changed, WINDOWS)
    assert evidence.status == "fired"
    assert evidence.facts["looks_like"] == "tampering"
    assert evidence.score == pytest.approx(0.025, abs=0.003)
    assert set(evidence.implicated.events) <= {f"{w}-{i}" for w in range(5) for i in range(0, 400, 40)}


def test_another_version_behind_the_name_is_recognised() -> None:
    evidence = last([w.g for w in WINDOWS if w.g is not None], WINDOWS)
    assert (evidence.status, evidence.facts["looks_like"]) == ("fired", "wrong_version")


def test_mixed_up_classes_are_recognised() -> None:
    evidence = last([w.f[:, [1, 2, 0]] for w in WINDOWS], WINDOWS)
    assert (evidence.status, evidence.facts["looks_like"]) == ("fired", "mapping_error")
    assert evidence.gauges["class_change_rate"] > 0.5


def test_one_odd_event_in_a_thousand_is_not_news() -> None:
    rng = np.random.default_rng(3)
    detector = fitted()
    statuses = set()
    for i in range(40):
        w = window(100 + i)
        scores = w.f.copy()
        scores[rng.random(len(w)) < 0.0008] = [0.0, 0.0, 1.0]
        statuses.add(detector.observe(serving(w, scores), None).suspects)
    assert statuses == {False}


def test_without_a_bundle_it_says_what_is_missing() -> None:
    evidence = fitted().observe(replace(WINDOWS[0], has_bundle=False), None)
    assert evidence.status == "warming"
    assert "ONNX" in evidence.note


def test_restored_detectors_continue_exactly() -> None:
    detector, other = fitted(), fitted()
    swapped = [serving(w, w.f[:, [1, 0, 2]]) for w in WINDOWS]
    detector.observe(swapped[0], None)
    other.restore(detector.state())
    for w in swapped[1:]:
        assert detector.observe(w, None) == other.observe(w, None)


def test_parameters_are_validated() -> None:
    with pytest.raises(ValueError, match="null_rate"):
        Parameters(null_rate=0.0)
    with pytest.raises(ValueError, match="noise"):
        Parameters(noise=0.5)
