"""A tree decides on float32 as the library decides on float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("onnx", reason="training needs the extra: pip install 'tocsin[retrain]'")
trees = pytest.importorskip("rollback.train.trees")


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6, width=32))
def test_a_float32_is_below_the_rounded_threshold_exactly_where_it_is_below_the_threshold(t: float, x: float) -> None:
    rounded = trees.below(t)
    assert float(np.float32(rounded)) == rounded
    for value in (x, rounded, float(np.nextafter(np.float32(rounded), np.float32(np.inf)))):
        assert (value <= rounded) == (value <= t)
