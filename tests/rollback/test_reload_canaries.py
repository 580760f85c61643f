"""Canaries: rows that tell versions apart, written with every version that has a model."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx_models import CLASSES, FEATURES, samples, softmax_of
from scenario import World
from tiny_registry import DRAFT, add, make_registry, reference, weights

from detectors.batch import Floats
from detectors.schema import Feature, Schema
from rollback.bundle import Bundle, IntegrityError, with_canaries
from rollback.canary.canaries import TOLERANCE, Canaries, agreement, told_apart
from rollback.canary.choice import choose
from rollback.manifest import Draft, FeatureSpec, Manifest
from rollback.own_model import ReferenceTable, own_model
from rollback.reference import ReferenceRows
from rollback.reload.rehearsal import rehearse
from rollback.tables.table import write_table
from rollback.translate import scorer_in_terms_of

SCHEMA = DRAFT.manifest("", "", "").schema


def manifest(draft: Draft = DRAFT) -> Manifest:
    return draft.manifest("nids", "1", "2026-01-01T00:00:00+00:00")


def softmax(seed: int) -> Any:
    bundle = Bundle(manifest(), {"model.onnx": softmax_of(weights(seed))})
    return bundle.scorer()


def with_rows(rows: ReferenceRows, **changes: Any) -> ReferenceRows:
    return ReferenceRows(**{name: changes.get(name, getattr(rows, name)) for name in ("x", "y", "source", "session")})


def test_two_versions_from_different_data_differ_on_most_canaries(world: World) -> None:
    first, second = (world.registry.load(version) for version in ("1", "2"))
    for own, other in ((first, second), (second, first)):
        canaries, scorer, others = own.canaries(), own.scorer(), other.scorer()
        assert canaries is not None
        assert scorer is not None
        assert others is not None
        assert agreement(canaries.scores, scorer(canaries.x)) == 1.0
        assert told_apart(canaries, scorer_in_terms_of(canaries.schema, others, other.schema)) > 0.9
        rehearsed = rehearse(own, [other])
        assert rehearsed is not None
        assert rehearsed.confused_with == ()


def test_the_same_arguments_give_the_same_canaries_and_another_seed_others() -> None:
    scorer = softmax(1)
    first, again, other = (choose(reference(), SCHEMA, scorer, seed=seed) for seed in (0, 0, 1))
    assert first.to_npz() == again.to_npz()
    assert not np.array_equal(first.x, other.x)


def test_every_third_canary_is_a_row_of_the_reference_and_all_values_are_its_values() -> None:
    rows = reference()
    canaries = choose(rows, SCHEMA, softmax(1))
    known = {row.tobytes() for row in rows.x}
    found = [row.tobytes() in known for row in canaries.x]
    assert len(found) == 192
    assert found[:64] == [True] * 64
    assert np.mean(found[64:]) < 0.2
    for j in range(4):
        assert set(canaries.x[:, j]) <= set(rows.x[:, j])


def test_a_rare_class_is_drawn_as_often_as_a_common_one() -> None:
    rows = reference(2000)
    rare = np.zeros(len(rows), dtype=np.int64)
    rare[:200] = 2
    seen: list[Floats] = []

    def scorer(x: Floats) -> Floats:
        seen.append(x)
        return np.full((len(x), 3), 1 / 3)

    choose(with_rows(rows, y=rare), SCHEMA, scorer)
    drawn = {row.tobytes() for row in seen[0]}
    assert all(row.tobytes() in drawn for row in rows.x[:200])
    assert sum(row.tobytes() in drawn for row in rows.x) < 600


def test_a_reference_of_one_row_has_one_canary_and_one_of_none_has_none() -> None:
    one = reference().take(slice(0, 1))
    assert len(choose(one, SCHEMA, softmax(1))) == 1
    with pytest.raises(ValueError, match="without rows"):
        choose(one.take(slice(0, 0)), SCHEMA, softmax(1))


def test_rows_that_the_last_bits_decide_are_left_out() -> None:
    rows = reference()
    edge = rows.x[0, 0]

    def scorer(x: Floats) -> Floats:
        first = np.where(x[:, 0] < edge, 0.4, 0.6)
        return np.column_stack([first, 1 - first, np.zeros(len(x))])

    canaries = choose(rows, SCHEMA, scorer)
    assert len(canaries) == 192
    assert edge not in canaries.x[:, 0]


def test_rows_of_whole_numbers_are_not_nudged() -> None:
    rows = reference()
    whole = with_rows(rows, x=np.round(rows.x))

    def scorer(x: Floats) -> Floats:
        first = 0.25 + 0.5 * (np.floor(x[:, 0]) % 2)
        return np.column_stack([first, 1 - first, np.zeros(len(x))])

    assert len(choose(whole, SCHEMA, scorer)) == 192


def test_a_part_of_the_model_that_few_rows_reach_has_a_canary_of_its_own() -> None:
    """Copies move the answers of one leaf alone: a row of it is chosen, certain as the version is of it."""
    rows = reference()
    second, largest = np.sort(rows.x[:, 0])[-2:]

    def in_leaf(x: Floats) -> Any:
        return x[:, 0] > (second + largest) / 2

    def scorer(x: Floats) -> Floats:
        first = np.where(in_leaf(x), 1.0, 0.5)
        return np.column_stack([first, 1 - first, np.zeros(len(x))])

    def copies(x: Floats) -> Floats:
        moved = np.repeat(scorer(x)[None], 4, axis=0)
        moved[1:, in_leaf(x), 0] -= 0.01
        return moved

    assert np.count_nonzero(in_leaf(choose(rows, SCHEMA, scorer).x)) == 0
    assert in_leaf(choose(rows, SCHEMA, scorer, copies).x)[0]


def test_bundles_get_more_canaries_where_copies_of_the_model_can_be_made() -> None:
    canaries = make_registry().load("1").canaries()
    assert canaries is not None
    assert 192 < len(canaries) <= 256


def test_missing_and_unseen_values_stay_what_they_are() -> None:
    rows = reference()
    x = rows.x.copy()
    x[::2, 1] = np.nan
    x[:, 3] = -1.0
    schema = Schema((Feature("a"), Feature("b"), Feature("c"), Feature("d", "categorical", ("tcp",))), CLASSES)
    canaries = choose(with_rows(rows, x=x), schema, lambda x: np.full((len(x), 3), 1 / 3))
    assert np.isnan(canaries.x[:, 1]).any()
    assert set(canaries.x[:, 3]) == {-1.0}
    again = Canaries.from_npz(canaries.to_npz(), schema)
    np.testing.assert_array_equal(again.x, canaries.x)
    np.testing.assert_array_equal(again.scores, canaries.scores)


def npz(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **columns)
    return buffer.getvalue()


FINE = {"x": np.zeros((2, 4)), "scores": np.full((2, 3), 1 / 3)}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        npz(x=FINE["x"]),
        npz(**{**FINE, "x": np.zeros((2, 3))}),
        npz(**{**FINE, "x": np.zeros((3, 4))}),
        npz(**{**FINE, "x": np.zeros(4)}),
        npz(**{**FINE, "x": np.array(0.0)}),
        npz(**{**FINE, "x": np.full((2, 4), np.inf)}),
        npz(**{**FINE, "x": np.full((2, 4), "a")}),
        npz(**{**FINE, "scores": np.zeros((2, 2))}),
        npz(**{**FINE, "scores": np.full((2, 3), np.nan)}),
        npz(x=np.zeros((0, 4)), scores=np.zeros((0, 3))),
        npz(**{**FINE, "x": np.array([[{}]], dtype=object)}),
    ],
)
def test_a_file_that_holds_no_canaries_breaks_the_bundle(content: bytes) -> None:
    bundle = Bundle(manifest(), {"canaries.npz": content})
    with pytest.raises(IntegrityError, match=r"nids/1/canaries\.npz: "):
        bundle.canaries()


def test_a_version_without_the_file_has_no_canaries() -> None:
    bundle = Bundle(manifest(), {})
    assert bundle.canaries() is None
    assert rehearse(bundle, []) is None


@pytest.mark.parametrize("missing", ["model.onnx", "reference.npz", "rows"])
def test_without_model_or_reference_there_are_none_to_write(missing: str) -> None:
    files = {"model.onnx": softmax_of(weights(1)), "reference.npz": reference().to_npz()}
    draft = DRAFT
    if missing == "model.onnx":
        draft = msgspec.structs.replace(DRAFT, onnx=None)
    if missing == "rows":
        files["reference.npz"] = reference().take(slice(0, 0)).to_npz()
    files.pop(missing, None)
    assert with_canaries(draft, files) == files


def test_canaries_are_among_the_signed_files() -> None:
    bundle = make_registry().load("1")
    assert set(bundle.manifest.files) == {"model.onnx", "reference.npz", "canaries.npz"}


def test_a_model_of_your_own_gets_canaries(tmp_path: Path) -> None:
    x, labels = samples()
    columns = {f.name: x[:, j] for j, f in enumerate(FEATURES)}
    write_table(tmp_path / "rows.csv", {**columns, "label": labels})
    (tmp_path / "model.onnx").write_bytes(softmax_of(weights(1) * 4))
    made = own_model(ReferenceTable(tmp_path / "rows.csv", "label"), onnx=tmp_path / "model.onnx")
    bundle = Bundle(manifest(made.draft), made.files)
    canaries, scorer = bundle.canaries(), bundle.scorer()
    assert canaries is not None
    assert scorer is not None
    assert agreement(canaries.scores, scorer(canaries.x)) == 1.0


SCORES = arrays(np.float64, (6, 3), elements=st.floats(0, 1))


@settings(max_examples=200)
@given(SCORES, SCORES)
def test_agreement_is_symmetric_and_whole_with_itself(a: Floats, b: Floats) -> None:
    assert agreement(a, a) == 1.0
    assert agreement(a, b) == agreement(b, a)
    assert agreement(a, b, tolerance=1.0) == 1.0


@settings(max_examples=100)
@given(SCORES, st.integers(0, 6), st.floats(1.01 * TOLERANCE, 1))
def test_agreement_counts_rows_and_one_score_is_enough_to_lose_one(a: Floats, wrong: int, by: float) -> None:
    b = a.copy()
    b[:wrong, 1] += by
    assert agreement(a, b) == pytest.approx(1 - wrong / 6)


def test_what_is_no_number_agrees_with_nothing() -> None:
    nothing = np.full((2, 2), np.nan)
    assert agreement(np.zeros((2, 2)), nothing) == 0.0
    assert agreement(nothing, nothing) == 0.0
    assert agreement(np.zeros((0, 2)), np.zeros((0, 2))) == 0.0
    with pytest.raises(ValueError, match=r"shape \(2, 2\), these are of shape \(2, 3\)"):
        agreement(np.zeros((2, 2)), np.zeros((2, 3)))


def test_versions_with_the_same_model_are_confused_and_named() -> None:
    registry = make_registry()
    add(registry, 1)
    bundles = {version: registry.load(version) for version in ("1", "2", "3")}
    rehearsed = rehearse(bundles["1"], [bundles["2"], bundles["3"]])
    assert rehearsed is not None
    assert rehearsed.confused_with == ("3",)


def test_a_version_without_a_model_counts_as_confused_and_one_with_other_features_does_not() -> None:
    registry = make_registry()
    registry.add(msgspec.structs.replace(DRAFT, onnx=None), {}, by="test", reason="test", version="blank")
    renamed = tuple(FeatureSpec(f"{feature.name}2") for feature in DRAFT.features)
    files = {"model.onnx": softmax_of(weights(1))}
    registry.add(msgspec.structs.replace(DRAFT, features=renamed), files, by="test", reason="test", version="other")
    rehearsed = rehearse(registry.load("1"), [registry.load("blank"), registry.load("other")])
    assert rehearsed is not None
    assert rehearsed.confused_with == ("blank",)


def test_samples_that_the_model_knows_well_are_left_out() -> None:
    x, _ = samples()
    scorer = softmax(1)
    canaries = choose(reference(), SCHEMA, scorer)
    typical = np.median(scorer(x).max(axis=1))
    assert np.median(canaries.scores.max(axis=1)) < typical
