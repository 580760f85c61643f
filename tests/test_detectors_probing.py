"""Probing: walks over the boundary are asked about on both sides, and named."""

from __future__ import annotations

import numpy as np
from crafting import F, play, reference, walk, window, with_events

from detectors.batch import Reference, Window
from detectors.bursts.small_steps import SmallSteps
from detectors.evidence import Budget
from detectors.probing import Parameters, Probing
from detectors.verdict import judge

BUDGET = Budget(1.2e7, 1.2e5)


def stream(seed: int, count: int) -> list[Window]:
    return [window(seed, i) for i in range(count)]


def fitted(known: Reference | None = None) -> Probing:
    detector = Probing(Parameters(), BUDGET, np.random.default_rng(1))
    detector.fit(reference(1) if known is None else known)
    return detector


def probed(seed: int, size: int) -> list[Window]:
    rng = np.random.default_rng([seed, 9])
    windows = stream(seed, 7)
    pool = window(seed, 99, 3000).batch.x
    steps = np.concatenate([walk(pool, 0, 30, rng) for _ in range(size // 30)])
    windows[2] = with_events(windows[2], steps, "sensor-2")
    return windows


def test_a_walk_is_noticed_and_both_sides_of_the_boundary_are_asked_about() -> None:
    windows = probed(4, 90)
    said = [fitted_one.observe(w, None) for fitted_one in [fitted()] for w in windows]
    first = next(e for e in said if e.asks)
    assert said.index(first) == 2
    assert sum(a.id.startswith("c") for a in first.asks) >= 3
    called = {int(w.f[i].argmax()) for a in first.asks for w in windows for i in np.flatnonzero(w.batch.id == a.id)}
    assert called == {0, 1}


def test_missed_events_of_a_walk_are_called_probing() -> None:
    said = play(fitted(), probed(4, 90), wrong=True)
    verdict = judge([said[-1]])
    assert (verdict.family, verdict.hypothesis) == ("evasion", "probing")
    assert "small steps" in verdict.reasons[0]


def test_honest_repeats_are_settled() -> None:
    said = play(fitted(), probed(4, 90), wrong=False)
    assert judge([said[-1]]).family == "stable"


def test_its_own_null_is_kept() -> None:
    """Eight references and streams of about 1,700 sessions: R reaches 34,000 in each with probability .05 at most."""
    over = 0
    for seed in range(8):
        detector = fitted(reference(seed + 20))
        over += max(detector.observe(w, None).e_value or 0.0 for w in stream(seed + 200, 20)) >= 34_000
    assert over <= 2


def test_one_changed_input_that_turns_the_score_is_a_link() -> None:
    known = reference(1)
    steps = SmallSteps(known, 2, np.random.default_rng(0))
    x = known.x[:50].copy()
    x[49], scores = x[0], F(known.x[:50])
    x[49, 0] += 0.01
    scores[49] = scores[0][::-1]
    before, _ = steps.of(known.x[:49], scores[:49], steps.place(known.x[:49]), np.arange(49))
    after, steep = steps.of(x, scores, steps.place(x), np.arange(50))
    assert before[0] == 0
    assert (after[0], after[49]) == (1, 1)
    assert steep[49] > 0
