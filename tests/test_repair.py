"""Batches against the trusted base: how often clean ones differ, what is undone, and what never is."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from faulty_traffic import BYTES, HEAT, LEFT, REPAIRED, SCHEMA, happened, rows
from scipy.stats import binom

from rollback.repair import batches, two_sample, verdict
from rollback.repair.batches import pairs_of
from rollback.repair.event_time import event_times
from rollback.repair.mend import Mended, Settings, mend
from rollback.repair.repair import repair_classes
from rollback.repair.two_sample import compare
from rollback.sanitise.rows import Rows
from rollback.tables.table import Table

LEVEL = 0.05
BUFFERS = 60


def silent(what: str, share: float) -> None:
    del what, share


@cache
def base() -> Rows:
    return rows(0, 1200)


@cache
def new() -> Rows:
    return rows(1, 1000)


@cache
def after(what: str) -> Mended:
    return mend(base(), happened(what, new())[0], None, seed=0, progress=silent)


def test_as_many_clean_buffers_have_a_batch_that_differs_as_is_stated() -> None:
    parameters = two_sample.Parameters(level=LEVEL, draws=99)
    alarms = 0
    for seed in range(BUFFERS):
        both = rows(100 + seed, 640)
        trusted = np.isin(both.session, np.unique(both.session)[::2])
        rng = np.random.default_rng(seed)
        pairs, _ = pairs_of(both.take(trusted), both.take(~trusted), None, batches.Parameters(part=35), rng)
        assert len(pairs) > 4  # sources as wholes and in parts
        alarms += any((tested.p <= LEVEL).any() for tested in compare(pairs, parameters, rng))
    assert alarms <= binom.ppf(0.999, BUFFERS, LEVEL)


def test_nothing_of_clean_buffers_is_repaired() -> None:
    for seed in range(8):
        clean = rows(300 + seed, 400)
        mended = mend(base(), clean, None, seed=seed, progress=silent)
        assert len(mended.cells.row) == 0
        assert np.array_equal(mended.rows.x, clean.x)


@pytest.mark.parametrize("what", REPAIRED)
def test_a_fault_is_undone_in_the_source_that_has_it_alone(what: str) -> None:
    repair, feature = REPAIRED[what]
    broken, touched = happened(what, new())
    mended = after(what)
    assert set(mended.cells.repair.tolist()) == {repair}
    assert set(mended.cells.feature.tolist()) == {feature}
    assert touched[mended.cells.row].all()
    least = 0.3 if repair == "winsorise" else 0.9  # of few rows a part of the source may be in doubt
    assert len(mended.cells.row) >= least * np.sum(touched & (broken.x[:, feature] != 0))
    assert np.array_equal(mended.cells.before, broken.x[mended.cells.row, feature], equal_nan=True)
    assert np.array_equal(mended.cells.after, mended.rows.x[mended.cells.row, feature])
    untouched = np.ones(broken.x.shape, np.bool_)
    untouched[mended.cells.row, feature] = False
    assert np.array_equal(mended.rows.x[untouched], broken.x[untouched], equal_nan=True)
    for name in ("y", "source", "session"):
        assert np.array_equal(getattr(mended.rows, name), getattr(broken, name))
    done = [f for f in mended.findings if f.done]
    assert sum(f.cells for f in done) == len(mended.cells.row)
    assert all("touches" in f.why for f in done)


@pytest.mark.parametrize("what", ["milli", "kilo", "kibi", "minutes", "offset of counts"])
def test_a_unit_or_an_offset_of_counts_is_undone_exactly(what: str) -> None:
    feature = REPAIRED[what][1]
    np.testing.assert_allclose(after(what).rows.x[:, feature], new().x[:, feature], rtol=1e-9)


def test_an_offset_is_undone_but_for_what_cannot_be_known() -> None:
    assert np.abs(after("offset").rows.x[:, HEAT] - new().x[:, HEAT]).max() < 1.0


def test_imputed_values_are_distributed_like_those_of_the_base() -> None:
    own = new().source == "s1"
    trusted = base().x[base().source == "s1", BYTES]
    found = np.quantile(after("missing").rows.x[own, BYTES], [0.25, 0.5, 0.75])
    assert np.all(np.abs(np.log(found / np.quantile(trusted, [0.25, 0.5, 0.75]))) < 0.35)


@pytest.mark.parametrize("what", LEFT)
def test_what_may_be_poison_or_honest_stays_as_it_is(what: str) -> None:
    broken, _ = happened(what, new())
    mended = after(what)
    assert len(mended.cells.row) == 0
    assert np.array_equal(mended.rows.x, broken.x, equal_nan=True)


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("drift", "all traffic drifts"),
        ("sentinel as trigger", "selects labels"),
        ("one label alone", "too few sessions of a second label"),
    ],
)
def test_why_it_is_left_is_said(what: str, why: str) -> None:
    mended = after(what)
    assert any(f.repair is not None and not f.done and why in f.why for f in mended.findings)
    assert any("not repaired" in remark and why in remark for remark in mended.remarks)


@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("clipped", "clipped"),
        ("renamed", "renamed"),
        ("honest jump", "factor"),
        ("missing", "missing"),
        ("default", "constant"),
        ("kilo", "factor"),
    ],
)
def test_how_a_batch_differs_is_named(what: str, how: str) -> None:
    found = {f.how for f in after(what).findings if f.feature is not None}
    assert found == {how}
    assert {f.source for f in after(what).findings} == {"s1"}


def test_a_fault_of_a_day_is_found_by_its_day() -> None:
    clean = new()
    _, of = np.unique(clean.session, return_inverse=True)
    ts = 1.7e9 + 86_400.0 * (of % 4)
    x = clean.x.copy()
    day = (ts == ts.max()) & (clean.source == "s2")
    x[day, BYTES] *= 1000
    mended = mend(base(), replace(clean, x=x), ts, seed=0, progress=silent)
    assert {(f.source, f.part) for f in mended.findings if f.done} == {("s2", "2023-11-17")}
    np.testing.assert_allclose(mended.rows.x, clean.x)


def test_a_batch_that_still_differs_after_its_repair_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = happened("kilo", new())[0]
    x = broken.x.copy()
    own = broken.source == "s1"
    x[own, BYTES] = 1000 * np.minimum(x[own, BYTES] / 1000, np.median(new().x[own, BYTES]))  # another unit, and clipped
    lax = Settings(verdict=verdict.Parameters(nearly_all=0.01, all_level=1e-9, slack=0.9))
    mended = mend(base(), replace(broken, x=x), None, seed=0, progress=silent, settings=lax)
    assert len(mended.cells.row) == 0
    assert any("undone: the batch still differs" in f.why for f in mended.findings)


def test_the_same_rows_and_seed_give_the_same_answer() -> None:
    again = mend(base(), happened("missing", new())[0], None, seed=0, progress=silent)
    assert np.array_equal(again.rows.x, after("missing").rows.x)
    assert again.findings == after("missing").findings


@pytest.mark.parametrize("count", [0, 1, 2])
def test_next_to_no_rows_are_no_batch(count: int) -> None:
    few = new().take(slice(0, count))
    mended = mend(base(), few, None, seed=0, progress=silent)
    assert (mended.tested, mended.findings, len(mended.rows)) == (0, (), count)


def test_columns_that_are_constant_or_empty_do_no_harm() -> None:
    x, other = base().x.copy(), new().x.copy()
    x[:, 0], other[:, 0], x[:, 1], other[:, 1] = np.nan, np.nan, 5.0, 5.0
    mended = mend(replace(base(), x=x), replace(new(), x=other), None, seed=0, progress=silent)
    assert len(mended.cells.row) == 0


def test_every_repair_is_found_by_its_file_and_named_like_it() -> None:
    assert {name: cls.name for name, (cls, _) in repair_classes().items()} == {
        name: name for name in ("impute", "shift", "unit", "winsorise")
    }


@pytest.mark.parametrize("name", repair_classes())
def test_no_repair_proposes_anything_for_a_batch_like_the_base(name: str) -> None:
    cls, parameters = repair_classes()[name]
    rng = np.random.default_rng(0)
    pairs, _ = pairs_of(base(), new(), None, batches.Parameters(), rng)
    repair = cls(parameters())  # type: ignore[call-arg]  # the ABC states the constructor in words
    found = [repair.propose(pair, j, rng) for pair in pairs for j in range(len(SCHEMA.features))]
    assert found == [None] * len(found)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="there are"):
        Settings(repairs={"alchemy": 1})
    with pytest.raises(ValueError, match="cannot reach a level"):
        two_sample.Parameters(level=0.01, draws=50)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (np.array([0.0, 5.0]), [0.0, 5.0]),
        (np.array(["1970-01-01T00:00:01Z", ""]), [1.0, np.nan]),
        (np.array(["yesterday", ""]), None),
        (np.array([np.inf, 0.0]), None),
    ],
)
def test_event_times_are_read_where_they_are_times(column: np.ndarray, expected: list[float] | None) -> None:
    found = event_times(Table("t", {"ts": column}, np.arange(2)))
    assert (found is None) == (expected is None)
    if expected is not None:
        np.testing.assert_array_equal(found, expected)
