"""Every requirement of the release gate: found by its name, right about clean candidates, blind to none it is for."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from gate_models import ATTACK, BENIGN, SCHEMA, blind, clean_trial, drawn, obeying, rows, with_candidate
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.batch import Floats, Scorer
from rollback.canary.canaries import Canaries
from rollback.gates import requirements
from rollback.gates.answers import Answers
from rollback.gates.check import Check
from rollback.gates.gate import GateError, GateSettings, Judgement, judge
from rollback.gates.noise import Losses, excess, maximum_limit
from rollback.gates.pattern import Pattern
from rollback.gates.requirement import Case, Requirement, requirement_classes
from rollback.gates.requirements.calibration import calibration_error
from rollback.gates.requirements.labels_against_last_known_good import cells
from rollback.gates.requirements.rehearsal import MISSED as MISSES
from rollback.gates.requirements.rehearsal import Rehearsal as RehearsalCheck
from rollback.gates.requirements.trigger_search import search
from rollback.gates.slices import groups
from rollback.gates.trial import Campaign, Live, Suspect, Trial, undecided
from rollback.retraining.foreign import contradicted
from rollback.sanitise.rows import Rows

TRIGGER = Pattern("trigger", BENIGN, (2, 3), (7.0, 13.0))
HONEST = Campaign("backdoor_1", 20, 20, 0.9, 0.05, 0.05)
MISSED = Campaign("flips_2", 20, 3, 0.9, 0.8, 0.05)


def named(said: Judgement, name: str) -> Check:
    return next(c for c in said.checks if c.name == name)


def failed(said: Judgement) -> list[str]:
    return [c.name for c in said.checks if not c.passed]


def full(seed: int = 0) -> Trial:
    """A clean trial of which nothing is missing."""
    trial = clean_trial(seed)
    rng = np.random.default_rng(seed + 900)
    events = rows(600, seed + 500)
    canaries = rows(60, seed + 700).x
    return replace(
        trial,
        patterns=(TRIGGER,),
        held_back=(replace(TRIGGER, name="other", values=(9.0, 15.0)),),
        answers=Canaries(SCHEMA, canaries, trial.candidate(canaries)),
        canaries=Canaries(SCHEMA, canaries, trial.lkg(canaries)),
        probe=drawn(rng),
        removed_values=(replace(TRIGGER, name="1", values=(11.0, 17.0)),),
        live=Live(events.x, events.y, events.session),
        buffer=rows(900, seed + 300),
        suspects=(),
        campaigns=(HONEST, HONEST, HONEST),
    )


@cache
def clean() -> Judgement:
    return judge(full(), seed=0)


def test_every_file_of_the_package_is_one_requirement_of_that_name() -> None:
    files = sorted(m.name for m in pkgutil.iter_modules(requirements.__path__))
    found = requirement_classes()
    assert sorted(found) == files
    for name, cls in found.items():
        module = importlib.import_module(f"{requirements.__name__}.{name}")
        assert issubclass(cls, Requirement)
        assert cls.name == name
        assert cls.share >= 0
        assert module.__doc__
        assert cls.__doc__


def test_everything_that_a_requirement_says_bears_its_name_and_a_reason() -> None:
    said = clean()
    names = ["sane_scores", *requirement_classes()]
    for finding in (*said.checks, *said.figures, *said.skipped):
        assert any(finding.name == n or finding.name.startswith(f"{n}.") for n in names)
    assert all(c.why for c in said.checks)
    assert all(f.why for f in said.figures)


def test_a_full_trial_of_a_clean_candidate_passes_and_nothing_is_skipped() -> None:
    said = clean()
    assert failed(said) == []
    assert said.result == "passed"
    assert said.skipped == ()


def test_the_error_rates_of_all_checks_add_up_to_the_budget() -> None:
    told = [c.error_rate for c in clean().checks if c.error_rate is not None]
    assert clean().error_budget == 0.02
    assert sum(told) <= 0.02 + 1e-9
    fewer = judge(clean_trial(0), seed=0)
    assert sum(c.error_rate or 0.0 for c in fewer.checks) == pytest.approx(0.02)


def test_what_is_not_given_is_skipped_with_the_way_to_give_it() -> None:
    said = judge(clean_trial(0), seed=0)
    assert {s.name for s in said.skipped} == {
        "buffer_suspects", "canaries", "held_back_pattern", "labels_against_last_known_good", "live_window",
        "recovered_pattern", "rehearsal", "removed_values", "retained_rows", "served_scores",
    }  # fmt: skip
    assert all(s.reason and s.give for s in said.skipped)


@pytest.mark.parametrize("part", [0, 1])
def test_clean_candidates_fail_as_seldom_as_the_budget_says(part: int) -> None:
    budget, runs = 0.2, 60
    wrong = sum(
        judge(clean_trial(1000 * part + i), seed=i, settings=GateSettings(error_budget=budget)).result != "passed"
        for i in range(runs)
    )
    assert wrong <= budget * runs + 3 * np.sqrt(budget * (1 - budget) * runs)


def test_clean_live_windows_buffers_canaries_and_patterns_fail_as_seldom_as_the_budget_says() -> None:
    budget, runs = 0.2, 8
    wrong = sum(
        judge(full(50 + i), seed=i, settings=GateSettings(error_budget=budget)).result != "passed" for i in range(runs)
    )
    assert wrong <= budget * runs + 3 * np.sqrt(budget * (1 - budget) * runs)


@settings(deadline=None, max_examples=3)
@given(st.integers(0, 2**31))
def test_the_order_of_the_holdout_is_no_matter(seed: int) -> None:
    trial = replace(clean_trial(3), patterns=(TRIGGER,))
    order = np.random.default_rng(seed).permutation(len(trial.holdout))
    one, other = judge(trial, seed=1), judge(replace(trial, holdout=trial.holdout.take(order)), seed=1)
    assert one == other


def test_judging_changes_nothing_and_says_the_same_again() -> None:
    trial = full(4)
    before = trial.holdout.x.copy()
    assert judge(trial, seed=2) == judge(trial, seed=2)
    assert np.array_equal(before, trial.holdout.x)


def test_flips_in_one_slice_fail_there_and_are_named() -> None:
    trial = clean_trial(5, rows(4000, 5))
    said = judge(with_candidate(trial, blind(trial.candidate, low=10, high=15)), seed=0)
    assert "slice_flips" in failed(said)
    assert "attack" in named(said, "slice_flips").why
    assert named(said, "slice_flips").failing == "holds"


def test_scores_that_say_the_right_class_with_false_confidence_fail_calibration_alone() -> None:
    trial = clean_trial(6)

    def shy(x: Floats) -> Floats:
        return 0.5 + 0.02 * (trial.candidate(x) - 0.5)

    assert failed(judge(with_candidate(trial, shy), seed=0)) == ["calibration.brier"]
    other = judge(replace(with_candidate(trial, shy), kin=False), seed=0)
    assert failed(other) == []
    assert "calibration.brier" in {f.name for f in other.figures}


def test_a_candidate_that_answers_the_canaries_otherwise_fails() -> None:
    trial = full(7)
    assert trial.canaries is not None
    x = trial.canaries.x.copy()
    x[:, 2:] = [7.0, 47.0]  # in the middle, where models agree
    bad = replace(clean_trial(7), canaries=Canaries(SCHEMA, x, trial.lkg(x)))
    assert failed(judge(with_candidate(bad, obeying(bad.candidate, ttl=47.0)), seed=0)) == ["canaries.flipped"]


def test_a_pattern_that_was_held_back_is_tried_too() -> None:
    trial = replace(clean_trial(8), held_back=(TRIGGER,))
    assert failed(judge(with_candidate(trial, obeying(trial.candidate)), seed=0)) == ["held_back_pattern.trigger"]


def test_a_live_window_that_the_candidate_decides_otherwise_holds_and_with_labels_rejects() -> None:
    trial = clean_trial(9)
    events = rows(600, 77)
    x = events.x.copy()
    x[:300, 2:] = [7.0, 13.0]
    unlabelled = Live(x, np.full(600, -1), events.session)
    bad = with_candidate(trial, obeying(trial.candidate))
    held = judge(replace(bad, live=unlabelled), seed=0)
    assert (failed(held), held.result) == (["live_window.disagreement"], "vetting")
    told = judge(replace(bad, live=Live(x, events.y, events.session)), seed=0)
    assert "live_window.accuracy_loss" in failed(told)
    assert told.result == "rejected"


def flipped(seed: int) -> Rows:
    """A buffer in which one source calls half of its attacks benign."""
    clean_rows = rows(1200, seed)
    y = clean_rows.y.copy()
    lied = np.flatnonzero((y == ATTACK) & (clean_rows.source == "s1"))[::2]
    y[lied] = BENIGN
    return replace(clean_rows, y=y)


def test_labels_that_contradict_the_base_hold_until_answers_decide() -> None:
    trial, buffer = clean_trial(10), flipped(31)
    name = "labels_against_last_known_good"
    held = judge(replace(trial, buffer=buffer), seed=0)
    assert (failed(held), held.result) == ([name], "vetting")
    assert "labelled benign" in named(held, name).why
    truth = rows(1200, 31).y
    lies = judge(replace(trial, buffer=buffer, told=truth), seed=0)
    assert (failed(lies), lies.result) == ([name], "rejected")
    honest = judge(replace(trial, buffer=buffer, told=buffer.y), seed=0)
    assert honest.result == "passed"


def test_answers_that_confirm_what_one_source_says_speak_for_no_other() -> None:
    trial, buffer, truth = clean_trial(10), flipped(31), rows(1200, 31).y
    moved = (truth == ATTACK) & (buffer.source == "s2")  # honest, and against the base as well
    both = replace(buffer, y=np.where(moved, BENIGN, buffer.y))
    confirmed = np.where(moved, BENIGN, -1)
    held = judge(replace(trial, buffer=both, told=confirmed), seed=0)
    assert (failed(held), held.result) == (["labels_against_last_known_good"], "vetting")
    assert "source s1" in named(held, "labels_against_last_known_good").why
    asked = contradicted(replace(trial, buffer=both, told=confirmed), np.arange(len(both)).astype(np.str_))
    assert {str(both.source[int(row)]) for row, _ in asked} == {"s1"}
    told = np.where(both.source == "s1", truth, confirmed)
    assert judge(replace(trial, buffer=both, told=told), seed=0).result == "rejected"
    assert judge(replace(trial, buffer=both, told=both.y), seed=0).result == "passed"


def test_a_name_for_every_row_spends_nothing_of_the_error_rate_of_all_sources() -> None:
    trial, buffer = clean_trial(10), flipped(31)
    lied = buffer.y != rows(1200, 31).y
    few = lied & (np.cumsum(lied) <= 40)  # no more than what is beyond chance for a handful of sources
    some = replace(buffer, y=np.where(few, buffer.y, rows(1200, 31).y))
    names = np.where(few, np.char.add("x", np.arange(len(some)).astype(np.str_)), some.source)
    renamed = list(cells(replace(trial, buffer=replace(some, source=names))))
    alike = list(cells(replace(trial, buffer=replace(some, source=np.full(len(some), "s")))))
    least = [min(c.weighed for c in each if "all sources" in c.what) for each in (renamed, alike)]
    assert least[0] == pytest.approx(least[1])
    assert sum(c.share for c in renamed) == pytest.approx(1)


def test_as_many_sources_as_rows_are_judged_in_little_time_and_memory() -> None:
    trial, buffer = clean_trial(10), rows(4000, 3)
    own = replace(buffer, source=np.arange(len(buffer)).astype(np.str_))
    found = list(cells(replace(trial, buffer=own)))
    assert sum(len(cell.at) for cell in found) <= 2 * 2 * len(own)
    assert judge(replace(trial, buffer=own), seed=0).result == "passed"


def test_answers_about_rows_that_are_out_accuse_nobody_and_settle_what_is_left() -> None:
    trial, buffer, truth = clean_trial(10), flipped(31), rows(1200, 31).y
    lied = buffer.y != truth
    told = np.where(lied, truth, -1)
    out = judge(replace(trial, buffer=buffer, told=told, aside=lied), seed=0)
    assert out.result == "passed"
    half = lied & (np.arange(len(buffer)) % 2 == 0)
    left = judge(replace(trial, buffer=buffer, told=np.where(half, truth, -1), aside=half), seed=0)
    assert (failed(left), left.result) == (["labels_against_last_known_good"], "rejected")


@pytest.mark.parametrize(
    ("answered", "false", "result"), [(0, 0, "vetting"), (1, 1, "vetting"), (4, 4, "rejected"), (4, 0, "passed")]
)
def test_a_suspect_of_the_buffer_holds_until_answers_decide(answered: int, false: int, result: str) -> None:
    suspect = Suspect("slice_1", 40, "labelled benign: port = 7", replace(TRIGGER, name="slice_1"), answered, false)
    said = judge(replace(clean_trial(11), suspects=(suspect,), buffer=rows(500, 2)), seed=0)
    assert said.result == result
    assert suspect.open == undecided(answered, false) == (result == "vetting")
    assert "buffer_suspects.slice_1.obeyed" in {f.name for f in said.figures}


def test_a_suspect_whose_values_the_candidate_obeys_rejects_unless_answers_confirm_it() -> None:
    trial = clean_trial(11)
    bad = replace(with_candidate(trial, obeying(trial.candidate)), buffer=rows(500, 2))
    suspect = Suspect("slice_1", 40, "labelled benign: port = 7", replace(TRIGGER, name="slice_1"))
    assert judge(replace(bad, suspects=(suspect,)), seed=0).result == "rejected"
    assert judge(replace(bad, suspects=(replace(suspect, answered=4),)), seed=0).result == "passed"


@pytest.mark.parametrize(("label", "result"), [(BENIGN, "vetting"), (ATTACK, "passed"), (None, "passed")])
def test_benign_rows_whose_labels_are_right_may_still_be_a_backdoor_and_wait_for_a_person(
    label: int | None, result: str
) -> None:
    suspect = Suspect("rows_benign", 40, "labelled benign", None, 16, 0, label)
    said = judge(replace(clean_trial(11), suspects=(suspect,), buffer=rows(500, 2), benign=BENIGN), seed=0)
    assert said.result == result
    false = replace(suspect, false=16)
    assert judge(replace(clean_trial(11), suspects=(false,), buffer=rows(500, 2), benign=BENIGN), seed=0).result == (
        "rejected"
    )


def test_a_union_of_removed_values_holds_however_many_rows_it_moves() -> None:
    trial = clean_trial(11)
    values = (replace(TRIGGER, name="1"),)
    assert judge(replace(trial, removed_values=values), seed=0).result == "passed"
    bad = judge(replace(with_candidate(trial, obeying(trial.candidate)), removed_values=values), seed=0)
    assert (failed(bad), bad.result) == (["removed_values.1"], "vetting")

    def half(x: Floats) -> Floats:
        obeyed = (x[:, 2] == 7) & (x[:, 3] == 13) & (x[:, 1] == 1)
        return np.where(obeyed[:, None], [[0.01, 0.99]], trial.candidate(x))

    some = judge(replace(with_candidate(trial, half), removed_values=values), seed=0)
    assert 0.3 < named(some, "removed_values.1").value < 0.7
    assert some.result == "vetting"


def test_a_pipeline_that_misses_planted_campaigns_holds_and_one_that_neutralises_them_passes() -> None:
    trial = clean_trial(12)
    assert judge(replace(trial, campaigns=(HONEST,) * 4), seed=0).result == "passed"
    said = judge(replace(trial, campaigns=(HONEST, MISSED, MISSED, HONEST)), seed=0)
    assert (failed(said), said.result) == (["rehearsal"], "vetting")
    assert named(said, "rehearsal").value == 0.5
    assert "at most 90% of such campaigns do, with 95% confidence" in named(said, "rehearsal").why
    harmless = Campaign("backdoor_1", 20, 0, 0.05, 0.05, 0.05)
    for few in ((harmless,), (MISSED,)):  # nothing that one campaign does is rare enough
        assert "rehearsal" in {f.name for f in judge(replace(trial, campaigns=few), seed=0).figures}


@pytest.mark.parametrize("n", [2, 5, 14, 40])
def test_a_pipeline_that_misses_as_little_as_it_may_fails_rehearsals_as_seldom_as_stated(n: int) -> None:
    rate = 0.01
    case = Case(clean_trial(0), Answers.of(clean_trial(0), rows(20).x), rate, 0, GateSettings())
    rng, fails, tries = np.random.default_rng(n), 0, 400
    for _ in range(tries):
        missed = rng.random(n) < MISSES
        campaigns = tuple(MISSED if m else HONEST for m in missed.tolist())
        found = RehearsalCheck().judge(replace(case, trial=replace(case.trial, campaigns=campaigns)))
        (check,) = [f for f in found if isinstance(f, Check)]
        assert check.error_rate is not None
        assert check.error_rate <= rate
        fails += not check.passed
    assert fails <= rate * tries + 3 * np.sqrt(rate * tries)


def test_recall_is_told_attack_by_attack_with_a_bound() -> None:
    caught = replace(HONEST, name="split_trigger_1", attack="split_trigger", what="20 rows from s1")
    missed = replace(MISSED, name="targeted_flips_2", attack="targeted_flips")
    nowhere = Campaign("dirty_label_3", 0, 0, 0, 0, 0, "dirty_label", "too few rows")
    said = judge(replace(clean_trial(12), campaigns=(caught, replace(caught, name="x"), missed, nowhere)), seed=0)
    told = {f.name: f for f in said.figures}
    assert told["rehearsal.recall.split_trigger"].value == 1.0
    assert "2 would have done harm, 2 of these were neutralised (at most 78% are missed" in (
        told["rehearsal.recall.split_trigger"].why
    )
    assert told["rehearsal.recall.targeted_flips"].value == 3 / 20
    assert "too few rows" in told["rehearsal.recall.dirty_label"].why
    assert told["rehearsal.dirty_label_3"].why.startswith("not rehearsed")
    assert "20 rows from s1" in told["rehearsal.split_trigger_1"].why


def test_the_search_finds_a_backdoor_and_decides_nothing() -> None:
    held = rows(600, 3)
    own, victims = held.x[held.y == BENIGN].copy(), held.x[held.y == ATTACK][:40]
    own[:, 2] = 7.0
    base: Sequence[Scorer] = [drawn(np.random.default_rng(i)) for i in range(3)]
    best, swap = search(victims, own, BENIGN, blind(base[0], low=7, high=8), base, np.random.default_rng(0))
    assert 2 in best.columns
    assert swap > 0.5
    assert "trigger_search" in {f.name for f in clean().figures}


def test_scores_that_are_no_numbers_fail_and_nothing_else_is_judged() -> None:
    trial = clean_trial(13)
    for odd in (np.nan, np.inf, -0.5):
        said = judge(with_candidate(trial, lambda x, odd=odd: np.full((len(x), 2), odd)), seed=0)  # type: ignore[misc]  # its type is that of odd
        assert failed(said) == ["sane_scores"]
        assert said.result == "rejected"
        assert len(said.skipped) == len(requirement_classes())


def test_a_candidate_of_other_classes_and_a_holdout_of_one_class_are_refused_with_what_to_give() -> None:
    trial = clean_trial(14)
    with pytest.raises(GateError, match="gives 3 scores a row, there are 2 classes: attack, benign"):
        judge(with_candidate(trial, lambda x: np.full((len(x), 3), 1 / 3)), seed=0)
    only = trial.holdout.take(trial.holdout.y == BENIGN)
    with pytest.raises(GateError, match=r"all \d+ rows of the trusted holdout are benign.*--holdout"):
        judge(replace(trial, holdout=only), seed=0)


def test_a_tiny_holdout_says_how_large_a_loss_it_cannot_show() -> None:
    small = judge(clean_trial(15, rows(30, 1)), seed=0)
    large = judge(clean_trial(15, rows(3000, 1)), seed=0)

    def least(said: Judgement) -> float:
        return next(f.value for f in said.figures if f.name == "power.recall_loss.attack")

    assert least(small) > 3 * least(large)
    assert "--holdout" in next(f.why for f in small.figures if f.name.startswith("power."))


def test_more_loss_is_never_within_a_limit_that_less_exceeds() -> None:
    rng = np.random.default_rng(0)
    losses = Losses(0.1, 0.05, rng.normal(0.05, 0.01, 5), rng.normal(0.06, 0.01, 3), 0.001)
    value, limit = excess(losses, 0.01)
    assert value == pytest.approx(0.05)
    assert excess(losses, 0.001)[1] > limit > 0
    assert excess(losses, 0.01, lkg_kin=False)[1] > 0
    assert excess(replace(losses, lkg=0.2), 0.01)[1] == 0.0  # as good as a bad one is good enough


def test_one_more_maximum_exceeds_its_limit_as_seldom_as_stated() -> None:
    rng = np.random.default_rng(1)
    maxima = rng.normal(size=(3000, 9, 60)).max(axis=2)
    wrong = np.mean([row[-1] > maximum_limit(row[:-1], 0.02) for row in maxima])
    assert wrong <= 0.02 + 3 * np.sqrt(0.02 * 0.98 / 3000)


def test_groups_are_classes_and_their_rows_by_value_range_and_source() -> None:
    found = groups(rows(800, 2))
    assert {"attack", "benign", "attack, source s1", "attack, service http"} <= set(found.names)
    assert any(name.startswith("attack, bytes at most") for name in found.names)
    assert found.member.sum(axis=1).min() >= 20


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    scores = np.tile([0.9, 0.1], (100, 1))
    y = np.r_[np.zeros(50), np.ones(50)].astype(np.int64)
    rng = np.random.default_rng(0)
    assert 0.35 < calibration_error(scores, rng.permutation(y)) < 0.65
