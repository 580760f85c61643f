"""Questions about bursts: whom they ask, and what the answers amount to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from detectors.asking.answers import DECISIVE
from detectors.batch import Floats, Labels
from detectors.bursts.burst_inquiry import BurstInquiry, Odds, Suspects
from detectors.bursts.source_scopes import SourceScopes
from detectors.sequential import upper_bound

CLASSES = ("calm", "attack")


def suspects(called: list[int], window: int = 5) -> Suspects:
    """Highest first, each a session of its own."""
    n = len(called)
    ids = np.array([f"w{window}-{i}" for i in range(n)])
    source = np.array([f"s{i % 3}" for i in range(n)])
    at = np.where(np.isin(np.arange(n), (8, 11)), 0.0, 1000.0 - np.arange(n))[:, None]
    return Suspects(ids, source, ids.copy(), -np.arange(n, dtype=float), np.array(called), np.full(n, window), at)


def inquiry(called: list[int], *, plausible: bool = True) -> BurstInquiry:
    made = BurstInquiry(Odds(0.8, np.array([0.3, 0.3])), 16, 4, 64, lambda _called, _missed: plausible)
    made.collect(suspects(called), 5)
    made.begin(5)
    return made


def labels(given: Mapping[str, int], origin: str = "sandbox", *, trusted: bool = True) -> Labels:
    n = len(given)
    scores, names = np.full((n, 2), 0.5), np.full(n, "")
    return Labels(
        id=np.array(list(given)),
        ts=np.zeros(n),
        event_ts=np.zeros(n),
        label=np.array(list(given.values()), np.int64),
        name=names,
        origin=np.full(n, origin),
        trusted=np.full(n, trusted),
        vetted=np.ones(n, np.bool_),
        source=names.copy(),
        session=names.copy(),
        x=np.zeros((n, 1)),
        served=scores,
        f=scores.copy(),
        g=scores.copy(),
    )


def asked(of: BurstInquiry, first: str | None = None) -> list[str]:
    return [ask.id for ask in of.ask(first, CLASSES, "is it {called}?")]


def test_both_sides_are_asked_about_until_one_is_missed() -> None:
    of = inquiry([0] * 8 + [1] * 8)
    assert asked(of) == ["w5-0", "w5-8", "w5-1", "w5-9"]
    of.answer(labels({"w5-0": 1, "w5-1": 1, "w5-8": 1, "w5-9": 1}))
    assert asked(of) == ["w5-2", "w5-3", "w5-4", "w5-5"]


def test_a_source_is_asked_first() -> None:
    assert asked(inquiry([0] * 16), "s2") == ["w5-2", "w5-5", "w5-8", "w5-11"]


def test_once_something_was_missed_what_is_near_to_it_is_asked_about() -> None:
    of = inquiry([0] * 12)
    asked(of)
    of.answer(labels({"w5-11": 1}))
    assert asked(of)[0] == "w5-8"


def test_four_misses_convict_and_later_answers_do_not_take_it_back() -> None:
    of = inquiry([0] * 16)
    of.answer(labels({f"w5-{i}": 1 for i in range(4)}))
    assert of.convicted
    of.answer(labels({f"w5-{i}": 0 for i in range(4, 16)}))
    assert of.convicted
    assert of.judged()[1:] == (0, 16, 4)
    assert asked(of) == []


def test_three_answers_decide_nothing() -> None:
    of = inquiry([0] * 16)
    of.answer(labels({f"w5-{i}": 1 for i in range(3)}))
    assert 0 < of.judged()[0] < DECISIVE


def test_a_side_that_is_right_does_not_acquit_the_other() -> None:
    of = inquiry([0] * 8 + [1] * 8)
    of.answer(labels({f"w5-{i}": 0 for i in range(4)}))
    assert not of.acquitted
    of.answer(labels({f"w5-{i}": 1 for i in range(8, 12)}))
    assert of.acquitted


def test_what_is_not_plausible_is_news_and_ends_the_question() -> None:
    of = inquiry([1] * 16, plausible=False)
    of.answer(labels({f"w5-{i}": 0 for i in range(6)}))
    assert (of.convicted, of.acquitted, of.open) == (False, True, False)


@pytest.mark.parametrize("trusted", [True, False])
def test_only_trusted_answers_that_agree_count(trusted: bool) -> None:  # noqa: FBT001 - pytest gives it by name
    of = inquiry([0] * 16)
    of.answer(labels({f"w5-{i}": 1 for i in range(4)}, trusted=trusted))
    if trusted:
        of.answer(labels({f"w5-{i}": 0 for i in range(4)}, "analyst"))
    assert of.judged()[2] == 0


def test_a_class_that_the_models_do_not_know_is_a_miss() -> None:
    of = inquiry([0] * 16)
    of.answer(labels({f"w5-{i}": -1 for i in range(4)}))
    assert of.convicted
    assert not of.truths(None).keys() - {-1}


def test_sources_have_bets_of_their_own_that_a_small_burst_moves() -> None:
    rng = np.random.default_rng(3)
    source = np.array([f"s{i % 10}" for i in range(3000)])
    held: Floats = (rng.random((3000, 1)) < 0.003).astype(float)
    scopes = SourceScopes(held, source, 24, 60.0, 0.95)
    votes = (source[:200] == "s4").astype(float)[:, None] * (np.arange(200) < 60)[:, None]
    scopes.update(votes, source[:200], np.ones((200, 1)))
    assert scopes.top() == "s4"
    assert scopes.loud(1e4)[0][0] == "s4"
    assert scopes.null[0] == pytest.approx(upper_bound(held.sum(), 3000))
    scopes.settle(0.95)
    assert scopes.log_e == -np.inf
