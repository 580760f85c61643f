"""Which rows a slice is about, what its source lost besides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from score_material import ATTACK, BENIGN, NEW, rows

from detectors.batch import Bools
from rollback.sanitise.cover import about
from rollback.sanitise.left_over import left_over
from rollback.sanitise.rows import Rows, Slice

RATE = 0.0125
FAMILY = Slice("attack", "s2", {"service": "irc"}, 9.0, 5, swap=0.1, core={"service": "irc"}, held=True)


def lost() -> tuple[Rows, Bools]:
    """Of the source s2 every third row is gone."""
    new = rows(NEW, 1005)
    return new, (new.source == "s2") & (np.arange(NEW) % 3 == 0)


def test_what_a_source_with_a_held_slice_lost_besides_is_one_more_slice() -> None:
    new, removed = lost()
    (rest,) = left_over([FAMILY], removed, new, RATE)
    own = removed & (new.y == ATTACK) & (new.x[:, 4] != 2)
    assert (rest.source, rest.label, rest.held, rest.valued, rest.rows) == ("s2", "attack", True, False, own.sum())
    assert rest.expected == RATE * np.count_nonzero((new.source == "s2") & (new.y == ATTACK))


def test_nothing_is_added_for_clear_poison_for_all_sources_or_where_it_is_known_already() -> None:
    new, removed = lost()
    poison = replace(FAMILY, swap=0.9, held=False)
    known = Slice("attack", "s2", {}, 5.0, 9, held=True)
    assert left_over([poison], removed, new, RATE) == []
    assert left_over([replace(FAMILY, source=None)], removed, new, RATE) == []
    assert left_over([FAMILY, known], removed, new, RATE) == []
    assert left_over([FAMILY], np.zeros(NEW, np.bool_), new, RATE) == []


def test_a_doubtful_slice_has_no_row_of_clear_poison_and_one_that_was_kept_none_of_a_removed_one() -> None:
    new, _ = lost()
    wide = Slice("attack", "s2", {}, 9.0, 50, core={new.schema.names[1]: [None, None]}, held=True)
    whole, irc = (new.source == "s2") & ~np.isnan(new.x[:, 1]), new.x[:, 4] == 2
    poison = replace(FAMILY, swap=0.9, held=False)
    assert np.array_equal(about(wide, [wide, FAMILY], new), whole)
    assert np.array_equal(about(wide, [wide, poison], new), whole & ~irc)
    assert np.array_equal(about(replace(wide, kept=True), [wide, FAMILY], new), np.zeros(NEW, np.bool_))
    assert np.array_equal(about(replace(wide, kept=True), [FAMILY], new), whole & ~irc)


def test_values_of_a_slice_of_another_label_take_no_rows_from_it() -> None:
    new, _ = lost()
    rest = Slice("attack", "s2", {}, 5.0, 9, held=True)
    other = replace(FAMILY, label=new.schema.classes[BENIGN])
    assert np.array_equal(about(rest, [rest, other], new), new.source == "s2")
