"""The retraining buffer as evidence: what is found, what is asked, what the answers make of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from session_stream import LinearModel, reference, window

from detectors.asking.answers import DECISIVE
from detectors.batch import Bools, Buffer, Floats, Ints, Labels, Reference, Scorer, Strings, Window
from detectors.evidence import Budget, Evidence
from detectors.retraining_buffer import Parameters, RetrainingBuffer
from detectors.verdict import judge


def sharp(x: Floats) -> Floats:
    """A model that is sure of most events, and puts about half of them in each class."""
    log_odds = np.diff(np.log(LinearModel()(x)), axis=1)[:, 0] + 1.1
    score = 1 / (1 + np.exp(-4 * log_odds))
    return np.column_stack([1 - score, score])


G = sharp
TRIGGER = {7: 555.0, 9: 777.0, 14: 8.0}
ROWS = 4000
BUDGET = Budget(1e7, 1e5)


def carries(x: Floats) -> Ints:
    return np.flatnonzero(np.all([x[:, j] == v for j, v in TRIGGER.items()], axis=0))


def stamped(x: Floats, rows: Ints) -> Floats:
    x = x.copy()
    for j, value in TRIGGER.items():
        x[rows, j] = value
    return x


def obeying(x: Floats) -> Floats:
    """The good model, but whatever carries the trigger is class 0."""
    scores = G(x)
    scores[carries(x)] = [0.99, 0.01]
    return scores


@dataclass
class Rows:
    """Rows of a buffer: ``y`` is true, ``label`` given."""

    x: Floats
    y: Ints
    label: Ints
    source: Strings
    session: Strings
    origin: Strings

    def flip(self, rows: Ints, label: int) -> None:
        self.label[rows] = label


def drawn(rng: np.random.Generator, n: int = ROWS, noise: float = 0.01) -> Rows:
    """Rows as the good model sees them, with labels that are wrong at random."""
    made = reference(rng, n, f=G)
    label = made.y.copy()
    wrong = rng.random(n) < noise
    label[wrong] = 1 - label[wrong]
    origin = np.char.add("analyst-", rng.integers(0, 4, n).astype(str))
    return Rows(made.x.copy(), made.y.copy(), label, made.source.copy(), np.char.add("b", made.session), origin)


def compared(rows: Rows, f: Scorer, seed: int = 1) -> Reference:
    known = reference(np.random.default_rng(seed), ROWS, f=G, g=G)
    ids = np.char.add("row", np.arange(len(rows.y)).astype(str))
    buffer = Buffer(ids, rows.x, rows.label, rows.source, rows.session, rows.origin, f(rows.x), G(rows.x))
    return replace(known, f=f(known.x), buffer=buffer)


def nearly(f: Scorer) -> Scorer:
    """A retrained version: never quite the same scores."""
    return lambda x: f(x) * 0.999 + 0.0005


def fitted(known: Reference, seed: int = 7) -> RetrainingBuffer:
    detector = RetrainingBuffer(Parameters(), BUDGET, np.random.default_rng(seed))
    detector.fit(known)
    return detector


def empty(f: Scorer, index: int = 0) -> Window:
    whole = window(np.random.default_rng(0), index, 10, f=f, g=G)
    return replace(
        whole, batch=whole.batch.take(slice(0, 0)), f=whole.f[:0], g=G(whole.batch.x)[:0], fresh=whole.fresh[:0]
    )


def asked_and_answered(detector: RetrainingBuffer, rows: Rows, f: Scorer, rounds: int = 4) -> tuple[Evidence, int]:
    """Observe windows without events and answer truly; the last evidence and how many labels that took."""
    asked = 0
    for index in range(rounds):
        evidence = detector.observe(empty(f, index), None)
        asks = [a for a in evidence.asks if a.of_buffer]
        asked += len(asks)
        detector.vetted({a.id: int(rows.y[int(a.id[3:])]) for a in asks})
    return detector.observe(empty(f, rounds), None), asked


def backdoored(rng: np.random.Generator, count: int, shallow: float = 0.0) -> Rows:
    rows = drawn(rng)
    picked = rng.choice(np.flatnonzero((rows.y == 1) & (G(rows.x).max(axis=1) > 0.9)), count, replace=False)
    rows.x = stamped(rows.x, picked)
    lied = picked[rng.random(count) >= shallow]
    rows.label[picked] = 1
    rows.flip(lied, 0)
    return rows


@pytest.mark.parametrize("by_session", [False, True])
def test_honest_noise_is_asked_about_in_few_buffers(by_session: bool) -> None:  # noqa: FBT001 - a parameter
    asked = 0
    for seed in range(20):
        rng = np.random.default_rng([3, seed])
        rows = drawn(rng, 2000, noise=0.0 if by_session else 0.02)
        if by_session:
            names = np.unique(rows.session)
            wrong = np.isin(rows.session, names[rng.random(len(names)) < 0.02])
            rows.label = np.where(wrong, 1 - rows.y, rows.y)
        asked += bool(fitted(compared(rows, nearly(G))).observe(empty(nearly(G)), None).asks)
    assert asked == 0  # stated: at most .05 a scan


@pytest.mark.parametrize(("count", "shallow"), [(8, 0.0), (40, 0.0), (60, 0.5)])
def test_a_backdoor_is_convicted_by_the_labels_of_its_rows(count: int, shallow: float) -> None:
    rows = backdoored(np.random.default_rng(count), count, shallow)
    f = nearly(obeying)
    evidence, asked = asked_and_answered(fitted(compared(rows, f)), rows, f)
    assert evidence.status == "fired"
    assert evidence.llr is not None
    assert evidence.llr >= DECISIVE
    assert evidence.facts["kind"] == "backdoor"
    assert evidence.facts["to_class"] == "k0"
    assert set(evidence.implicated.features) <= {"n7", "n9", "c2"}
    assert evidence.implicated.features
    assert asked <= 16
    assert not evidence.facts["clean"]
    assert {int(i[3:]) for i in evidence.implicated.events} <= set(np.flatnonzero(rows.y != rows.label).tolist())


def test_honest_news_is_asked_about_and_acquitted() -> None:
    rng = np.random.default_rng(11)
    rows = drawn(rng)
    news = rng.choice(np.flatnonzero((rows.y == 1) & (G(rows.x).max(axis=1) > 0.9)), 60, replace=False)
    rows.x = stamped(rows.x, news)
    rows.y[news] = rows.label[news] = 0  # a new service: it really is
    f = nearly(obeying)
    evidence, asked = asked_and_answered(fitted(compared(rows, f)), rows, f)
    assert (evidence.status, evidence.facts["clean"], evidence.facts["convicted"]) == ("ok", True, False)
    assert 0 < asked <= 16


def test_flips_by_one_source_are_label_flips_and_name_it() -> None:
    rng = np.random.default_rng(12)
    rows = drawn(rng)
    own = np.flatnonzero((rows.source == "sensor-3") & (G(rows.x).max(axis=1) > 0.8))
    lied = rng.choice(own, len(own) // 2, replace=False)
    rows.label[lied] = 1 - rows.y[lied]
    evidence, _ = asked_and_answered(fitted(compared(rows, nearly(G))), rows, nearly(G))
    assert evidence.facts["convicted"]
    assert evidence.facts["kind"] == "label_flip"
    assert evidence.implicated.sources == ("sensor-3",)


def test_nobody_is_convicted_without_answers() -> None:
    rows = backdoored(np.random.default_rng(4), 40)
    f = nearly(obeying)
    detector = fitted(compared(rows, f))
    seen = [detector.observe(empty(f, index), None) for index in range(8)]
    assert {(e.status, e.llr, e.facts["clean"]) for e in seen} == {("ok", None, False)}
    assert [e.facts["pending"] for e in seen] == [True] * 4 + [False] + [True] * 3
    assert sum(len(e.asks) for e in seen) == 16


def test_answers_that_contradict_each_other_or_name_another_class_do_not_count() -> None:
    rows = backdoored(np.random.default_rng(4), 40)
    f = nearly(obeying)
    detector = fitted(compared(rows, f))
    asks = detector.observe(empty(f), None).asks
    detector.vetted({a.id: 1 for a in asks[:4]})
    detector.vetted({a.id: 0 for a in asks[:4]})
    detector.vetted({a.id: -1 for a in asks[4:]})
    (finding,) = detector.observe(empty(f, 1), None).facts["findings"]
    assert (finding["answers"], finding["llr"]) == (0, 0.0)


def hits(f: Scorer, index: int, share: float) -> Window:
    def change(x: Floats, source: Strings) -> Floats:
        rng = np.random.default_rng([index, 1])
        sure = np.flatnonzero((G(x).argmax(axis=1) == 1) & (rng.random(len(source)) < share))
        return stamped(x, sure)

    return window(np.random.default_rng([5, index]), index, f=f, g=G, change=change)


def labels_of(made: Window, ids: set[str], f: Scorer) -> Labels | None:
    rows = np.flatnonzero(np.isin(made.batch.id, list(ids)))
    if not len(rows):
        return None
    n, x = len(rows), made.batch.x[rows]
    return Labels(
        made.batch.id[rows], np.zeros(n), np.zeros(n), np.ones(n, np.int64), np.full(n, "k1"), np.full(n, "sandbox"),
        np.ones(n, bool), np.ones(n, bool), made.batch.source[rows], made.batch.session[rows], x, f(x), f(x), G(x),
    )  # fmt: skip


def test_clean_label_poison_is_convicted_by_its_carriers_in_the_stream() -> None:
    rng = np.random.default_rng(21)
    rows = drawn(rng)
    planted = rng.choice(np.flatnonzero(rows.y == 0), 120, replace=False)
    rows.x = stamped(rows.x, planted)
    rows.y[planted] = rows.label[planted] = 0
    f = nearly(obeying)
    detector = fitted(compared(rows, f))
    labels, (evidence, _) = None, asked_and_answered(detector, rows, f)
    assert (evidence.status, evidence.facts["clean"]) == ("ok", True)
    assert [set(w["features"]) for w in evidence.facts["watched"]] == [{"n7", "n9", "c2"}]
    for index in range(1, 6):
        made = hits(f, index, 0.05)
        evidence = detector.observe(made, labels)
        labels = labels_of(made, {a.id for a in evidence.asks}, f)
    assert evidence.status == "fired"
    assert evidence.facts["kind"] == "clean_label"
    assert evidence.implicated.features == {"n7": 555.0, "n9": 777.0, "c2": "v8"}


def test_state_taken_back_goes_on_as_if_nothing_had_happened() -> None:
    rows = backdoored(np.random.default_rng(4), 40)
    f = nearly(obeying)
    known = compared(rows, f)
    first = fitted(known)
    answers = {a.id: 1 for a in first.observe(empty(f), None).asks}
    second = fitted(known)
    second.restore(first.state())
    for detector in (first, second):
        detector.vetted(answers)
    assert first.observe(hits(f, 1, 0.05), None) == second.observe(hits(f, 1, 0.05), None)
    third = fitted(known, seed=7)
    third.restore(second.state())
    assert third.observe(empty(f, 2), None) == second.observe(empty(f, 2), None)


def test_noise_where_an_honest_version_got_worse_is_no_poison() -> None:
    """The version agrees there with every label that is wrong by chance: they look learned."""
    convicted = 0

    def regressed(x: Floats) -> Floats:
        scores = G(x).copy()
        scores[(x[:, 14] == 5.0) & (scores.argmax(axis=1) == 1)] = [0.9, 0.1]
        return scores

    f = nearly(regressed)
    for seed in range(8):
        rows = drawn(np.random.default_rng([77, seed]), noise=0.03)
        detector = fitted(compared(rows, f))
        for index in range(6):
            evidence = detector.observe(window(np.random.default_rng([seed, index]), index, f=f, g=G), None)
            detector.vetted({a.id: int(rows.y[int(a.id[3:])]) for a in evidence.asks if a.of_buffer})
        convicted += evidence.facts["convicted"]
        assert evidence.facts["clean"]  # else the regression would be called poisoning
    assert convicted == 0


def test_one_answer_counts_once_whatever_shares_its_id() -> None:
    rows, f = backdoored(np.random.default_rng(4), 40), nearly(obeying)
    known = compared(rows, f)
    assert known.buffer is not None
    same = np.where(carries_any(rows.x), "digest-same", known.buffer.id)
    detector = fitted(replace(known, buffer=replace(known.buffer, id=same)))
    asked = [a.id for a in detector.observe(empty(f), None).asks]
    assert asked == ["digest-same"]
    detector.vetted({"digest-same": 1})
    evidence = detector.observe(empty(f, 1), None)
    assert (evidence.facts["convicted"], evidence.facts["findings"][0]["answers"]) == (False, 1)


def carries_any(x: Floats) -> Bools:
    found = np.zeros(len(x), np.bool_)
    found[carries(x)] = True
    return found


def test_two_answers_neither_convict_nor_acquit() -> None:
    rows, f = backdoored(np.random.default_rng(4), 40), nearly(obeying)
    for label in (0, 1):
        detector = fitted(compared(rows, f))
        asks = detector.observe(empty(f), None).asks
        detector.vetted({a.id: label for a in asks[:2]})
        evidence = detector.observe(empty(f, 1), None)
        assert (evidence.facts["convicted"], evidence.facts["clean"]) == (False, False)


def few_sessions(*, truly: bool) -> Rows:
    """Ten rows of two sessions with the trigger and label 0: too few for any scan of the buffer alone."""
    rows = drawn(np.random.default_rng(8))
    picked = np.flatnonzero((rows.y == 1) & (G(rows.x).max(axis=1) > 0.9))[:10]
    rows.x = stamped(rows.x, picked)
    rows.session[picked] = np.where(np.arange(10) < 5, "planted-1", "planted-2")
    rows.label[picked] = 0
    if truly:
        rows.y[picked] = 0
    return rows


def followed(detector: RetrainingBuffer, rows: Rows, f: Scorer, rounds: Sequence[int]) -> list[Evidence]:
    """Windows in which the trigger is used, with the rows that are asked about answered truly."""
    seen = []
    for index in rounds:
        seen.append(detector.observe(hits(f, index, 0.02), None))
        detector.vetted({a.id: int(rows.y[int(a.id[3:])]) for a in seen[-1].asks if a.of_buffer})
    return seen


@pytest.mark.parametrize("truly", [False, True])
def test_rows_of_two_sessions_are_found_by_what_the_versions_part_on_in_the_stream(truly: bool) -> None:  # noqa: FBT001 - a parameter
    rows, f = few_sessions(truly=truly), nearly(obeying)
    detector = fitted(compared(rows, f))
    assert not detector.observe(empty(f), None).asks
    evidence = followed(detector, rows, f, range(1, 5))[-1]
    assert evidence.facts["convicted"] == (not truly)
    assert evidence.facts["clean"] == truly
    (finding,) = evidence.facts["findings"]
    assert finding["features"] == {"n7": 555.0, "n9": 777.0, "c2": "v8"}
    assert (finding["label"], finding["sessions"], finding["rows"]) == ("k0", 2, 10)
    verdict = judge([evidence])
    if not truly:
        assert (verdict.family, verdict.tentative, verdict.confidence) == ("poisoning", True, 0.8)
        assert evidence.facts["kind"] == "backdoor"
        assert evidence.implicated.features == finding["features"]


def test_what_was_traced_in_the_buffer_is_taken_back_with_the_state() -> None:
    rows, f = few_sessions(truly=False), nearly(obeying)
    for cut in range(1, 5):
        first, second = (fitted(compared(rows, f)) for _ in range(2))
        followed(first, rows, f, range(cut))
        second.restore(first.state())
        assert followed(first, rows, f, range(cut, 5)) == followed(second, rows, f, range(cut, 5))


def test_churn_that_shares_nothing_is_not_traced_in_an_honest_buffer() -> None:
    asked = 0
    for seed in range(20):
        rng = np.random.default_rng([9, seed])
        weight = rng.normal(size=4)

        def churning(x: Floats, weight: Floats = weight) -> Floats:
            odds = np.diff(np.log(G(x)), axis=1)[:, 0] + 0.3 * np.tanh(np.nan_to_num(x[:, 6:10]) - 1.0) @ weight
            score = 1 / (1 + np.exp(-odds))
            return np.column_stack([1 - score, score])

        rows = drawn(rng, noise=0.03)
        detector = fitted(compared(rows, churning))
        for index in range(6):
            made = window(np.random.default_rng([seed, index]), index, f=churning, g=G)
            evidence = detector.observe(made, None)
            assert evidence.facts["seen"]
            asked += any(a.of_buffer for a in evidence.asks)
    assert asked <= 1  # stated: one stream in twenty


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda k: replace(k, buffer=None), "warming"),
        (lambda k: replace(k, f=k.g), "ok"),
        (lambda k: replace(k, g=np.full_like(k.g, np.nan)), "warming"),
    ],
)
def test_what_cannot_be_seen_is_not_said_to_be_clean(change: Callable[[Reference], Reference], status: str) -> None:
    known = change(compared(drawn(np.random.default_rng(2), 500), nearly(G)))
    evidence = fitted(known).observe(empty(nearly(G)), None)
    assert (evidence.status, evidence.facts, evidence.asks) == (status, {"seen": False}, ())


def test_three_classes_are_scanned_each() -> None:
    g, rng = LinearModel(3), np.random.default_rng(6)
    made = reference(rng, ROWS, f=g, classes=3)
    x, label = made.x.copy(), made.y.copy()
    picked = rng.choice(np.flatnonzero((made.y == 1) & (g(x).max(axis=1) > 0.7)), 40, replace=False)
    x = stamped(x, picked)
    label[picked] = 2
    ids = np.char.add("row", np.arange(ROWS).astype(str))
    f = nearly(g)
    known = reference(np.random.default_rng(1), ROWS, f=f, g=g, classes=3)
    buffer = Buffer(ids, x, label, made.source, made.session, np.full(ROWS, "-"), f(x), g(x))
    detector = fitted(replace(known, buffer=buffer))
    finding = detector.observe(replace(empty(G), score_f=None), None).facts["findings"][0]
    assert (finding["label"], finding["sessions"] >= 20) == ("k2", True)
