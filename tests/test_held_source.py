"""What a source sends beyond chance, and no slice explains, waits for a person: it is not dropped in silence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sanitise_traffic import silent
from score_material import ATTACK, BASE, BENIGN, NEW, case, rows, tree

from detectors.batch import Bools
from rollback.retraining.vetting import Answered, members, settle
from rollback.sanitise.rows import Rows, Sanitised, Slice
from rollback.sanitise.sanitise import Settings, sanitise
from rollback.sanitise.slice_judge import describe
from rollback.sanitise.slice_mining import Parameters as Mining
from rollback.sanitise.suspicion import Parameters, Suspicion


def unlike_its_label(label: int, share: float, seed: int = 1005) -> tuple[Rows, Bools]:
    """New rows; of one source's rows with this label a share looks as those of the other label do."""
    new = rows(NEW, seed)
    own = (new.source == "s2") & (new.y == 1 - label)
    family = own & (np.random.default_rng(0).random(NEW) < share)
    return replace(new, y=np.where(family, label, new.y)), family


@pytest.mark.parametrize("label", [BENIGN, ATTACK])
def test_what_one_source_sends_against_the_base_is_held(label: int) -> None:
    new, family = unlike_its_label(label, 0.4)
    found = Suspicion(Parameters()).find(case(rows(BASE, 5), new, 5), silent)
    (one,) = found.slices
    assert (one.source, one.label, one.held, one.valued) == ("s2", new.schema.classes[label], True, False)
    own = found.removed & (new.source == "s2") & (new.y == label)
    assert one.rows == own.sum() >= family.sum() / 2
    assert "contradict the trusted base" in describe(one)


def test_what_slices_explain_is_not_held_again() -> None:
    new, family = unlike_its_label(BENIGN, 0.4)
    judged = replace(case(rows(BASE, 5), new, 5), explained=family)
    found = Suspicion(Parameters()).find(judged, silent)
    assert found.slices == ()
    assert found.removed[family].mean() > 0.5


def test_clean_rows_are_held_as_seldom_as_stated() -> None:
    cases = [case(rows(BASE, seed), rows(NEW, seed + 1000), seed) for seed in range(6)]
    assert [Suspicion(Parameters()).find(one, silent).slices for one in cases] == [()] * 6


def found_of(removed: Bools, *slices: Slice) -> Sanitised:
    blank = np.full(len(removed), "")
    return Sanitised(removed, blank, blank, np.zeros(len(removed)), (~removed).astype(float), slices, {}, ())


def test_an_attack_of_a_source_returns_when_sixteen_rows_are_confirmed_and_rows_of_other_slices_do_not() -> None:
    new = rows(NEW, 1005)
    removed = (new.source == "s2") & (new.y == ATTACK)
    poison = Slice("attack", None, {"service": "irc"}, 9.0, 5, swap=0.9, core={"service": "irc"})
    alarm = Slice("attack", "s2", {}, 5.0, 30, held=True)
    found, rng = found_of(removed, poison, alarm), np.random.default_rng(0)
    own = members(alarm, found, new)
    assert np.array_equal(own, removed & (new.x[:, 4] != 2))
    none = new.take(np.zeros(NEW, np.bool_))
    asked = settle(found, new, Answered(none, none.y), rng, benign="benign").open
    # what clearly is no benign family is left to a review, and nobody is asked about its rows
    assert [(len(q.rows), q.holds, q.slice) for q in asked] == [(16, False, alarm), (0, False, poison)]
    answered = np.isin(np.arange(NEW), asked[0].rows)
    left = ~answered
    told, rest = new.take(answered), found_of(removed[left], poison, alarm)
    settled = settle(rest, new.take(left), Answered(told, told.y), rng, benign="benign")
    assert np.array_equal(settled.returned, own[left])
    wrong = replace(told, y=np.where(np.arange(16) == 3, BENIGN, told.y))
    answers = Answered(wrong, told.y)
    assert not settle(rest, new.take(left), answers, rng, benign="benign").returned.any()


def test_a_benign_one_holds_the_candidate_until_it_is_answered() -> None:
    new, _ = unlike_its_label(BENIGN, 0.4)
    base = rows(BASE, 5)
    base = base.take((base.y == BENIGN) | (np.arange(BASE) % 2 == 0))
    quick = Settings(benign="benign", screens={"slice_mining": Mining(draws=3)})
    found = sanitise(base, new, tree, seed=5, hint=None, progress=silent, settings=quick)
    held = [one for one in found.slices if one.held and one.label == "benign"]
    none = new.take(np.zeros(NEW, np.bool_))
    settled = settle(found, new, Answered(none, none.y), np.random.default_rng(0), benign="benign")
    assert held
    assert settled.holds
