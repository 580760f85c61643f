"""Files that are no ONNX model, or one that must not or cannot run, are refused before they are run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import FEATURES, GOOD, graph, samples, softmax_of

from rollback.onnx.adopt import ImportRefused, import_onnx


def test_a_truncated_file_is_refused() -> None:
    x, labels = samples()
    exported = softmax_of(GOOD)
    for cut in (1, len(exported) // 2, len(exported) - 1):
        with pytest.raises(ImportRefused):
            import_onnx(exported[:cut], FEATURES, x, labels)
    with pytest.raises(ImportRefused, match="no ONNX model: it is damaged or cut off"):
        import_onnx(exported[: len(exported) // 2], FEATURES, x, labels)


@pytest.mark.parametrize("content", [b"", b"bytes,packets\n1,2\n", b"\x80\x04\x95pickle"])
def test_what_is_no_onnx_is_refused(content: bytes) -> None:
    x, labels = samples()
    with pytest.raises(ImportRefused, match="the file is no ONNX model"):
        import_onnx(content, FEATURES, x, labels)


def test_weights_in_other_files_are_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(softmax_of(np.tile(GOOD, 1)))
    path = tmp_path / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="weights.bin")
    x, labels = samples()
    with pytest.raises(ImportRefused, match=r"weights are kept outside the file \(w and others\)"):
        import_onnx(path.read_bytes(), FEATURES, x, labels)


def test_custom_operators_are_refused() -> None:
    nodes = [helper.make_node("Magic", ["x"], ["p"], domain="acme.ops")]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["N", 3])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("acme.ops", 1)]
    exported = helper.make_model(made, opset_imports=opsets, ir_version=8).SerializeToString()
    x, labels = samples()
    with pytest.raises(ImportRefused, match=r"custom operators \(acme.ops.Magic\)"):
        import_onnx(exported, FEATURES, x, labels)


def test_a_loop_is_refused() -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Identity", ["v"], ["v2"])],
        "body",
        [helper.make_tensor_value_info(n, t, s) for n, t, s in (("i", 7, []), ("c", 9, []), ("v", 1, ["N", 3]))],
        [helper.make_tensor_value_info(n, t, s) for n, t, s in (("c2", 9, []), ("v2", 1, ["N", 3]))],
    )
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Loop", ["", "go", "z"], ["p"], body=body)]
    constants = {"w": GOOD.astype(np.float32), "go": np.array(True)}  # noqa: FBT003 - the loop's condition
    exported = graph(nodes, [("x", 1, ["N", 4])], [("p", 1, ["N", 3])], constants)
    x, labels = samples()
    with pytest.raises(ImportRefused, match="holds a Loop, which may never end"):
        import_onnx(exported, FEATURES, x, labels)
