"""Evasion: crafted bursts are asked about and said by labels alone; honest streams are left in peace."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from crafting import (
    CENTRES,
    NUMBERS,
    SCHEMA,
    F,
    G,
    Nearest,
    answers,
    both,
    crafted,
    play,
    reference,
    window,
    with_events,
)

from detectors.asking.answers import DECISIVE
from detectors.batch import Floats, Reference, Window
from detectors.bursts.self_play import SelfPlay
from detectors.evasion_burst import EvasionBurst, Parameters
from detectors.evidence import Budget, Evidence
from detectors.schema import Schema
from detectors.verdict import judge

BUDGET = Budget(1.2e7, 1.2e5)


def stream(seed: int, count: int) -> list[Window]:
    return [window(seed, i) for i in range(count)]


def fitted(known: Reference | None = None, seed: int = 1) -> EvasionBurst:
    detector = EvasionBurst(Parameters(), BUDGET, np.random.default_rng(seed))
    detector.fit(reference(1) if known is None else known)
    return detector


def attacked(seed: int, size: int, target: int, source: str = "sensor-2") -> list[Window]:
    rng = np.random.default_rng([seed, 9])
    windows = stream(seed, 6)
    pool = window(seed, 99, 3000).batch.x
    windows[2] = with_events(windows[2], crafted(pool, target, size, rng), source)
    return windows


def convicted(said: list[Evidence]) -> bool:
    return any(e.llr is not None and e.llr >= DECISIVE for e in said)


@pytest.mark.parametrize("target", [0, 1])
def test_a_burst_that_fools_both_models_is_called_evasion(target: int) -> None:
    said = play(fitted(), attacked(4, 60, target))
    assert not any(e.asks for e in said[:2])
    verdict = judge([said[-1]])
    assert (verdict.family, verdict.hypothesis) == ("evasion", "evasion_burst")
    assert verdict.implicated.sources == ("sensor-2",)
    assert "or a new attack that both versions miss" in verdict.reasons[0]


def test_without_answers_it_is_inconclusive_and_labels_are_wanted() -> None:
    detector, windows = fitted(), attacked(3, 60, 0)
    said = [detector.observe(w, None) for w in windows]
    verdict = judge([said[3]])
    assert (verdict.family, verdict.suspected) == ("inconclusive", True)
    assert "evasion_burst" in dict(verdict.attribution)
    assert said[-1].llr is None


def test_a_burst_that_the_models_are_right_about_is_settled() -> None:
    said = play(fitted(), attacked(3, 60, 0), wrong=False)
    assert sum(len(e.asks) for e in said) <= 16
    assert judge([said[-1]]).family == "stable"
    assert said[-1].status == "ok"


def test_at_most_sixteen_labels_are_asked_for() -> None:
    detector, windows = fitted(), attacked(3, 100, 0)
    said = [detector.observe(w, None) for w in (*windows, *stream(5, 4))]
    asked = [a.id for e in said for a in e.asks]
    assert len(asked) == len(set(asked)) == Parameters().asked


def test_answers_after_a_restart_count() -> None:
    windows = attacked(3, 60, 0)
    going = fitted()
    said = [going.observe(w, None) for w in windows[:3]]
    stopped = going.state()
    resumed = fitted()
    resumed.restore(stopped)
    labels = answers(said[-1], windows, wrong=None)
    assert labels is not None
    assert resumed.observe(windows[3], labels) == going.observe(windows[3], labels)


def test_an_unlearned_detector_keeps_the_state_that_it_was_given() -> None:
    going = fitted()
    for w in attacked(3, 60, 0)[:3]:
        going.observe(w, None)
    resumed = fitted()
    resumed.restore(going.state())
    assert resumed.state()["waiting"] is not None


def test_two_origins_that_contradict_each_other_decide_nothing() -> None:
    detector, windows = fitted(), attacked(3, 60, 0)
    said = [detector.observe(w, None) for w in windows[:3]]
    for origin, wrong in (("sandbox", True), ("analyst", False)):
        last = detector.observe(windows[3], answers(said[-1], windows, wrong=wrong, origin=origin))
    assert last.answers == 0


def test_an_honest_service_that_both_models_misjudge_is_news_and_no_evasion() -> None:
    windows, rng = stream(3, 8), np.random.default_rng(7)
    new = np.repeat(np.concatenate([CENTRES[5], [3.0, 3.0, 3.0]])[None], 80, axis=0)
    new[:, :NUMBERS] += 0.05 * rng.normal(size=(80, NUMBERS))
    assert set(both(new).tolist()) == {1}
    windows[2] = with_events(windows[2], new, "sensor-2")
    said = play(fitted(), windows)
    assert any(e.asks for e in said)
    assert not convicted(said)


def test_its_own_null_is_kept() -> None:
    """Eight references and streams of about 1,700 sessions: R reaches 34,000 in each with probability .05 at most."""
    over = 0
    for seed in range(8):
        detector = fitted(reference(seed + 20), seed)
        top = max(detector.observe(w, None).e_value or 0.0 for w in stream(seed + 200, 20))
        over += top >= 34_000
    assert over <= 2


@pytest.mark.parametrize("mean", [1.0, 20.0])
def test_sessions_of_any_length_raise_no_question(mean: float) -> None:
    detector = fitted()
    windows = [window(8, i, mean=mean) for i in range(8)]
    assert not any(detector.observe(w, None).asks for w in windows)


def test_it_needs_a_model_that_can_be_asked() -> None:
    said = fitted().observe(replace(stream(3, 1)[0], score_f=None, score_g=None), None)
    assert said.status == "warming"
    assert "model file" in said.note


@pytest.mark.parametrize("columns", [slice(0, NUMBERS), slice(NUMBERS, None)])
def test_numbers_alone_and_categories_alone_are_enough(columns: slice) -> None:
    known, windows = reference(1), stream(3, 3)
    filler = known.x[:1]

    def score(x: Floats) -> Floats:
        full = np.repeat(filler, len(x), axis=0)
        full[:, columns] = x
        return np.round(Nearest()(full), 1)  # coarse, as of a small tree

    schema = Schema(SCHEMA.features[columns], SCHEMA.classes)
    few = known.x[:, columns]
    scores = score(few)
    detector = fitted(replace(known, schema=schema, x=few, f=scores, g=scores))
    for w in windows:
        x = w.batch.x[:, columns]
        served = score(x)
        shown = replace(w, batch=replace(w.batch, x=x, scores=served), f=served, g=served, score_f=score, score_g=score)
        assert detector.observe(shown, None).status in {"ok", "warming"}


def test_self_play_fools_all_models_and_only_them() -> None:
    known = reference(1)
    y = both(known.x)
    sound = known.take(np.flatnonzero(y >= 0))
    categorical = np.array([f.kind == "categorical" for f in SCHEMA.features])
    play_it = SelfPlay((F, G), sound.x, y[y >= 0], categorical, 1)
    won = play_it.play(300)
    assert len(won) > 100
    assert np.all(both(won) >= 0)
    assert not np.any((won[:, None] == sound.x[:400]).all(axis=2))
