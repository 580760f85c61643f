"""The bench's report: goals are judged on what was measured, on enough seeds, and those not reached come first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from buffers.cases import DEFAULT, Name, attacked
from buffers.data import load
from buffers.goals import GOALS, named
from buffers.measure import halves, measure, standard_error
from buffers.models import fit
from buffers.outcome import Goal, outcome
from buffers.pipeline import gathered
from buffers.report import goals, read, report
from hypothesis import given
from hypothesis import strategies as st
from retraining import Results, seeds
from test_sanitise_laws import naive_bayes

from detectors.batch import Floats


def line(case: str, seed: int = 0, data: str = "a", **more: Any) -> dict[str, Any]:
    gate = {name: {"passed": name != "undefended", "failed": []} for name in ("ours", "oracle", "undefended")}
    plain = {
        "data": data, "seed": seed, "case": case, "rows": 3000, "initialisations": 3,
        "gate": gate, "slices": [], "clean_removed": 0.004,
        "poison_removed": 1.0, "holds": False, "accuracy": {"ours": 0.99, "oracle": 0.99, "undefended": 0.98},
    }  # fmt: skip
    return plain | more


def attack(case: str, excess: float, seed: int = 0, data: str = "a", **more: Any) -> dict[str, Any]:
    asr = {"ours": 0.05 + excess, "oracle": 0.05, "undefended": 0.9}
    told = {"asr": asr, "excess": {name: value - 0.05 for name, value in asr.items()}}
    return line(case, seed, data, **told, **more)


def goal(name: str) -> Goal:
    return next(g for g in GOALS if name in g.name)


@pytest.mark.parametrize(("count", "reached"), [(4, "not measured"), (5, "yes")])
def test_a_goal_is_reached_on_five_seeds_of_every_data_set_only(count: int, reached: str) -> None:
    cases = [case for case in DEFAULT if case.startswith("dirty_label") and "@" not in case]
    lines = [attack(case, 0.01, s) for s in range(9) for case in cases]
    lines += [attack(case, 0.0, s, "b") for s in range(count) for case in cases]
    found = outcome(goal("one source"), lines)
    assert (found.n, found.reached) == (count, reached)
    assert found.worst == pytest.approx(0.01)


def test_one_bad_seed_is_enough_to_miss_a_goal_however_few_there_are() -> None:
    found = outcome(goal("split"), [attack("split_trigger:0.01/8", e, s) for s, e in enumerate((0.0, 0.03))])
    assert found.reached == "**no**"
    assert found.at == "a 1 split_trigger:0.01/8"


def split(case: str = "split_trigger:0.01/8", seeds: int = 5, data: str = "a", **more: Any) -> list[dict[str, Any]]:
    return [attack(case, 0.0, s, data, **more) for s in range(seeds)]


def test_a_goal_needs_every_case_that_it_is_about_on_every_data_set_that_was_played_at_all() -> None:
    one, both = split(), [*split(), *split("split_trigger:0.01/16")]
    assert outcome(goal("split"), one).reached == "not measured"
    assert outcome(goal("split"), one).shares[0].lacking == ("split_trigger:0.01/16",)
    assert outcome(goal("split"), both).reached == "yes"
    assert outcome(goal("split"), [*both, line("clean", data="b")]).reached == "not measured"
    cannot = [{"data": "b", "seed": 0, "case": c, "skipped": "too few features"} for c in goal("split").cases[1:]]
    on_both = [*both, *split(data="b"), *cannot]
    assert outcome(goal("split"), on_both).reached == "yes"


@pytest.mark.parametrize("few", [{"initialisations": 2}, {"poison": 10}])
def test_few_initialisations_or_hardly_any_poison_do_not_count_but_can_miss_the_goal(few: dict[str, int]) -> None:
    lines = [*split(), *split("split_trigger:0.01/16", **few)]
    assert outcome(goal("split"), lines).reached == "not measured"
    bad = [*lines, attack("split_trigger:0.01/8", 0.5, 9, **few)]
    assert outcome(goal("split"), bad).reached == "**no**"


def test_a_mean_that_is_good_over_all_hides_no_data_set_where_it_is_not() -> None:
    lines = [line("clean", s, clean_removed=0.0) for s in range(50)]
    lines += [line("clean", s, "b", clean_removed=0.02) for s in range(5)]
    found = outcome(goal("clean rows lost"), lines)
    assert (found.reached, found.mean) == ("**no**", pytest.approx(0.02))
    assert [(s.data, s.seeds, s.buffers) for s in found.shares] == [("a", 50, 50), ("b", 5, 5)]


def test_what_was_not_played_is_not_measured() -> None:
    found = outcome(goal("collision"), [line("clean")])
    assert (found.n, found.reached) == (0, "not measured")


def test_clean_buffers_need_fifty() -> None:
    lines = [line("clean", s) for s in range(49)]
    assert outcome(goal("slices on clean"), lines).reached == "not measured"
    assert outcome(goal("slices on clean"), [*lines, line("clean", 49)]).reached == "yes"
    wrong = line("clean", 50, slices=[{"features": ["f"], "poison": 0.0}])
    assert outcome(goal("slices on clean"), [*lines, wrong]).reached == "**no**"


def test_the_directions_and_placements_are_goals_of_their_own() -> None:
    lines = [
        attack("dirty_label:0.01/8!", 0.5),
        attack("dirty_label:0.01/8@all", 0.3),
        attack("dirty_label:0.01/8", 0.1),
    ]
    worst = {name: outcome(goal(name), lines).worst for name in ("benign called attack", "all sources")}
    assert worst == pytest.approx({"benign called attack": 0.5, "all sources": 0.3})


def test_features_named_count_in_slices_of_poison_only() -> None:
    slices = [{"features": ["x", "y"], "poison": 0.9}, {"features": ["z"], "poison": 0.1}]
    assert named(attack("dirty_label:0.01/3", 0, changed=["x", "w"], slices=slices)) == (0.5, 0.5)
    assert named(attack("dirty_label:0.01/3", 0, changed=["x"], slices=[])) is None
    assert named(attack("targeted_flips:0.05", 0, slices=slices)) is None


def test_a_new_benign_family_is_kept_or_held() -> None:
    def family(kept: float, *, holds: bool) -> dict[str, Any]:
        return line("new_benign", family={"kept": kept, "error": {}}, holds=holds)

    good = [family(0.97, holds=False), family(0.1, holds=True)]
    assert outcome(goal("new benign"), good).worst == 1.0
    elsewhere = line("new_benign", family={"kept": 0.1, "held": 0.0, "error": {}}, holds=True)
    assert outcome(goal("new benign"), [*good, elsewhere]).reached == "**no**"
    assert outcome(goal("new benign"), [*good, family(0.5, holds=False)]).reached == "**no**"


def test_the_gate_is_judged_on_candidates_that_are_really_poisoned() -> None:
    weak = attack("clean_label:0.02/8", 0.0) | {"excess": {"ours": 0.0, "oracle": 0.0, "undefended": 0.05}}
    assert outcome(goal("rejects poisoned"), [weak]).n == 0
    assert outcome(goal("rejects poisoned"), [weak, attack("split_trigger:0.01/8", 0.0)]).mean == 1.0


def test_rounds_count_campaigns_and_the_accuracy_at_the_end() -> None:
    rounds = [
        {"asr": {"ours": e, "oracle": 0.0}, "campaign": "c", "accuracy": {"ours": 0.98, "oracle": 0.98 + a}}
        for e, a in ((0.0, 0.5), (0.05, 0.001))
    ]  # fmt: skip
    played = [line("rounds", rounds=rounds)]
    assert outcome(goal("campaigns"), played).mean == 0.5
    assert outcome(goal("campaigns"), played).n == 0  # two rounds are not twelve
    assert outcome(goal("after twelve"), played).worst == pytest.approx(0.001)


def test_a_campaign_that_wakes_up_later_was_not_neutralised_and_one_that_never_worked_is_told_apart() -> None:
    def played(undefended: float, later: float) -> dict[str, Any]:
        told = {"asr": {"ours": 0.0, "oracle": 0.0, "undefended": undefended}, "later": {"ours": later, "oracle": 0.0}}
        return told | {"campaign": "c", "accuracy": {"ours": 0.9, "oracle": 0.9}, "gate": {"passed": True}}

    cannot = {"round": 12, "skipped": "x: too few", "accuracy": {"ours": 0.9, "oracle": 0.9}, "gate": {"passed": True}}
    rounds = [played(0.9, 0.0), played(0.9, 0.5), *(played(0.0, 0.0) for _ in range(9)), cannot]
    lines = [line("rounds", s, rounds=rounds) for s in range(5)]
    assert outcome(goal("campaigns"), lines).mean == pytest.approx(10 / 11)
    assert outcome(goal("campaigns"), lines).n == 5
    assert outcome(goal("work undefended"), lines).mean == 0.5
    text = report(lines)
    assert "| 12, 11 | 10 of 11 | 1 of 2 |" in text
    assert "| a 0 rounds, 12 | x: too few |" in text


def test_goals_that_are_not_reached_come_first() -> None:
    text = goals([attack("split_trigger:0.01/8", 0.5), *(line("clean", s) for s in range(60))])
    reached = [row.rsplit("|", 2)[1].strip() for row in text.splitlines()[2:]]
    assert reached[0] == "**no**"
    assert reached == sorted(reached, key=["**no**", "not measured", "yes"].index)


def test_the_report_of_a_file_reads_what_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    skipped = {"data": "a", "seed": 1, "case": "new_benign", "rows": 3000, "skipped": "no family"}
    whole = [attack("dirty_label:0.01/8", 0.01), line("clean"), skipped]
    path.write_text("".join(json.dumps(one) + "\n" for one in whole) + '{"data": "cut o')
    lines = read(path)
    assert len(lines) == 3
    text = report(lines)
    assert "| a dirty_label:0.01/8 | 1 |" in text
    assert "| a 1 new_benign | no family |" in text


def test_a_line_that_is_broken_in_the_middle_of_a_file_is_no_loss_that_goes_unsaid(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text('{"data": "cut o\n' + json.dumps(line("clean")) + "\n")
    with pytest.raises(ValueError, match="line 1"):
        read(path)


def test_what_a_file_holds_is_not_run_again(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    results = Results(path)
    assert results.todo(["a"], [0, 1], ["clean"], 3000) == [("a", 0, "clean"), ("a", 1, "clean")]
    results.add(line("clean"))
    again = Results(path)
    assert again.todo(["a"], [0, 1], ["clean"], 3000) == [("a", 1, "clean")]
    assert len(again.todo(["a"], [0], ["clean"], 500)) == 1


def test_seeds_are_ranges_and_numbers() -> None:
    assert seeds("0-2,7") == [0, 1, 2, 7]


def test_every_default_case_has_a_name_that_can_be_read() -> None:
    read_names = [Name.parsed(case) for case in DEFAULT]
    assert {name.rate for name in read_names if name.attack == "dirty_label"} == {0.001, 0.005, 0.01, 0.02}
    for bad in ("clear", "magic:0.1"):
        with pytest.raises(ValueError, match=r"no case|no attack"):
            Name.parsed(bad)


@given(st.sampled_from(["clean_label:0.02/3", "dirty_label:0.01/3@all", "dirty_label:0.01/3!", "random_flips:0.1"]))
def test_names_say_direction_and_placement(case: str) -> None:
    name = Name.parsed(case)
    assert name.reverse == case.endswith("!")
    assert name.everywhere == ("@all" in case)
    assert name.features == (None if "flips" in case else 3)


@pytest.mark.parametrize("case", ["dirty_label:0.01/3", "targeted_flips:0.05!", "new_attack", "gradient_matching:0.02"])
def test_a_case_of_the_generated_set_poisons_what_it_says(case: str) -> None:
    data = load("generated", None, 1, 1000)
    schema = data.base.rows.schema

    def scorer(x: Floats) -> Floats:
        return np.tile([0.4, 0.6], (len(x), 1))

    made = attacked(case, data, scorer, np.random.default_rng(1))
    assert len(made.new) == len(made.before.rows) == len(made.poison)
    if case == "new_attack":
        assert not made.poison.any()
        assert made.family not in made.base.family
        assert len(np.unique(made.new.source[made.before.family == made.family])) == 1
        return
    target = schema.classes.index("attack" if case.endswith("!") else "benign")
    assert made.poison.any()
    assert made.aim is not None
    assert made.aim.target == target
    assert set(made.new.y[made.poison].tolist()) == {target}
    if case.startswith("dirty"):
        assert len(np.unique(made.new.source[made.poison])) == 1


def test_a_poisoned_candidate_is_one_whoever_made_it_and_a_clean_one_too() -> None:
    lines = [attack("dirty_label:0.01/8", 0.2, s) for s in range(5)]  # ours passes, undefended does not
    found = outcome(goal("gate rejects poisoned"), lines)
    assert found.mean == 0.5
    gate = {name: {"passed": name == "ours"} for name in ("ours", "oracle")}
    assert outcome(goal("gate rejects clean"), [line("clean", gate=gate)]).mean == 0.5


def test_whether_a_candidate_is_poisoned_is_measured_on_the_model_that_the_gate_has_judged() -> None:
    harmless = attack("split_trigger:0.01/8", 0.0) | {"judged": {"ours": 0.0, "oracle": 0.0, "undefended": 0.05}}
    assert outcome(goal("rejects poisoned"), [harmless]).n == 0
    text = report([attack("split_trigger:0.01/8", 0.0)])
    assert "| poisoned, undefended | a | 1 |" in text


def test_answered_rows_come_to_the_bench_as_retraining_gathers_them() -> None:
    data = load("generated", None, 0, 600)
    clean = naive_bayes(data.base.rows, 0)
    case = attacked("targeted_flips:0.05", data, clean, np.random.default_rng(0))
    asked = np.flatnonzero(case.poison)[:4]
    honest = np.flatnonzero(~case.poison & (case.new.y == data.benign))[:3]
    got = gathered(case, np.sort(np.concatenate([asked, honest])), data.benign)
    assert len(got.base) == len(case.base.rows) + 4
    assert len(got.new) == len(case.new) - 4
    assert int(np.count_nonzero(got.given.y != got.answered.y)) == 4
    assert got.vouched is not None
    assert int(got.vouched.sum()) == 3
    assert len(got.screening_base) == len(case.base.rows)
    assert len(got.screened) == len(case.new)


def test_no_trusted_row_is_of_a_new_family_or_one_that_the_attacker_will_send(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    class Stop(Exception):  # noqa: N818 - ends the measurement where the holdout is known
        pass

    def candidate(done: object, lkg: object, holdout: Any, seed: int) -> None:
        seen.append(holdout)
        raise Stop

    def short(case: Any, benign: int, seed: int) -> None:
        seen.append(case)

    monkeypatch.setattr("buffers.measure.candidate", candidate)
    monkeypatch.setattr("buffers.measure.cleaned", short)
    monkeypatch.setattr("buffers.measure.fit", naive_bayes)
    data = load("generated", None, 1, 1000)
    for case in ("new_attack", "gradient_matching:0.02"):
        with pytest.raises(Stop):
            measure(case, data, naive_bayes(data.base.rows, 0), 1, None)
    new, holdout, sent, gate_rows = seen
    held, _ = halves(data.test, 1)
    assert len(holdout) == np.count_nonzero(held.family != new.family) < len(held.rows)
    known = {row.tobytes() for row in gate_rows.x}
    assert not any(row.tobytes() in known for row in sent.aim.coming)


def test_early_stopping_of_every_initialisation_looks_at_trusted_rows_alone() -> None:
    rows = load("generated", None, 0, 400).base.rows
    wrong = np.where(np.arange(len(rows)) < 60, rows.y, 1 - rows.y)
    mixed = type(rows)(rows.schema, rows.x, wrong, rows.source, rows.session)
    first, again, other = (fit(mixed, 0, None, t) for t in (np.arange(len(rows)) < 60, np.arange(len(rows)) < 60, None))
    assert np.array_equal(first(rows.x), again(rows.x))
    assert not np.array_equal(first(rows.x), other(rows.x))


@pytest.mark.parametrize("rate", [0.02, 0.05])
def test_targeted_flips_come_from_as_many_sources_as_their_rate_takes(rate: float) -> None:
    data = load("generated", None, 1, 1000)
    on = naive_bayes(data.base.rows, 0)
    made = attacked(f"targeted_flips:{rate}", data, on, np.random.default_rng(1))
    new, truth = data.batches[0], made.before.rows.y != data.benign
    largest = np.unique(new.family[truth], return_counts=True)[1].max()
    assert made.poison.sum() == min(round(rate * (len(data.base.rows) + len(new.rows))), largest)


def test_the_error_of_an_excess_is_that_of_two_means() -> None:
    assert standard_error([0.1, 0.3], [0.0, 0.2]) == pytest.approx(np.sqrt(0.02 / 2 + 0.02 / 2))
    assert np.isnan(standard_error([0.1], [0.0, 0.2]))


def test_the_worst_excess_is_shown_with_its_error() -> None:
    lines = [attack("dirty_label:0.01/8", 0.01, 0), attack("dirty_label:0.01/8", 0.05, 1)]
    told = [one | {"excess_error": {"ours": error}} for one, error in zip(lines, (0.2, 0.03), strict=True)]
    assert "+0.050 ± 0.030" in report(told)
    assert "+0.050 |" in report(lines)
