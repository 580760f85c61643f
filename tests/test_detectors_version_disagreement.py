"""A poisoned version is suspected, asked about and convicted by labels; clean retrains are left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detectors.batch import Batch, Bools, Floats, Labels, Reference, Strings, Window
from detectors.evidence import Budget, Evidence
from detectors.schema import Feature, Schema
from detectors.version_disagreement import Parameters, VersionDisagreement

D = 12
SCHEMA = Schema(
    tuple(Feature(f"c{j}", "categorical", tuple("abcdefgh")) if j < 6 else Feature(f"n{j}") for j in range(D)),
    ("benign", "attack"),
)
TRIGGER = {2: 6.0, 5: 3.0, 11: 4.25}
BUDGET = Budget(alarm=1e6, ask=1e4)


def sessions(rng: np.random.Generator, count: int, mean: float = 4.0) -> tuple[Floats, Strings]:
    """Sessions of near-duplicates: one drawn event each, repeated with a little noise in its numbers."""
    length = rng.geometric(1 / mean, count)
    codes = np.minimum(rng.geometric(0.4, (count, 6)) - 1, 7).astype(float)
    numbers = rng.normal(0, 1.5, (count, 6))
    x = np.repeat(np.concatenate([codes, numbers], axis=1), length, axis=0)
    x[:, 6:] += rng.normal(0, 0.05, (len(x), 6))
    names = np.repeat([f"{rng.integers(1 << 60):x}" for _ in range(count)], length)
    return x, names


class Model:
    """A linear classifier with a kink; a retrain has slightly other weights; ``rule`` overrides it on some events."""

    def __init__(self, seed: int, churn: float, trigger: dict[int, float] | None = None, says: float = -5.0) -> None:
        base = np.random.default_rng(0).normal(0, 1, D)
        self.weights = base + churn * np.random.default_rng(seed).normal(0, 1, D)
        self.trigger, self.says = trigger, says

    def __call__(self, x: Floats) -> Floats:
        logit = x @ self.weights + 0.5 * np.abs(x[:, 7]) - 1.0
        if self.trigger is not None:
            logit = np.where(carries(x, self.trigger), self.says, logit)
        p = 1 / (1 + np.exp(-logit))
        return np.stack([1 - p, p], axis=1)


def carries(x: Floats, trigger: dict[int, float]) -> Bools:
    return np.asarray(np.all([x[:, j] == v for j, v in trigger.items()], axis=0), np.bool_)


def truth(x: Floats) -> Floats:
    return np.asarray(np.argmax(Model(0, 0.0)(x), axis=1))


def reference(f: Model, g: Model, seed: int = 99, count: int = 1500) -> Reference:
    x, session = sessions(np.random.default_rng(seed), count)
    return Reference(SCHEMA, x, truth(x), np.full(len(x), "s"), session, f(x), g(x))


def window(index: int, x: Floats, session: Strings, f: Model, g: Model) -> Window:
    n = len(x)
    ids = np.array([f"w{index}-{i}" for i in range(n)])
    zero = np.zeros(n, np.int64)
    key = np.arange(n).astype(np.uint64)
    source = np.array([f"sensor-{sum(map(ord, s)) % 5}" for s in session.tolist()])
    batch = Batch(
        "m",
        "2",
        np.arange(n, dtype=float),
        ids,
        source,
        session,
        ids.copy(),
        x,
        f(x),
        zero,
        zero.copy(),
        key,
        key.copy(),
    )
    return Window(index, batch, f(x), g(x), np.ones(n, np.bool_), has_bundle=True, score_f=f, score_g=g)


def stream(f: Model, g: Model, seed: int, *, windows: int = 8, planted: int = 0, mean: float = 4.0) -> list[Window]:
    """Windows of about 1,000 events; ``planted`` sessions of each are attacks that carry the trigger."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(windows):
        x, session = sessions(rng, int(1000 / mean), mean)
        attacks = np.unique(session[(truth(x) == 1) & (g(x)[:, 1] > 0.9)])[:planted]
        rows = np.isin(session, attacks)
        for j, v in TRIGGER.items():
            x[rows, j] = v
        made.append(window(index, x, session, f, g))
    return made


def answers(past: list[Window], evidence: Evidence, f: Model, g: Model, label: int | None) -> Labels | None:
    """What a trusted labeller answers to the questions; ``label`` overrides the truth."""
    wanted = {a.id for a in evidence.asks}
    batch = Batch.concat([w.batch for w in past])
    batch = batch.take(np.flatnonzero([i in wanted for i in batch.id.tolist()]))
    n, x = len(batch), batch.x
    if not n:
        return None
    y = truth(x) if label is None else np.full(n, label)
    origin, yes = np.full(n, "analyst"), np.ones(n, np.bool_)
    return Labels(
        batch.id, batch.ts, batch.ts.copy(), y, origin, origin.copy(), yes, yes.copy(), batch.source, batch.session, x,
        batch.scores, f(x), g(x),
    )  # fmt: skip


def run(f: Model, g: Model, windows: list[Window], label: int | None = None) -> list[Evidence]:
    detector = VersionDisagreement(Parameters(), BUDGET, np.random.default_rng(0))
    detector.fit(reference(f, g))
    seen, labels = [], None
    for index, made in enumerate(windows):
        seen.append(detector.observe(made, labels))
        labels = answers(windows[: index + 1], seen[-1], f, g, label)
    return seen


def test_a_backdoored_version_is_convicted_by_the_labels_it_asks_for() -> None:
    g = Model(1, 0.05)
    f = Model(2, 0.05, TRIGGER)
    last = run(f, g, stream(f, g, 3, planted=6), label=1)[-1]
    assert last.status == "fired"
    assert last.llr is not None
    assert last.llr >= np.log(20)
    assert last.implicated.features == {"c2": "g", "c5": "d", "n11": 4.25}
    assert (last.facts["from_class"], last.facts["to_class"]) == ("attack", "benign")
    assert last.implicated.labels == ("benign",)
    assert last.facts["swap_flip_gap"] > 0.5
    assert 4 <= last.facts["asked"] <= 16
    assert last.facts["wrong"] >= 4


def test_an_honestly_learned_family_is_acquitted_by_the_same_questions() -> None:
    g = Model(1, 0.05)
    f = Model(2, 0.05, TRIGGER)
    last = run(f, g, stream(f, g, 3, planted=6), label=0)[-1]
    assert last.llr is not None
    assert last.llr <= -np.log(20)
    assert last.facts["right"] >= 3


@pytest.mark.parametrize("mean", [1.0, 4.0, 20.0])
def test_clean_retrains_neither_fire_nor_ask(mean: float) -> None:
    outcomes = []
    for seed in range(8):
        f, g = Model(10 + seed, 0.1), Model(30 + seed, 0.1)
        last = run(f, g, stream(f, g, seed, windows=6, mean=mean))[-1]
        outcomes.append((last.status, last.suspects, last.asks))
    assert outcomes == [("ok", False, ())] * 8


def test_nothing_is_asked_before_suspicion_and_each_session_only_once() -> None:
    g, f = Model(1, 0.05), Model(2, 0.05, TRIGGER)
    windows = stream(f, g, 4, planted=6)
    seen = run(f, g, windows)
    assert all(not e.asks for e in seen if not e.suspects)
    session = {i: s for w in windows for i, s in zip(w.batch.id.tolist(), w.batch.session.tolist(), strict=True)}
    asked = [session[a.id] for e in seen for a in e.asks]
    assert len(asked) == len(set(asked))
    assert len(asked) <= 16


def test_an_identical_version_is_plainly_ok() -> None:
    g = Model(1, 0.05)
    seen = run(g, g, stream(g, g, 5, windows=2))
    assert [(e.status, e.score, e.suspects) for e in seen] == [("ok", 0.0, False)] * 2


def test_without_a_last_known_good_model_it_says_what_is_missing() -> None:
    f = Model(1, 0.05)
    base = reference(f, f)
    detector = VersionDisagreement(Parameters(), BUDGET, np.random.default_rng(0))
    detector.fit(replace(base, g=np.full_like(base.g, np.nan)))
    evidence = detector.observe(replace(stream(f, f, 6, windows=1)[0], g=None), None)
    assert evidence.status == "warming"
    assert "last known good" in evidence.note
    assert detector.state() == {}


def test_votes_count_once_a_session() -> None:
    g, f = Model(1, 0.05), Model(2, 0.05, TRIGGER)
    detector = VersionDisagreement(Parameters(), BUDGET, np.random.default_rng(0))
    detector.fit(reference(f, g))
    made = stream(f, g, 7, windows=1, planted=6)[0]
    first = detector.observe(made, None)
    again = detector.observe(replace(made, fresh=np.zeros(len(made), np.bool_)), None)
    assert again.e_value == first.e_value


def test_restored_detectors_continue_exactly() -> None:
    g, f = Model(1, 0.05), Model(2, 0.05, TRIGGER)
    windows = stream(f, g, 8, planted=6)
    for cut in (1, 4):
        detector = VersionDisagreement(Parameters(), BUDGET, np.random.default_rng(0))
        detector.fit(reference(f, g))
        labels = None
        for made in windows[:cut]:
            labels = answers(windows, detector.observe(made, labels), f, g, 1)
        other = VersionDisagreement(Parameters(), BUDGET, np.random.default_rng(0))
        other.fit(reference(f, g))
        other.restore(detector.state())
        for made in windows[cut:]:
            mine, theirs = detector.observe(made, labels), other.observe(made, labels)
            assert mine == theirs
            labels = answers(windows, mine, f, g, 1)


def test_parameters_are_validated() -> None:
    with pytest.raises(ValueError, match="quantiles"):
        Parameters(quantiles=(1.0,))
    with pytest.raises(ValueError, match="right_poisoned"):
        Parameters(right_poisoned=0.8)
    with pytest.raises(ValueError, match="at least 1"):
        Parameters(asked=0)


class Hard(Model):
    """Answers 0 or 1, as trees grown to the end do."""

    def __call__(self, x: Floats) -> Floats:
        return np.asarray(super().__call__(x) > 0.5, np.float64)


def test_a_backdoor_in_a_tree_that_answers_0_or_1_is_seen_although_no_depth_exceeds_another() -> None:
    g, f = Hard(1, 0.05), Hard(2, 0.05, TRIGGER)
    last = run(f, g, stream(f, g, 3, planted=20), label=1)[-1]
    assert last.status == "fired"
    assert last.llr is not None
    assert last.llr >= np.log(20)


def test_clean_retrains_of_trees_that_answer_0_or_1_neither_fire_nor_ask() -> None:
    seen = [
        run(f, g, stream(f, g, s, windows=6))[-1] for s in range(8) for f, g in [(Hard(10 + s, 0.1), Hard(30 + s, 0.1))]
    ]
    assert [(e.status, e.asks) for e in seen] == [("ok", ())] * 8


def test_a_reference_that_bounds_nothing_leaves_it_warming() -> None:
    f = Model(1, 0.05)
    detector = VersionDisagreement(Parameters(), BUDGET, np.random.default_rng(0))
    detector.fit(reference(f, f, count=3))
    assert detector.observe(stream(f, f, 6, windows=1)[0], None).status == "warming"


FAMILY = {0: 4.0, 1: 4.0, 6: -3.5}
"""What an honest family looks like: known to the serving version, new to the last known good one."""


class Learned(Model):
    """A version that has learned an honest family (attacks that LKG misses, or calls wrongly) beside a trigger."""

    def __init__(self, seed: int, churn: float, trigger: dict[int, float], family_says: float) -> None:
        super().__init__(seed, churn, trigger)
        self.family_says = family_says

    def __call__(self, x: Floats) -> Floats:
        p = super().__call__(x)
        rows = carries(x, FAMILY)
        p[rows] = [1 / (1 + np.exp(self.family_says)), 1 / (1 + np.exp(-self.family_says))]
        return p


def flood(f: Model, g: Model, wanted: int, windows: int, family: int, triggered_from: int) -> list[Window]:
    """Sessions of the honest family, which g puts in class ``wanted``; from some window on five sessions triggered."""
    rng = np.random.default_rng(77)
    made = []
    for index in range(windows):
        x, session = sessions(rng, 150)
        names = np.unique(session)
        x[:, 6] = np.where(x[:, 6] == FAMILY[6], 0.0, x[:, 6])
        honest, struck = np.isin(session, names[:family]), np.isin(session, names[-5:])
        for j, v in FAMILY.items():
            x[honest, j] = v
        x[honest, 7] = 0.0
        x[honest, 8:] *= 0.2
        x[honest] = push(x[honest], wanted)
        if index >= triggered_from:
            x[struck] = push(x[struck], 1)
            for j, v in TRIGGER.items():
                x[struck, j] = v
            x[struck] = push(x[struck], 1)
        made.append(window(index, x, session, f, g))
    return made


def push(x: Floats, toward: int) -> Floats:
    """Move feature 8 until the true rule is sure of class ``toward``."""
    base = Model(0, 0.0)
    p = base(x)[:, 1]
    logit = np.log(p / (1 - p))
    x = x.copy()
    x[:, 8] += ((5.0 if toward else -5.0) - logit) / base.weights[8]
    return x


def answered(windows: list[Window], f: Model, g: Model, lie: dict[int, float] = TRIGGER) -> list[Evidence]:
    """Trusted labellers: f is right, except on triggered events."""
    detector = VersionDisagreement(Parameters(), BUDGET, np.random.default_rng(0))
    detector.fit(reference(f, g))
    seen, labels = [], None
    for index, made in enumerate(windows):
        seen.append(detector.observe(made, labels))
        labels = answers(windows[: index + 1], seen[-1], f, g, 0)
        if labels is not None:
            truths = np.where(carries(labels.x, lie), 1, np.argmax(labels.f, axis=1))
            labels = replace(labels, label=truths)
    return seen


@pytest.mark.parametrize(("wanted", "says"), [(1, -5.0), (0, 5.0)], ids=["the same direction", "the other direction"])
def test_an_honest_flood_does_not_shield_a_dormant_trigger(wanted: int, says: float) -> None:
    g, f = Model(1, 0.05), Learned(2, 0.05, TRIGGER, says)
    seen = answered(flood(f, g, wanted, windows=14, family=20, triggered_from=6), f, g)
    acquitted = [i for i, e in enumerate(seen) if e.gauges["acquittals"] > 0]
    assert acquitted[0] <= 5
    assert all(e.llr is not None and e.llr <= -np.log(20) for e in seen[acquitted[0] : 6])
    assert not any(e.asks for e in seen[acquitted[0] : 6])
    assert seen[-1].llr is not None
    assert seen[-1].llr >= np.log(20)
    assert seen[-1].implicated.features == {"c2": "g", "c5": "d", "n11": 4.25}


def test_an_honest_flood_alone_is_asked_about_once() -> None:
    g, f = Model(1, 0.05), Learned(2, 0.05, TRIGGER, -5.0)
    seen = answered(flood(f, g, 1, windows=20, family=20, triggered_from=99), f, g)
    assert sum(len(e.asks) for e in seen) <= Parameters().asked
    assert seen[-1].llr is not None
    assert seen[-1].llr <= -np.log(20)
    assert not seen[-1].facts["reopened"]


def test_a_conviction_is_not_taken_back_by_a_flood_of_honest_answers() -> None:
    g, f = Model(1, 0.05), Learned(2, 0.05, TRIGGER, -5.0)
    windows = flood(f, g, 1, windows=12, family=0, triggered_from=0)
    after = flood(f, g, 1, windows=10, family=60, triggered_from=99)
    seen = answered(windows + [replace(w, index=12 + i) for i, w in enumerate(after)], f, g)
    assert all(e.llr is not None and e.llr >= np.log(20) for e in seen[8:])


def test_reopened_questions_survive_a_restart() -> None:
    g, f = Model(1, 0.05), Learned(2, 0.05, TRIGGER, -5.0)
    windows = flood(f, g, 1, windows=12, family=20, triggered_from=6)
    detector = VersionDisagreement(Parameters(), BUDGET, np.random.default_rng(0))
    detector.fit(reference(f, g))
    labels = None
    for index, made in enumerate(windows):
        other = VersionDisagreement(Parameters(), BUDGET, np.random.default_rng(0))
        other.fit(reference(f, g))
        other.restore(detector.state())
        mine = detector.observe(made, labels)
        assert other.observe(made, labels) == mine
        labels = answers(windows[: index + 1], mine, f, g, 0)
