"""One session has the influence of one: whoever puts all rows into it gains nothing by being seen once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from buffers.data import load
from hypothesis import given
from hypothesis import strategies as st
from sanitise_traffic import silent
from test_sanitise_laws import naive_bayes

from detectors.schema import Feature, Schema
from rollback.sanitise.rows import Rows
from rollback.sanitise.sanitise import sanitise
from rollback.sanitise.session_share import session_share

SCHEMA = Schema((Feature("n"),), ("benign", "attack"))


def rows(sizes: list[int], label: int = 0, name: str = "s") -> Rows:
    session = np.repeat(np.char.add(name, np.arange(len(sizes)).astype(np.str_)), sizes)
    n = len(session)
    return Rows(SCHEMA, np.zeros((n, 1)), np.full(n, label), np.full(n, "x"), session)


@pytest.mark.parametrize("seed", range(6))
def test_clean_buffers_lose_no_weight(seed: int) -> None:
    data = load("generated", None, seed, 1500)
    weight, remarks = session_share(data.base.rows, data.batches[0].rows)
    assert weight.min() == 1.0
    assert remarks == ()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.lists(st.integers(1, 60), min_size=1, max_size=9))
def test_a_session_counts_for_no_more_than_twice_what_is_usual(base: list[int], new: list[int]) -> None:
    weight, remarks = session_share(rows(base), rows(new))
    influence = np.add.reduceat(weight, np.cumsum([0, *new[:-1]]))
    most = 2 * max(*base, *sorted(new)[:-1], 1)
    assert influence.max() <= most + 1e-9
    assert np.all(influence[np.array(new) <= 2 * max(base)] == np.array(new)[np.array(new) <= 2 * max(base)])
    assert bool(remarks) == bool(weight.min() < 1)


def test_a_hundred_rows_in_one_session_among_single_ones_weigh_as_two() -> None:
    new = Rows.concat([rows([1] * 300, name="a"), rows([100], name="b"), rows([100], 1, name="b")])
    weight, remarks = session_share(rows([1] * 500), new)
    assert weight[:300].tolist() == [1.0] * 300
    assert weight[300:400].sum() == pytest.approx(2.0)
    assert "1 sessions with more than 2 rows labelled benign" in remarks[0]


def test_what_screens_leave_of_such_a_session_is_weighed_down_whatever_the_source_is_called() -> None:
    data = load("generated", None, 0, 800)
    base, new = data.base.rows, data.batches[0].rows
    at = np.flatnonzero(new.y == data.benign)[:150]
    session, source = new.session.astype("U32"), new.source.astype("U32")
    session[at], source[at] = "one", np.char.add("x", at.astype(np.str_))
    merged = replace(new, session=session, source=source)
    found = sanitise(base, merged, naive_bayes, seed=0, hint=None, progress=silent)
    trusted = np.unique(base.session[base.y == data.benign], return_counts=True)[1].max()
    usual = np.quantile(np.unique(session[new.y == data.benign], return_counts=True)[1], 0.9)
    assert found.weight[at].sum() <= 2 * max(trusted, usual) + 1e-9
    assert np.all(found.weight[found.removed] == 0)
    assert any("weigh as if they had" in remark for remark in found.remarks)
