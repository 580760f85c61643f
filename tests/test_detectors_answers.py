"""Labellers err, lie and contradict each other: how often that convicts, and what is said about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from detectors.asking.answers import DECISIVE, FEWEST, Answers, weighed
from detectors.asking.deep_events import DeepEvents
from detectors.asking.inquiry import Inquiry
from detectors.asking.order import spread
from detectors.batch import Floats, Labels, Reference
from detectors.labels.claims import Claims, Verdicts
from detectors.schema import Feature, Schema
from detectors.version_disagreement import Parameters
from monitor.state.checkpoint import decode, encode

F, G, OTHER = 0, 1, 2
MOST = 16


def labels(said: Sequence[tuple[str, int, str]], *, session: str | None = None) -> Labels:
    """Trusted labels: (event, class, origin); each event is a session of its own unless ``session`` says otherwise."""
    n = len(said)
    ids = np.array([ident for ident, _, _ in said])
    scores = np.full((n, 3), 1 / 3)
    yes = np.ones(n, np.bool_)
    sessions = ids if session is None else np.full(n, session)
    return Labels(
        ids, np.arange(n, dtype=float), np.arange(n, dtype=float), np.array([c for _, c, _ in said]), ids.copy(),
        np.array([o for _, _, o in said]), yes, yes.copy(), np.full(n, "s"), sessions.copy(), np.zeros((n, 2)), scores,
        scores.copy(), scores.copy(),
    )  # fmt: skip


def ledger(*said: tuple[str, int, str]) -> Answers:
    answers = Answers(0.25, 0.7)
    hear(answers, labels(said))
    return answers


def hear(answers: Answers, given: Labels) -> None:
    n = len(given)
    answers.take(given, np.ones(n, np.bool_), np.full(n, F), np.full(n, G))


def ratio(right: int, wrong: int) -> float:
    said = [(f"r{i}", F, "ann") for i in range(right)] + [(f"w{i}", G, "ann") for i in range(wrong)]
    return ledger(*said).judged(None, F)[0] if said else 0.0


def chances(llr: Mapping[tuple[int, int], float], against: float) -> tuple[float, float]:
    """Probability that 16 answers, looked at one by one, ever convict, and that they ever acquit: exactly.

    An answer is against with probability ``against``; ``llr`` by (number in favour, number against).
    """
    alive, convicted, acquitted = {(0, 0): 1.0}, 0.0, 0.0
    for _ in range(MOST):
        after: dict[tuple[int, int], float] = {}
        for (right, wrong), p in alive.items():
            for state, share in (((right + 1, wrong), 1 - against), ((right, wrong + 1), against)):
                if llr[state] >= DECISIVE:
                    convicted += p * share
                elif llr[state] <= -DECISIVE:
                    acquitted += p * share
                else:
                    after[state] = after.get(state, 0.0) + p * share
        alive = after
    return convicted, acquitted


RATIOS = {(right, wrong): ratio(right, wrong) for right in range(MOST + 1) for wrong in range(MOST + 1 - right)}


@pytest.mark.parametrize(("right", "limit"), [(1.0, 2e-5), (0.95, 2e-4), (0.9, 1e-3), (0.85, 0.004)])
def test_a_labeller_wrong_one_time_in_twenty_seldom_convicts_an_honest_version(right: float, limit: float) -> None:
    convicted, _ = chances(RATIOS, (1 - right) * 0.95 + right * 0.05)
    assert convicted < limit


@pytest.mark.parametrize(("right", "limit"), [(0.0, 5e-5), (0.05, 6e-4), (0.1, 0.003)])
def test_a_labeller_wrong_one_time_in_twenty_seldom_acquits_a_poisoned_version(right: float, limit: float) -> None:
    convicted, acquitted = chances(RATIOS, (1 - right) * 0.95 + right * 0.05)
    assert acquitted < limit
    assert convicted > 0.99


@pytest.mark.parametrize(("false", "limit"), [(0.0, 6e-4), (0.02, 0.0015), (0.05, 0.004)])
def test_a_labeller_wrong_one_time_in_twenty_seldom_holds_honest_labels_against_their_makers(
    false: float, limit: float
) -> None:
    convicted, _ = chances({state: claimed(*state) for state in RATIOS}, false * 0.95 + (1 - false) * 0.05)
    assert convicted < limit


def claims(count: int) -> Claims:
    ids = np.array([f"c{i}" for i in range(count)])
    zero = np.zeros(count, np.int64)
    return Claims(
        ids, ids.copy(), ids.copy(), ids.copy(), zero + F, zero + G, np.ones(count), np.zeros((count, 1), int)
    )


def claimed(true: int, false: int) -> float:
    verdicts = Verdicts(0.9, 0.1, 128)
    said = [(f"c{i}", F if i < true else G, "ann") for i in range(true + false)]
    if said:
        verdicts.take(claims(true + false), labels(said))
    return verdicts.judged(1.0)[0]


def test_fewer_than_four_answers_decide_nothing() -> None:
    for right, wrong in ((3, 0), (0, 3)):
        assert abs(ratio(right, wrong)) < DECISIVE
    assert ratio(4, 0) <= -DECISIVE
    assert ratio(0, 4) >= DECISIVE
    assert abs(claimed(0, 3)) < DECISIVE <= claimed(0, 4)
    assert weighed(9.0, FEWEST - 1) < DECISIVE


def test_an_event_about_which_trusted_origins_contradict_each_other_counts_for_neither_side() -> None:
    agreed = [(f"e{i}", G, "ann") for i in range(4)]
    answers = ledger(*agreed, ("x", G, "ann"), ("x", F, "bob"))
    assert answers.judged(None, F)[1:] == (4, 0)
    assert answers.disputed == 1
    verdicts = Verdicts(0.9, 0.1, 128)
    verdicts.take(claims(2), labels([("c0", G, "ann"), ("c0", F, "bob"), ("c1", G, "ann")]))
    assert verdicts.judged(1.0)[1:] == (1, 1)
    assert verdicts.disputed == 1


def test_an_origin_may_correct_itself_and_another_may_agree() -> None:
    answers = ledger(("x", F, "ann"))
    hear(answers, labels([("x", G, "ann"), ("x", G, "bob")]))
    assert answers.judged(None, F)[1:] == (1, 0)
    assert answers.disputed == 0
    assert answers.origins(None, F) == {"ann": 1, "bob": 1}


def test_a_second_event_of_a_session_is_no_second_answer() -> None:
    answers = Answers(0.25, 0.7)
    hear(answers, labels([("a", G, "ann"), ("b", F, "bob")], session="one"))
    assert answers.judged(None, F)[1:] == (1, 0)
    assert answers.disputed == 0


def test_a_class_that_makes_both_wrong_is_counted_apart() -> None:
    answers = ledger(("a", OTHER, "ann"), ("b", G, "ann"))
    assert answers.judged(None, F)[1] == 1
    assert answers.neither == 1


def test_where_one_trusted_origin_lies_and_another_does_not_nothing_is_decided() -> None:
    truthful = [(f"t{i}", G, "ann") for i in range(6)]
    lies = [(f"l{i}", F, "mole") for i in range(8)]
    answers = ledger(*truthful, *lies)
    assert answers.opposed(None, F) == ("ann", "mole")
    assert abs(answers.judged(None, F)[0]) < DECISIVE
    more = ledger(*truthful, *lies, *[(f"m{i}", F, "mole") for i in range(20)])
    assert abs(more.judged(None, F)[0]) < DECISIVE


def test_answers_go_through_a_checkpoint_and_go_on() -> None:
    answers = ledger(("a", G, "ann"), ("b", F, "bob"), ("c", OTHER, "ann"))
    restored = Answers(0.25, 0.7)
    restored.restore(decode(encode(answers.state())))
    assert restored.judged(None, F) == answers.judged(None, F)
    for each in (answers, restored):
        hear(each, labels([("a", F, "mole"), ("d", G, "ann")]))
    assert restored.judged(None, F) == answers.judged(None, F)
    assert (restored.neither, restored.disputed, restored.sessions) == (1, 1, {"a", "b", "d"})


def questions(source: Sequence[str], *, repeated: Sequence[int] = (), parameters: Parameters | None = None) -> Inquiry:
    """An inquiry with a pool of deep events, the deepest first."""
    schema = Schema((Feature("a"), Feature("b")), ("benign", "attack", "other"))
    blank: Floats = np.full((4, 3), 1 / 3)
    text = np.full(4, "r")
    reference = Reference(schema, np.zeros((4, 2)), np.zeros(4, np.int64), text, text.copy(), blank, blank.copy())
    inquiry = Inquiry(reference, np.zeros(4, np.int64), parameters or Parameters())
    n = len(source)
    ids = np.array([f"e{i}" for i in range(n)])
    inquiry.pool = DeepEvents(
        ids, np.array(source), ids.copy(), np.zeros((n, 2)), np.linspace(9.0, 1.0, n), np.full(n, F), np.full(n, G),
        np.isin(np.arange(n), repeated),
    )  # fmt: skip
    return inquiry


def test_one_source_never_gets_all_the_questions_while_others_have_deep_events() -> None:
    inquiry = questions(["fw1"] * 12 + ["fw2", "fw3"])
    asked = [ask.id for ask in inquiry.ask()]
    assert asked == ["e0", "e1", "e2", "e3", "e12", "e13", "e4", "e5"]
    assert [ask.id for ask in questions(["fw1"] * 3).ask()] == ["e0", "e1", "e2"]


def test_better_events_come_first_whatever_their_source() -> None:
    source = np.array(["a"] * 5 + ["b"])
    assert spread([np.arange(5), np.array([5])], source, 4) == [0, 1, 2, 3]


def test_an_event_that_repeats_an_earlier_id_is_not_asked_about_and_is_counted() -> None:
    inquiry = questions(["fw1", "fw2", "fw3", "fw1"], repeated=[0, 2])
    assert [ask.id for ask in inquiry.ask()] == ["e1", "e3"]
    assert inquiry.facts()["repeated_ids"] == 2


def test_the_same_session_is_asked_about_once_also_after_a_restart() -> None:
    inquiry = questions([f"fw{i % 4}" for i in range(12)])
    first = [ask.id for ask in inquiry.ask()]
    restored = questions([f"fw{i % 4}" for i in range(12)])
    restored.restore(decode(encode(inquiry.state())))
    assert [a.id for a in restored.ask()] == [a.id for a in inquiry.ask()]
    assert len(first) == 8
    assert not set(first) & set(restored.state()["asked"][8:])
