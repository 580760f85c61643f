"""The training store: what is appended stays, is read back with its history, and cannot be changed unnoticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.batch import Labels
from detectors.schema import Feature, Schema
from monitor.labels.keeping import NotKept, open_keeping
from monitor.settings.config import Config, ModelConfig
from rollback.retraining.reading import read_at_most
from rollback.signing.keys import Keys, new_signing_key
from rollback.store import store as module
from rollback.store.index import FILE, writing
from rollback.store.row import Row, Said, label_of, make_row
from rollback.store.segments import FOLDER, StoreError, put, read
from rollback.store.store import Name, Store
from rollback.store.table import store_chunks

FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CELLS = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=3))
ROWS = st.lists(
    st.tuples(st.text("abc", min_size=1, max_size=2), st.floats(0, 1e9), CELLS, st.sampled_from(["benign", "attack"])),
    max_size=12,
)


SAID = Said("attack", 1.0, "crowd", "b")


def clock() -> float:
    return 1.0


def row(ident: str, value: object = 1.0, *said: Said, ts: float = 5.0, source: str = "s1") -> Row:
    return make_row(ident, ts, source=source, origin="crowd", session="", features={"x": value}, labels=said)  # type: ignore[dict-item]


@FEW
@given(rows=ROWS, cut=st.integers(0, 12))
def test_what_is_appended_is_read_back_in_order_and_the_first_row_of_an_id_stands(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float, object, str]], cut: int
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    made = [row(i, value, Said(label, ts, "o", "b"), ts=ts) for i, ts, value, label in rows]
    for part in (made[:cut], made[cut:]):
        store.append(part, clock)
    if not made:
        return
    first: dict[str, Row] = {}
    for each in made:
        first.setdefault(each.id, each)
    found = {each.id: each for each in store.rows()}
    assert {ident: each.digest for ident, each in found.items()} == {i: each.digest for i, each in first.items()}
    for ident, each in found.items():
        same = [m for m in made if (m.id, m.digest) == (ident, each.digest)]
        assert set(each.labels) == {said for m in same for said in m.labels}
    assert store.conflicts(store.index()) == sum(m.digest != first[m.id].digest for m in made)


@FEW
@given(times=st.permutations([1.0, 2.0, 3.0, 4.0]))
def test_the_label_history_is_in_order_of_time_however_it_came(
    tmp_path_factory: pytest.TempPathFactory, times: list[float]
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    for at in times:
        store.append([row("a", 1.0, Said(f"label {at}", at, "o", "b"))], clock)
    (whole,) = store.rows()
    assert [said.at for said in whole.labels] == [1.0, 2.0, 3.0, 4.0]


def test_a_statement_that_is_stored_twice_is_one() -> None:
    said = Said("attack", 1.0, "o", "b")
    assert row("a", 1.0, said, said).labels == (said,)


def test_a_label_of_a_trusted_origin_is_not_overruled_by_who_speaks_later() -> None:
    told = row("a", 1.0, Said("attack", 1.0, "analyst", "x"), Said("benign", 9.0, "crowd", "y"))
    assert label_of(told, frozenset({"analyst"})) == Said("attack", 1.0, "analyst", "x")
    assert label_of(told, frozenset()) == Said("benign", 9.0, "crowd", "y")
    assert label_of(row("b"), frozenset()) is None


def test_nobody_is_trusted_whom_the_operator_has_not_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    rows = [row(i, 1.0, Said("benign", 1.0, origin, "b")) for i, origin in (("a", "crowd"), ("b", "analyst"))]
    store.append(rows, clock)
    assert _trusted(store) == {"a": "false", "b": "false"}
    store.trust(origin="analyst", by="ada", reason="she is", clock=clock)
    assert _trusted(store) == {"a": "false", "b": "true"}
    store.trust(rows=[Name("a", rows[0].digest, "benign")], by="ada", reason="seen", clock=clock)
    assert _trusted(store) == {"a": "true", "b": "true"}
    assert [(t.origin, t.by, t.reason) for t in store.index().trusts] == [
        ("analyst", "ada", "she is"),
        ("", "ada", "seen"),
    ]
    store.withdraw(origin="analyst", by="ada", reason="left", clock=clock)
    assert _trusted(store) == {"a": "true", "b": "false"}


def test_another_row_under_the_id_of_a_trusted_one_is_not_trusted(tmp_path: Path) -> None:
    store, honest, other = Store(tmp_path), row("a", 1.0), row("a", 2.0)
    store.append([other, honest], clock)
    store.trust(rows=[Name("a", honest.digest, "benign")], by="ada", reason="seen", clock=clock)
    assert _trusted(store) == {"a": "false"}


def _trusted(store: Store) -> dict[str, str]:
    return _column(store, "trusted")


def _column(store: Store, name: str) -> dict[str, str]:
    (table,) = store_chunks(store, store.index())
    return dict(zip(table.strings("id").tolist(), table.strings(name).tolist(), strict=True))


def test_a_segment_that_was_changed_is_refused_by_its_name(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append([row("a")], clock)
    (path,) = (tmp_path / FOLDER).iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StoreError, match=rf"{path.name}: was changed: its SHA-256 is"):
        list(store.rows())
    path.unlink()
    with pytest.raises(StoreError, match=rf"{path.name}: a segment that the index lists cannot be read"):
        list(store.rows())


def test_a_line_that_is_no_row_is_named_wherever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollback.store.segments.BLOCK", 300)  # a row or two
    name = put(tmp_path, [*(row(str(i)) for i in range(9)), {"no": "row"}, row("9")])
    with pytest.raises(StoreError, match=rf"{name}: line 10: is no row of a store"):
        list(read(tmp_path, name, Row))


def test_a_row_that_is_never_given_does_not_make_a_column_text(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append([row("a", 1.0), row("a", "words"), row("b", None), row("b", None, SAID)], clock)
    index = store.index()
    known = store.survey(index)
    assert (known.texts, known.conflicts, list(known.places())) == ({"x": False}, 1, [(0, 0), (-1, 0), (2, 3), (2, 3)])
    (table,) = store_chunks(store, index, survey=known)
    assert table.columns["x"].dtype == np.float64
    np.testing.assert_array_equal(table.columns["x"], [1.0, np.nan])
    assert table.strings("label").tolist() == ["", "attack"]


@pytest.mark.parametrize(("more", "said"), [([], False), ([row("a", 2.0), row("a", 3.0)], True)])
def test_a_reader_of_a_store_is_told_of_conflicts(tmp_path: Path, more: list[Row], *, said: bool) -> None:
    Store(tmp_path).append([row("a"), row("b"), *more], clock)
    note = read_at_most(tmp_path, [], ["label"], lambda table: table.strings("id")).note
    assert ("2 rows of the training store came under ids that other rows had taken" in note) is said
    assert "the training store is not signed" in note


def test_rows_of_other_features_are_one_table(tmp_path: Path) -> None:
    store = Store(tmp_path)
    about = {"source": "s", "origin": "o", "session": "", "labels": ()}
    store.append(
        [make_row("a", 1.0, features={"x": 1.0}, **about), make_row("b", 1.0, features={"y": "w", "x": 2.0}, **about)],  # type: ignore[arg-type]
        clock,
    )
    (table,) = store_chunks(store, store.index())
    assert (table.columns["x"].tolist(), table.columns["y"].tolist()) == ([1.0, 2.0], ["", "w"])


def test_an_index_that_was_changed_or_cut_off_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path, Keys.of(new_signing_key()))
    for ident in "abc":
        store.append([row(ident)], clock)
    index = tmp_path / FILE
    whole = index.read_bytes()
    index.write_bytes(whole.replace(b'"rows":1', b'"rows":2', 1))
    with pytest.raises(StoreError, match="was changed"):
        store.index()
    index.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    with pytest.raises(StoreError, match="cut off"):
        store.index()
    index.write_bytes(whole)
    assert store.index().signed == 3


def test_entries_by_somebody_without_the_key_are_refused(tmp_path: Path) -> None:
    keys = Keys.of(new_signing_key())
    Store(tmp_path, keys).append([row("a")], clock)
    for ident in "bc":
        Store(tmp_path).append([row(ident)], clock)
    with pytest.raises(StoreError, match="signed by nobody"):
        Store(tmp_path, keys).index()


@pytest.mark.parametrize("kind", ["trust", "rows"])
def test_an_entry_that_nobody_has_signed_is_not_in_the_store_and_is_not_signed_later(tmp_path: Path, kind: str) -> None:
    store = Store(tmp_path, Keys.of(new_signing_key()))
    store.append([row("a", 1.0, Said("benign", 1.0, "mallory", "m"))], clock)
    before = store.index()
    stranger = Store(tmp_path)
    if kind == "trust":
        stranger.trust(origin="mallory", by="mallory", reason="", clock=clock)
    else:
        stranger.append([row("b")], clock)
    assert store.index() == before
    store.append([row("c")], clock)
    assert [each.id for each in store.rows()] == ["a", "c"]
    assert store.index().origins == frozenset()
    assert store.index().signed == 2


def test_a_named_row_keeps_its_label_whatever_others_say_of_it_later(tmp_path: Path) -> None:
    store = Store(tmp_path)
    honest = row("a", 1.0, Said("attack", 1.0, "crowd", "b"))
    store.append([honest], clock)
    store.trust(rows=[Name("a", honest.digest, "attack")], by="ada", reason="seen", clock=clock)
    store.append([row("a", 1.0, Said("benign", 9.0, "crowd", "mallory"))], clock)
    assert _column(store, "label") == {"a": "attack"}
    assert _trusted(store) == {"a": "true"}
    store.trust(origin="analyst", by="ada", reason="", clock=clock)
    store.append([row("a", 1.0, Said("benign", 10.0, "analyst", "bob"))], clock)
    assert _column(store, "label") == {"a": "benign"}


def test_a_store_that_another_key_has_signed_is_refused(tmp_path: Path) -> None:
    Store(tmp_path, Keys.of(new_signing_key())).append([row("a")], clock)
    with pytest.raises(StoreError, match="key"):
        Store(tmp_path, Keys.of(new_signing_key())).index()


def test_a_crash_between_segment_and_index_leaves_a_store_that_can_be_read_and_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append([row("a")], clock)
    put(tmp_path, [row("b")])  # and here it crashes
    assert [each.id for each in store.rows()] == ["a"]
    store.append([row("b")], clock)
    assert [each.id for each in store.rows()] == ["a", "b"]


def test_of_two_writers_the_second_is_refused(tmp_path: Path) -> None:
    with writing(tmp_path, clock), pytest.raises(StoreError, match="another process writes"):
        Store(tmp_path).append([row("a")], clock)


def test_a_folder_without_an_index_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is no training store"):
        Store(tmp_path).index()


def test_a_feature_that_is_called_like_a_column_about_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="trusted: is no feature's name"):
        make_row("a", 0.0, source="", origin="", session="", features={"trusted": 1.0}, labels=())


def test_many_rows_make_several_segments_and_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_ROWS", 4)
    store = Store(tmp_path)
    store.append((row(str(i), "tcp" if i == 9 else float(i)) for i in range(10)), clock)
    index = store.index()
    assert [s.rows for s in index.segments] == [4, 4, 2]
    tables = list(store_chunks(store, index, rows=3))
    assert [len(table) for table in tables] == [3, 3, 3, 1]
    assert [v for table in tables for v in table.strings("x").tolist()] == [*map(str, range(9)), "tcp"]
    assert {table.columns["x"].dtype.kind for table in tables} == {"U"}


def test_a_daemon_keeps_labels_where_its_configuration_says_so(tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    Keys.trial(registry, make=True)
    schema = Schema((Feature("x"), Feature("p", "categorical", ("tcp", "udp"))), ("attack", "benign"))
    config = Config(registry=registry, models={"nids": ModelConfig()})
    assert isinstance(open_keeping(config, clock), NotKept)
    keeping = open_keeping(config.model_copy(update={"store": tmp_path / "stores"}), clock)
    text, none = np.array(["a"]), np.full((1, 2), np.nan)
    labels = Labels(
        id=text, ts=np.array([9.0]), event_ts=np.array([5.0]), label=np.array([-1]), name=np.array(["worm"]),
        origin=np.array(["soc"]), trusted=np.array([True]), vetted=np.array([False]), source=np.array(["fw"]),
        session=text.copy(), x=np.array([[np.nan, 1.0]]), served=none, f=none.copy(), g=none.copy(),
    )  # fmt: skip
    for _ in range(2):  # after a crash they come again
        keeping.labels("nids", schema, labels)
        keeping.flush()
    (found,) = Store(tmp_path / "stores" / "nids", Keys.trial(registry)).rows()
    assert (found.id, found.ts, found.source, found.features) == ("a", 5.0, "fw", {"x": None, "p": "udp"})
    assert found.labels == (Said("worm", 9.0, "soc", "stream"),)
