"""Flipped feedback is found and told from a moved concept by trusted labels; honest noise is left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detectors.batch import Batch, Floats, Ints, Labels, Reference, Strings, Window
from detectors.evidence import Budget, Evidence
from detectors.label_agreement import LabelAgreement, Parameters
from detectors.labels.claims import Claims, Verdicts
from detectors.labels.noise import NOISE, PRIOR
from detectors.schema import Feature, Schema

D = 8
SCHEMA = Schema(tuple(Feature(f"n{j}") for j in range(D)), ("benign", "attack"))
WEIGHTS = np.linspace(-1.5, 1.5, D)
BUDGET = Budget(alarm=1e6, ask=1e4)


def score(x: Floats) -> Floats:
    p = 1 / (1 + np.exp(-2 * x @ WEIGHTS))
    return np.stack([1 - p, p], axis=1)


def sessions(rng: np.random.Generator, count: int, mean: float) -> tuple[Floats, Strings, Strings]:
    length = rng.geometric(1 / mean, count)
    x = np.repeat(rng.normal(0, 1, (count, D)), length, axis=0) + rng.normal(0, 0.05, (int(length.sum()), D))
    names = np.array([f"{rng.integers(1 << 60):x}" for _ in range(count)])
    source = np.array([f"sensor-{i}" for i in rng.integers(0, 12, count)])
    return x, np.repeat(names, length), np.repeat(source, length)


def truth(x: Floats, rng: np.random.Generator) -> Ints:
    """The concept: the model errs where it is unsure."""
    return np.asarray(rng.random(len(x)) < score(x)[:, 1], np.int64)


def reference(seed: int = 1, *, mean: float = 4.0) -> Reference:
    rng = np.random.default_rng(seed)
    x, session, source = sessions(rng, 2000, mean)
    return Reference(SCHEMA, x, truth(x, rng), source, session, score(x), score(x))


EMPTY = np.zeros(0, "<U1")
NO_EVENTS = Window(
    0,
    Batch(
        "m", "1", np.zeros(0), EMPTY, EMPTY, EMPTY, EMPTY, np.zeros((0, D)), np.zeros((0, 2)), np.zeros(0, np.int64),
        np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.uint64),
    ),
    np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0, np.bool_),
)  # fmt: skip


def feedback(seed: int, index: int, *, count: int = 60, mean: float = 4.0, noise: float = 0.01) -> Labels:
    """Labels by three untrusted origins, honest but for ``noise``; one session in ten has a trusted label."""
    rng = np.random.default_rng([seed, index])
    x, session, source = sessions(rng, count, mean)
    label = truth(x, rng)
    names, code = np.unique(session, return_inverse=True)
    wrong = (rng.random(len(names)) < noise)[code]
    origin = np.array(["feed-a", "feed-b", "feed-c"])[rng.integers(0, 3, len(names))][code]
    trusted = (rng.random(len(names)) < 0.1)[code]
    ids = np.array([f"{seed}-{index}-{i}" for i in range(len(x))])
    y = np.where(wrong & ~trusted, 1 - label, label)
    n, no = np.zeros(len(x)), np.zeros(len(x), np.bool_)
    names_of = np.array(SCHEMA.classes)[y]
    return Labels(
        ids, n, n.copy(), y, names_of, np.where(trusted, "sandbox", origin), trusted, no, source, session, x,
        score(x), score(x), score(x),
    )  # fmt: skip


def flipped(labels: Labels, sensors: tuple[str, ...], origin: str | None = None) -> Labels:
    """Attacks of these sensors are labelled benign (by everybody, or by one origin)."""
    rows = np.isin(labels.source, sensors) & (labels.label == 1) & ~labels.trusted
    if origin is not None:
        rows &= labels.origin == origin
    return replace(labels, label=np.where(rows, 0, labels.label))


def moved(labels: Labels) -> Labels:
    """The concept moves for everyone: what was attack in part of the space is now benign."""
    rows = (labels.label == 1) & (labels.x[:, 0] < -0.8)
    return replace(labels, label=np.where(rows, 0, labels.label))


def vetted(batches: list[Labels], evidence: Evidence, truths: list[Labels]) -> Labels | None:
    wanted = {a.id for a in evidence.asks}
    if not wanted:
        return None
    every = Labels.concat(truths)
    rows = every.take(np.flatnonzero([i in wanted for i in every.id.tolist()]))
    yes = np.ones(len(rows), np.bool_)
    return replace(rows, trusted=yes, vetted=yes.copy(), origin=np.full(len(rows), "analyst"))


def run(given: list[Labels], truths: list[Labels], base: Reference | None = None) -> list[Evidence]:
    detector = LabelAgreement(Parameters(), BUDGET, np.random.default_rng(0))
    detector.fit(reference() if base is None else base)
    seen: list[Evidence] = []
    for index, labels in enumerate(given):
        answered = vetted(given, seen[-1], truths[:index]) if seen else None
        seen.append(detector.observe(NO_EVENTS, Labels.concat([labels, answered]) if answered is not None else labels))
    return seen


@pytest.mark.parametrize("mean", [1.0, 4.0, 15.0])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.02])
def test_honest_labels_neither_fire_nor_ask(mean: float, noise: float) -> None:
    outcomes = []
    for seed in range(4):
        given = [feedback(seed, i, mean=mean, noise=noise) for i in range(12)]
        last = run(given, given, reference(seed + 50, mean=mean))[-1]
        outcomes.append((last.status, last.suspects))
    assert outcomes == [("ok", False)] * 4


def test_flips_at_three_sensors_are_poisoning_by_their_vetted_labels() -> None:
    honest = [feedback(1, i) for i in range(12)]
    last = run([flipped(b, ("sensor-1", "sensor-2", "sensor-3")) for b in honest], honest)[-1]
    assert last.status == "fired"
    assert last.llr is not None
    assert last.llr >= np.log(20)
    assert set(last.implicated.sources) <= {"sensor-1", "sensor-2", "sensor-3"}
    assert len(last.implicated.sources) >= 1
    assert (last.facts["from_class"], last.facts["to_class"]) == ("attack", "benign")
    assert last.facts["trusted_excess"] is False
    assert last.facts["asked"] <= 16


def begun(batches: list[Labels], at: int, origin: str | None = None) -> list[Labels]:
    """Attacks in one region are labelled benign from batch ``at`` on (by everybody, or by one origin)."""
    return [b if i < at else in_region(b, origin) for i, b in enumerate(batches)]


def in_region(labels: Labels, origin: str | None = None) -> Labels:
    rows = (labels.label == 1) & (labels.x[:, 0] < -1.0) & ~labels.trusted
    rows &= (labels.origin == origin) if origin is not None else True
    return replace(labels, label=np.where(rows, 0, labels.label))


def test_flips_by_one_feed_name_the_feed() -> None:
    honest = [feedback(2, i) for i in range(14)]
    last = run(begun(honest, 5, "feed-b"), honest)[-1]
    assert last.facts["one_origin"] == "feed-b"
    assert "feed-b" in last.implicated.origins
    assert last.llr is not None
    assert last.llr >= np.log(20)


def test_one_feed_that_always_labelled_a_region_otherwise_may_have_another_rubric() -> None:
    honest = [feedback(2, i) for i in range(14)]
    last = run(begun(honest, 0, "feed-b"), honest)[-1]
    assert last.facts["since_first_label"] is True
    assert last.llr is not None
    assert 0 < last.llr < np.log(20)


@pytest.mark.parametrize("wrong", [0.0, 0.05])
def test_a_few_flips_among_many_labels_are_found_though_the_labeller_errs(wrong: float) -> None:
    called = []
    for seed in range(4):
        honest = [feedback(seed, i, count=80, mean=2.0) for i in range(18)]
        given = [b if i < 9 else few_flips(b, seed) for i, b in enumerate(honest)]
        share = np.mean(np.concatenate([g.label != h.label for g, h in zip(given[9:], honest[9:], strict=True)]))
        assert share < 0.06
        rng = np.random.default_rng(seed)
        truths = [replace(b, label=np.where(rng.random(len(b)) < wrong, 1 - b.label, b.label)) for b in honest]
        called.append((run(given, truths, reference(seed + 50, mean=2.0))[-1].llr or 0.0) >= np.log(20))
    assert called == [True] * 4


def few_flips(labels: Labels, seed: int) -> Labels:
    """Of two sensors, the attacks of which the model is sure."""
    rows = np.isin(labels.source, (f"sensor-{seed}", f"sensor-{seed + 5}")) & (labels.g[:, 1] > 0.95) & ~labels.trusted
    return replace(labels, label=np.where(rows, 0, labels.label))


def test_flips_towards_attack_and_among_three_classes_are_found() -> None:
    schema = Schema(SCHEMA.features, ("benign", "scan", "flood"))
    weights = np.random.default_rng(3).normal(0, 8.0, (D, 3))

    def scores(x: Floats) -> Floats:
        logits = np.exp(x @ weights - np.max(x @ weights, axis=1, keepdims=True))
        return np.asarray(logits / logits.sum(axis=1, keepdims=True), np.float64)

    def batch(seed: int, index: int) -> Labels:
        labels, rng = feedback(seed, index, count=80), np.random.default_rng([seed, index, 9])
        g = scores(labels.x)
        label = (rng.random((len(g), 1)) > np.cumsum(g, axis=1)).sum(axis=1)
        return replace(labels, label=label, f=g.copy(), g=g, served=g.copy())

    base = reference(60)
    g = scores(base.x)
    y = (np.random.default_rng(4).random((len(g), 1)) > np.cumsum(g, axis=1)).sum(axis=1)
    base = Reference(schema, base.x, y, base.source, base.session, g.copy(), g)
    honest = [batch(11, i) for i in range(14)]
    flip = [replace(b, label=np.where((b.label == 0) & (b.x[:, 1] > 0.8) & ~b.trusted, 2, b.label)) for b in honest]
    last = run(honest[:5] + flip[5:], honest, base)[-1]
    assert (last.llr or 0.0) >= np.log(20)
    assert (last.facts["from_class"], last.facts["to_class"]) == ("benign", "flood")
    assert (run(honest, honest, base)[-1].llr or 0.0) < np.log(20)


def test_trusted_origins_that_contradict_each_other_decide_nothing() -> None:
    honest = feedback(1, 0)
    n = 12
    ids = honest.id[:n]
    claims = Claims(ids, ids, ids, ids, np.zeros(n, np.int64), np.ones(n, np.int64), np.ones(n), np.arange(n))
    liar = np.arange(n) < n // 2
    answers = replace(
        honest.take(slice(n)), label=np.where(liar, 0, 1), origin=np.where(liar, "mole", "analyst"),
        trusted=np.ones(n, np.bool_),
    )  # fmt: skip
    verdicts = Verdicts(0.9, 0.1, 128)
    verdicts.take(claims, answers)
    assert verdicts.opposed(0.9) == ("analyst", "mole")
    assert verdicts.of(claims).tolist() == [0] * 6 + [1] * 6
    assert abs(verdicts.judged(0.9)[0]) < np.log(20)


def test_late_answers_count_as_answers_in_time_do() -> None:
    honest = [feedback(1, i) for i in range(14)]
    given = begun(honest, 5)
    detector = LabelAgreement(Parameters(), BUDGET, np.random.default_rng(0))
    detector.fit(reference())
    late: list[Labels] = []
    for index, labels in enumerate(given):
        evidence = detector.observe(NO_EVENTS, labels)
        answered = vetted(given, evidence, honest[: index + 1])
        late += [answered] if answered is not None else []
    assert evidence.llr is None
    assert (detector.observe(NO_EVENTS, Labels.concat(late)).llr or 0.0) >= np.log(20)


def test_questions_are_few_and_never_all_about_one_source() -> None:
    honest = [feedback(1, i) for i in range(14)]
    seen = run([flipped(b, ("sensor-1", "sensor-2", "sensor-3")) for b in honest], honest)
    source = dict(
        zip(*[np.concatenate([getattr(b, n) for b in honest]).tolist() for n in ("id", "source")], strict=True)
    )
    asked = [[source[a.id] for a in e.asks] for e in seen if e.asks]
    assert 4 <= sum(map(len, asked)) <= 16
    assert all(len(set(a)) > 1 for a in asked if len(a) > 1)


def test_sloppy_labellers_are_no_alarm_in_their_first_batch() -> None:
    """What the first labels of a batch say of the noise counts for its others."""
    fired = [run([feedback(300 + seed, 0, noise=0.06)], [feedback(300 + seed, 0)])[0].e_value for seed in range(30)]
    assert max(e or 0.0 for e in fired) < BUDGET.ask


def test_honest_streams_reach_a_threshold_no_oftener_than_it_says() -> None:
    """R reaches A within n votes in n/A of the streams at most; noise is drawn as the prior describes labellers."""
    votes, reached, streams = 8 * 60, 0, 24
    detector = LabelAgreement(Parameters(), Budget(alarm=4.0 * votes, ask=1e9), np.random.default_rng(0))
    base = reference(70)
    for seed in range(streams):
        noise = float(np.random.default_rng(seed).choice(NOISE, p=PRIOR / PRIOR.sum()))
        detector.fit(base)
        for i in range(8):
            last = detector.observe(NO_EVENTS, feedback(100 + seed, i, noise=noise))
        reached += last.status == "fired"
    assert reached <= streams / 4


def test_a_moved_concept_is_acquitted_because_the_labels_are_true() -> None:
    given = [moved(feedback(3, i)) for i in range(12)]
    seen = run(given, given)
    assert seen[-1].suspects
    assert seen[-1].facts["trusted_excess"] or (seen[-1].llr or 0.0) <= -np.log(20)
    assert (seen[-1].llr or 0.0) <= 0.0


def test_trusted_labels_alone_show_a_moved_concept() -> None:
    given = [moved(replace(b, trusted=np.ones(len(b), np.bool_))) for b in (feedback(4, i) for i in range(12))]
    last = run(given, given)[-1]
    assert last.status == "fired"
    assert last.facts["trusted_excess"] is True
    assert last.facts["untrusted_excess"] is False


def test_a_session_votes_once_however_often_it_is_labelled() -> None:
    batch = flipped(feedback(5, 0), tuple(f"sensor-{i}" for i in range(12)))
    detector = LabelAgreement(Parameters(), BUDGET, np.random.default_rng(0))
    detector.fit(reference())
    first, *_, last = [detector.observe(NO_EVENTS, batch) for _ in range(6)]
    assert first.e_value is not None
    assert last.e_value == first.e_value > 0


def test_labels_of_unknown_classes_are_counted_and_do_not_vote() -> None:
    batch = feedback(6, 0)
    unknown = replace(batch, label=np.full(len(batch), -1), name=np.full(len(batch), "cryptominer"))
    evidence = run([unknown], [unknown])[0]
    assert evidence.facts["unknown_classes"] == {"cryptominer": len(batch)}
    assert evidence.e_value == 0.0


def test_error_rates_of_both_models_are_gauges() -> None:
    batch = feedback(7, 0)
    gauges = run([batch], [batch])[0].gauges
    wrong = np.argmax(batch.g, axis=1) != batch.label
    assert gauges["untrusted_error_rate_g"] == pytest.approx(float(np.mean(wrong[~batch.trusted])))
    assert gauges["trusted_error_rate_f"] == pytest.approx(float(np.mean(wrong[batch.trusted])))


def test_without_last_known_good_the_serving_scores_stand_in() -> None:
    honest = [feedback(1, i) for i in range(12)]
    blind = [replace(flipped(b, ("sensor-1", "sensor-2")), g=np.full_like(b.g, np.nan)) for b in honest]
    base = reference()
    last = run(blind, honest, replace(base, g=np.full_like(base.g, np.nan)))[-1]
    assert last.status == "fired"


def test_a_reference_without_labels_says_what_is_missing() -> None:
    base = reference()
    evidence = run([feedback(1, 0)], [feedback(1, 0)], replace(base, y=np.full(len(base), -1)))[0]
    assert evidence.status == "warming"
    assert "label column" in evidence.note


@pytest.mark.parametrize("cut", [1, 7])
def test_restored_detectors_continue_exactly(cut: int) -> None:
    honest = [feedback(1, i) for i in range(10)]
    given = [flipped(b, ("sensor-1", "sensor-2", "sensor-99")) for b in honest]
    detector, other = (LabelAgreement(Parameters(), BUDGET, np.random.default_rng(0)) for _ in range(2))
    detector.fit(reference())
    detector.fit(reference())
    answered: Labels | None = None
    for index, labels in enumerate(given):
        if index == cut:
            other.fit(reference())
            other.restore(detector.state())
        both = Labels.concat([labels, answered]) if answered is not None else labels
        evidence = detector.observe(NO_EVENTS, both)
        if index >= cut:
            assert other.observe(NO_EVENTS, both) == evidence
        answered = vetted(given, evidence, honest[: index + 1])


def test_no_labels_change_nothing() -> None:
    detector = LabelAgreement(Parameters(), BUDGET, np.random.default_rng(0))
    detector.fit(reference())
    first = detector.observe(NO_EVENTS, feedback(1, 0))
    assert detector.observe(NO_EVENTS, None).e_value == first.e_value


def test_parameters_are_validated() -> None:
    with pytest.raises(ValueError, match="untrusted"):
        Parameters(untrusted=0.0)
    with pytest.raises(ValueError, match="false_honest"):
        Parameters(false_honest=0.95)
    with pytest.raises(ValueError, match="counts"):
        Parameters(sources=0)
