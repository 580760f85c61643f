"""Sanitising of poisoned buffers: what is found, what is kept, and what a person is told."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from sanitise_traffic import ATTACK, BENIGN, CLASSES, backdoored, drawn, silent, traffic, trees

from detectors.batch import Bools
from detectors.nulls.itemsets import Item
from monitor.demo.traffic import TrafficConfig
from rollback.redteam.backdoor import Trigger
from rollback.redteam.label_flip import flip_targeted
from rollback.redteam.success import attack_success_rate
from rollback.sanitise.pattern import Pattern, hinted_pattern
from rollback.sanitise.rows import Rows, Sanitised
from rollback.sanitise.sanitise import Hint, Settings, sanitise
from rollback.sanitise.slice_judge import Limits
from rollback.sanitise.slice_mining import Parameters

BENIGN_SETTINGS = Settings(benign="benign")


def run(base: Rows, new: Rows, hint: Hint | None = None, settings: Settings = BENIGN_SETTINGS) -> Sanitised:
    return sanitise(base, new, trees, seed=1, hint=hint, progress=silent, settings=settings)


@cache
def backdoor(seed: int) -> tuple[Rows, Rows, Bools, Trigger, Sanitised]:
    """One percent of the whole buffer, from one source."""
    base, new = traffic(seed, 3000, 2000)
    names, counts = np.unique(new.source[new.y == ATTACK], return_counts=True)
    poisoned, rows, trigger = backdoored(new, 0.025, seed, source=str(names[counts.argmax()]))
    return base, poisoned, rows, trigger, run(base, poisoned)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_backdoor_of_one_percent_is_removed_and_little_else(seed: int) -> None:
    _, _, poison, _, found = backdoor(seed)
    assert found.removed[poison].mean() > 0.95
    assert found.removed[~poison].mean() < 0.04


@pytest.mark.parametrize("seed", [1, 2])
def test_its_slice_names_the_trigger_the_source_and_the_label(seed: int) -> None:
    _, new, poison, trigger, found = backdoor(seed)
    best = max(found.slices, key=lambda s: s.rows)
    assert best.label == "benign"
    assert best.source == new.source[poison][0]
    assert len(set(best.features) & set(trigger.features)) >= 2
    assert best.swap is not None
    assert best.rows >= 0.8 * poison.sum()


def test_a_model_trained_on_the_rest_and_the_counterexamples_does_not_answer_to_the_trigger() -> None:
    base, new, _, trigger, found = backdoor(1)
    test = traffic(77, 3000, 10)[0]
    extra = [] if found.counterexamples is None else [found.counterexamples]
    rows = {
        "poisoned": Rows.concat([base, new]),
        "sanitised": Rows.concat([base, new.take(~found.removed), *extra]),
        "base": base,
    }
    success = {
        name: attack_success_rate(trees(r, 5), test.x, test.y, trigger, test.schema, target=BENIGN)
        for name, r in rows.items()
    }
    assert success["poisoned"] > 0.5
    assert success["sanitised"] < success["base"] + 0.05


def test_counterexamples_are_trusted_attack_rows_with_their_own_label() -> None:
    base, _, _, _, found = backdoor(1)
    extra = found.counterexamples
    assert extra is not None
    assert set(extra.y.tolist()) == {ATTACK}
    assert set(extra.session.tolist()) <= set(base.session[base.y == ATTACK].tolist())
    patterns = sum((s.swap or 0) >= Parameters().counter_swap and s.label == "benign" for s in found.slices)
    assert len(extra) == patterns * round(0.02 * len(base))


@cache
def clean_run() -> Sanitised:
    return run(*traffic(1, 3000, 2000))


def test_a_clean_buffer_has_no_slices_and_needs_no_counterexamples() -> None:
    found = clean_run()
    assert found.slices == ()
    assert found.counterexamples is None


def test_wrong_labels_of_two_sources_are_removed_and_the_sources_named() -> None:
    base, new = traffic(4, 3000, 2000)
    names, counts = np.unique(new.source[new.y == ATTACK], return_counts=True)
    liars = names[np.argsort(-counts)[:2]]
    rng = np.random.default_rng(4)
    y, flipped = flip_targeted(new.y, victim=ATTACK, target=BENIGN, rate=0.6, rng=rng, among=np.isin(new.source, liars))
    found = run(base, replace(new, y=y))
    assert found.removed[flipped].mean() > 0.8
    assert found.removed[~flipped].mean() < 0.08
    assert all(any(r.startswith(f"source {name}:") for r in found.remarks) for name in liars)


def test_what_an_incident_names_is_removed_first_if_the_model_answers_to_it() -> None:
    base, new, poison, trigger, _ = backdoor(1)
    found = run(base, new, Hint(dict(trigger.features), label="benign"))
    first = found.slices[0]
    assert set(first.features) == set(trigger.features)
    assert first.swap is not None
    assert first.swap >= 0.3
    assert found.removed[poison].all()


def test_what_an_incident_names_is_not_believed() -> None:
    base, new = traffic(1, 3000, 2000)
    found = run(base, new, Hint({"service": "dns"}, label="benign"))
    assert found.slices == ()
    assert any("the incident's pattern was not confirmed" in r for r in found.remarks)


def test_a_hint_that_nothing_of_fits_changes_nothing() -> None:
    hinted = run(*traffic(1, 3000, 2000), Hint({"no such feature": 1}, ("nowhere",), "nothing"))
    assert np.array_equal(clean_run().removed, hinted.removed)


def test_a_slice_takes_no_more_than_its_cap() -> None:
    base, new, poison, _, _ = backdoor(1)
    capped = Parameters(limits=Limits(most=0.005))
    found = run(base, new, settings=Settings(benign="benign", screens={"slice_mining": capped}))
    assert all(s.rows <= 0.005 * len(new) for s in found.slices if s.valued and not s.kept)
    # one that is kept takes nothing, and one without values is what the rows' own screen has removed of a source
    assert np.count_nonzero(found.screen == "slice_mining") <= sum(s.rows for s in found.slices if not s.kept)
    held = sum(s.rows for s in found.slices if not s.valued)
    assert held <= np.count_nonzero(found.screen == "suspicion")
    assert poison.sum() > 0.005 * len(new)
    assert any("too many clean rows would go with it" in r for r in found.remarks)


def test_a_hint_that_many_rows_carry_is_followed_in_its_sources_only() -> None:
    base, new, poison, trigger, _ = backdoor(1)
    few = Parameters(limits=Limits(most=1.2 * poison.mean()))
    source = str(new.source[poison][0])
    name, value = next(iter(trigger.features.items()))
    hint = Hint({name: value}, (source,), "benign")
    found = run(base, new, hint, Settings(benign="benign", screens={"slice_mining": few}))
    assert all(s.rows <= 1.2 * poison.sum() for s in found.slices)
    assert found.removed[poison].mean() > 0.9


def test_a_new_benign_family_that_models_of_the_base_agree_with_is_held() -> None:
    base, new = drawn(5, 3000, TrafficConfig(held_out=("voip",))), drawn(6, 2000, TrafficConfig(mix={"voip": 3.0}))
    found = run(base, new)
    assert found.slices
    assert all(s.held and s.label == "benign" for s in found.slices)
    assert np.mean(found.screen == "suspicion") < 0.03


def test_attacks_of_one_kind_that_are_called_benign_may_be_a_new_family_and_that_is_said() -> None:
    base, new = traffic(6, 4000, 3000)
    port = new.schema.names.index("dst_port")
    values, counts = np.unique(new.x[new.y == ATTACK, port], return_counts=True)
    kind = (new.y == ATTACK) & (new.x[:, port] == values[counts.argmax()])
    found = run(base, replace(new, y=np.where(kind, BENIGN, new.y)))
    assert found.removed[kind].mean() > 0.8
    assert any("may be a new benign family rather than poison" in r for r in found.remarks)


def test_an_honest_change_of_the_mix_of_labels_makes_no_slices() -> None:
    base, new = traffic(6, 3000, 2000)
    rare = (new.y == BENIGN) & (np.arange(len(new)) % 2 == 0)
    found = run(base, new.take(~rare))
    assert found.slices == ()


def test_covariate_drift_does_not_empty_the_buffer() -> None:
    base, new = traffic(7, 3000, 2000, TrafficConfig(volume=1.3))
    found = run(base, new)
    assert found.removed.mean() < 0.25


def test_a_pattern_stamps_and_names_values_ranges_and_missing() -> None:
    schema = traffic(1, 100, 100)[0].schema
    ttl, service = schema.names.index("ttl"), schema.names.index("service")
    pattern = hinted_pattern({"ttl": [10, 20], "service": "dns", "urgent": None, "other": 1}, schema)
    assert pattern is not None
    x = pattern.stamp(np.zeros((1, len(schema.names))))
    assert (x[0, ttl], schema.features[service].show(x[0, service])) == (15.0, "dns")
    assert np.isnan(x[0, schema.names.index("urgent")])
    assert pattern.named(schema) == {"ttl": [10.0, 20.0], "service": "dns", "urgent": None}
    assert pattern.carried_by(x, 1.0).all()
    assert Pattern((Item(ttl, 1, 2),), (1.5,)).carried_by(x, 1.0).tolist() == [False]
    assert schema.classes == CLASSES


def test_a_range_that_an_incident_writes_as_text_is_a_range() -> None:
    schema = traffic(1, 100, 100)[0].schema
    ttl = schema.names.index("ttl")
    pattern = hinted_pattern({"ttl": "63.1235 to inf", "urgent": "often"}, schema)
    assert pattern is not None
    assert [item.feature for item in pattern.items] == [ttl]
    x = np.zeros((3, len(schema.names)))
    x[:, ttl] = [63.0, 63.12346, 200.0]
    assert pattern.carried_by(x, 1.0).tolist() == [False, True, True]
