"""Two versions side by side."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.schema import UNSEEN, Feature, Schema
from rollback.translate import Incompatible, scorer_in_terms_of, translate

CLASSES = ("attack", "benign")


def schema(vocabulary: tuple[str, ...], classes: tuple[str, ...] = CLASSES) -> Schema:
    return Schema((Feature("service", "categorical", vocabulary), Feature("bytes")), classes)


@given(st.permutations(("http", "dns", "ssh")), st.permutations(("http", "dns", "ssh")))
def test_there_and_back_is_the_same(first: list[str], second: list[str]) -> None:
    a, b = schema(tuple(first)), schema(tuple(second))
    x = np.array([[0.0, 1], [1, 2], [2, np.nan], [UNSEEN, 3], [np.nan, 4]])
    assert np.array_equal(translate(b, a)(translate(a, b)(x)), x, equal_nan=True)


def test_a_category_that_the_other_does_not_know_is_unseen() -> None:
    there = translate(schema(("http", "new")), schema(("http",)))
    assert there(np.array([[1.0, 5.0], [0.0, 5.0]])).tolist() == [[UNSEEN, 5.0], [0.0, 5.0]]


def test_scores_come_in_the_order_of_the_asking_schema() -> None:
    own = schema(("dns", "http"), ("benign", "attack"))
    seen = []

    def scorer(x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]  # any matrix
        seen.append(x.tolist())
        return np.tile([0.9, 0.1], (len(x), 1))

    other = scorer_in_terms_of(schema(("http", "dns")), scorer, own)
    assert other(np.array([[0.0, 7.0]])).tolist() == [[0.1, 0.9]]
    assert seen == [[[1.0, 7.0]]]


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (Schema((Feature("service", "categorical", ("http",)),), CLASSES), "features differ .*: bytes"),
        (Schema((Feature("service"), Feature("bytes")), CLASSES), "feature service is"),
        (schema(("http",), ("attack", "other")), "classes differ"),
    ],
)
def test_what_cannot_be_compared_is_said(other: Schema, reason: str) -> None:
    with pytest.raises(Incompatible, match=reason):
        scorer_in_terms_of(schema(("http",)), lambda x: x, other)
