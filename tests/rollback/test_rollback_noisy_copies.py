"""Numbers inside ONNX files are found and moved in place, whichever library wrote the file."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import GOOD, graph, softmax_of
from tiny_registry import DRAFT

from detectors.batch import Floats
from rollback.canary.noisy_copies import COPIED_BYTES, COPIES, NoisyCopies
from rollback.onnx.protocol_buffer import NotOnnx
from rollback.onnx.weights import find_numbers, noisy_copy
from rollback.scorer import OnnxScorer

MANIFEST = DRAFT.manifest("nids", "1", "")
ROWS = np.random.default_rng(3).normal(size=(20, 4))


def trees() -> bytes:
    """Two trees with a threshold each, as other libraries write them: lists of numbers, each behind a tag."""
    attributes: dict[str, Any] = {
        "nodes_treeids": [0, 0, 0, 1, 1, 1],
        "nodes_nodeids": [0, 1, 2] * 2,
        "nodes_featureids": [0, 0, 0, 1, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"] * 2,
        "nodes_values": [0.5, 0.0, 0.0, -0.5, 0.0, 0.0],
        "nodes_truenodeids": [1, 0, 0] * 2,
        "nodes_falsenodeids": [2, 0, 0] * 2,
        "class_treeids": [0, 0, 1, 1],
        "class_nodeids": [1, 2, 1, 2],
        "class_ids": [0, 1, 2, 0],
        "class_weights": [0.5, 0.25, 0.125, 1.0],
        "classlabels_int64s": [0, 1, 2],
        "post_transform": "NONE",
    }
    node = helper.make_node("TreeEnsembleClassifier", ["x"], ["label", "p"], domain="ai.onnx.ml", **attributes)
    outputs = [("label", TensorProto.INT64, ["N"]), ("p", TensorProto.FLOAT, ["N", 3])]
    return graph([node], [("x", TensorProto.FLOAT, ["N", 4])], outputs, {})


def numbers_of(model: bytes) -> list[list[float]]:
    return [each.of(bytearray(model)).astype(np.float64).tolist() for each in find_numbers(model)]


def test_weights_are_found_in_every_type_and_way_of_writing() -> None:
    w = GOOD.astype(np.float32)
    assert numbers_of(softmax_of(GOOD)) == [w.ravel().tolist()]
    assert numbers_of(softmax_of(GOOD, kind=TensorProto.DOUBLE)) == [w.ravel().tolist()]
    listed = onnx.load_from_string(softmax_of(GOOD))
    listed.graph.initializer[0].CopyFrom(helper.make_tensor("w", TensorProto.FLOAT, w.shape, w.ravel()))
    assert numbers_of(listed.SerializeToString()) == [w.ravel().tolist()]
    half = numpy_helper.from_array(w.astype(np.float16), "w")
    listed.graph.initializer[0].CopyFrom(half)
    assert numbers_of(listed.SerializeToString()) == [w.ravel().tolist()]


def test_whole_numbers_and_single_ones_are_left_alone() -> None:
    constants = {"w": GOOD.astype(np.float32), "index": np.array([1, 2]), "bound": np.array(3.0, dtype=np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["p"], axis=1)]
    model = graph(nodes, [("x", 1, ["N", 4])], [("p", 1, ["N", 3])], constants)
    assert numbers_of(model) == [GOOD.ravel().tolist()]


def test_thresholds_and_leaves_of_trees_are_found() -> None:
    assert sorted(numbers_of(trees())) == [[0.5, 0.0, 0.0, -0.5, 0.0, 0.0], [0.5, 0.25, 0.125, 1.0]]


@pytest.mark.parametrize("model", [softmax_of(GOOD), trees()])
def test_a_copy_has_other_numbers_and_nothing_else_changed(model: bytes) -> None:
    copy = noisy_copy(model, find_numbers(model), 0.01, np.random.default_rng(0))
    assert len(copy) == len(model)
    before, after = onnx.load_from_string(model), onnx.load_from_string(copy)
    assert [n.op_type for n in before.graph.node] == [n.op_type for n in after.graph.node]
    for old, new in zip(numbers_of(model), numbers_of(copy), strict=True):
        ratio = np.array(new)[np.array(old) != 0] / np.array(old)[np.array(old) != 0]
        assert np.all(np.abs(ratio - 1) < 0.05)
        assert np.all(ratio != 1)
        assert np.all(np.array(new)[np.array(old) == 0] == 0)
    assert noisy_copy(model, [], 0.01, np.random.default_rng(0)) == model


def test_a_cut_file_is_no_model() -> None:
    model = softmax_of(GOOD)
    with pytest.raises(NotOnnx):
        find_numbers(model[: len(model) // 2])


def test_copies_answer_a_little_differently_and_the_same_each_time() -> None:
    model = softmax_of(GOOD)
    answers = NoisyCopies(model, MANIFEST)(ROWS)
    own = OnnxScorer(model, MANIFEST)(ROWS)
    assert answers.shape == (COPIES, 20, 3)
    assert 0 < np.abs(answers - own).max() < 0.2
    np.testing.assert_array_equal(NoisyCopies(model, MANIFEST)(ROWS), answers)
    assert not np.array_equal(NoisyCopies(model, MANIFEST, seed=1)(ROWS), answers)


def test_fewer_copies_are_made_of_a_large_model_and_none_of_a_huge_one() -> None:
    def padded(size: int) -> bytes:
        model = onnx.load_from_string(softmax_of(GOOD))
        model.doc_string = "x" * size
        return model.SerializeToString()

    assert len(NoisyCopies(padded(COPIED_BYTES // 4), MANIFEST)(ROWS)) == 3
    assert len(NoisyCopies(padded(COPIED_BYTES), MANIFEST)(ROWS)) == 0


def test_a_copy_that_does_not_run_or_answers_no_number_is_left_out() -> None:
    """A root of a number that noise makes negative in every other copy."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("Sub", ["a", "b"], ["d"]),
        helper.make_node("Sqrt", ["d"], ["r"]),
        helper.make_node("Add", ["z", "r"], ["s"]),
        helper.make_node("Softmax", ["s"], ["p"], axis=1),
    ]
    ones = np.ones(3, dtype=np.float32)
    constants = {"w": GOOD.astype(np.float32), "a": ones, "b": ones}
    model = graph(nodes, [("x", 1, ["N", 4])], [("p", 1, ["N", 3])], constants)
    answers: Floats = NoisyCopies(model, MANIFEST)(ROWS)
    assert 0 < len(answers) < COPIES
    assert np.isfinite(answers).all()
