"""Flipped feedback is found and told from a moved concept by trusted labels; honest noise is left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detectors.batch import Batch, Floats, Ints, Labels, Reference, Strings, Window
from detectors.evidence import Budget, Evidence
from detectors.label_agreement import LabelAgreement, Parameters
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


def test_flips_by_one_feed_name_the_feed() -> None:
    honest = [feedback(2, i) for i in range(12)]
    every = tuple(f"sensor-{i}" for i in range(12))
    last = run([flipped(b, every, "feed-b") for b in honest], honest)[-1]
    assert last.facts["one_origin"] == "feed-b"
    assert "feed-b" in last.implicated.origins
    assert last.llr is not None
    assert last.llr >= np.log(20)


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
    first, *_, last = run([batch] * 6, [batch] * 6)
    assert last.e_value == first.e_value


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
    with pytest.raises(ValueError, match="noise"):
        Parameters(noise=0.0)
    with pytest.raises(ValueError, match="false_honest"):
        Parameters(false_honest=0.95)
    with pytest.raises(ValueError, match="counts"):
        Parameters(regions=0)
