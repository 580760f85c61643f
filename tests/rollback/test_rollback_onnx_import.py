"""Models that others made are fed and read as their library would, or refused with what is missing."""

from __future__ import annotations

import warnings
from typing import Any

import lightgbm
import numpy as np
import onnxmltools
import pytest
import torch
from onnx import TensorProto, helper
from onnx_models import CLASSES, FEATURES, GOOD, graph, samples, softmax_of
from onnxmltools.convert.common.data_types import FloatTensorType as LightGbmFloats
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from detectors.batch import Floats
from detectors.schema import UNSEEN
from rollback.manifest import FeatureSpec, Manifest
from rollback.onnx.adopt import Imported, ImportRefused, import_onnx
from rollback.scorer import OnnxScorer


def score(model: bytes, found: Imported, x: Floats) -> Floats:
    manifest = Manifest(
        name="m", version="1", created_at="", classes=found.classes, features=found.features, onnx=found.spec
    )
    return OnnxScorer(model, manifest)(x)


def sklearn_onnx(model: Any, initial_types: list[Any], **options: Any) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return to_onnx(model, initial_types=initial_types, options={id(model): options}).SerializeToString()


def matrix_type() -> list[Any]:
    return [("input", FloatTensorType([None, 4]))]


def sklearn_models() -> dict[str, Any]:
    return {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
        "forest": RandomForestClassifier(n_estimators=5, max_depth=4, random_state=0, n_jobs=1),
        "boosting": GradientBoostingClassifier(n_estimators=5, random_state=0),
        "neighbours": KNeighborsClassifier(5),
    }


@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize("kind", ["logistic", "forest", "boosting", "neighbours"])
def test_scikit_learn_models_score_as_in_scikit_learn(kind: str, *, zipmap: bool) -> None:
    x, labels = samples()
    model = sklearn_models()[kind].fit(x, labels)
    exported = sklearn_onnx(model, matrix_type(), zipmap=zipmap)
    found = import_onnx(exported, FEATURES, x, labels)
    assert found.classes == CLASSES
    assert found.how == "named by the model"
    assert found.spec.zipmap is zipmap
    np.testing.assert_allclose(score(exported, found, x), model.predict_proba(x), atol=1e-5)


@pytest.mark.parametrize("zipmap", [True, False])
def test_the_given_class_order_is_that_of_the_scores(*, zipmap: bool) -> None:
    x, labels = samples()
    model = sklearn_models()["logistic"].fit(x, labels)
    exported = sklearn_onnx(model, matrix_type(), zipmap=zipmap)
    found = import_onnx(exported, FEATURES, x, labels, ["scan", "benign", "exfiltration"])
    assert found.classes == ("scan", "benign", "exfiltration")
    np.testing.assert_allclose(score(exported, found, x), model.predict_proba(x)[:, [2, 0, 1]], atol=1e-5)


def test_one_input_per_feature_takes_texts_and_whole_numbers() -> None:
    rng = np.random.default_rng(3)
    frame = np.empty((300, 3), dtype=object)
    frame[:, 0] = rng.choice(["tcp", "udp", "icmp"], 300)
    frame[:, 1] = rng.choice([53, 80, 443], 300)
    frame[:, 2] = rng.normal(size=300).astype(np.float32)
    labels = np.where((frame[:, 0] == "udp") & (frame[:, 1] == 53), "tunnel", "benign")
    text, port = OneHotEncoder(handle_unknown="ignore"), OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer([("text", text, [0]), ("port", port, [1]), ("size", StandardScaler(), [2])])
    model = make_pipeline(columns, LogisticRegression()).fit(frame, labels)
    shape = [None, 1]
    types = [("proto", StringTensorType(shape)), ("port", Int64TensorType(shape)), ("size", FloatTensorType(shape))]
    exported = sklearn_onnx(model, types, zipmap=False)
    vocabulary = ("udp", "tcp", "icmp")
    proto = FeatureSpec("proto", "categorical", vocabulary, missing=None)
    features = (FeatureSpec("size"), proto, FeatureSpec("port"))
    codes = np.array([vocabulary.index(name) for name in frame[:, 0]], dtype=np.float64)
    x = np.column_stack([frame[:, 2].astype(np.float64), codes, frame[:, 1].astype(np.float64)])
    found = import_onnx(exported, features, x, labels)
    assert found.spec.layout == "columns"
    assert found.spec.inputs == ("size", "proto", "port")
    np.testing.assert_allclose(score(exported, found, x), model.predict_proba(frame), atol=1e-5)
    x[0, 1], frame[0, 0] = UNSEEN, "sctp"
    np.testing.assert_allclose(score(exported, found, x[:1]), model.predict_proba(frame[:1]), atol=1e-5)


@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize("classes", [2, 3])
def test_lightgbm_models_score_as_in_lightgbm(classes: int, *, zipmap: bool) -> None:
    x, labels = samples()
    y = np.minimum(np.searchsorted(CLASSES, labels), classes - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = lightgbm.LGBMClassifier(n_estimators=8, num_leaves=7, n_jobs=1, verbose=-1).fit(x, y)
        exported = onnxmltools.convert_lightgbm(
            model, initial_types=[("input", LightGbmFloats([None, 4]))], zipmap=zipmap
        ).SerializeToString()
        expected = model.predict_proba(x)
    named = import_onnx(exported, FEATURES, x, y.astype(str))
    assert named.classes == tuple(str(i) for i in range(classes))
    np.testing.assert_allclose(score(exported, named, x), expected, atol=1e-5)
    texts = np.array(["zeta", "alpha", "mid"])[y]
    agreed = import_onnx(exported, FEATURES, x, texts)
    assert agreed.how == "by agreement with the reference's labels"
    order = [["zeta", "alpha", "mid"].index(c) for c in agreed.classes]
    np.testing.assert_allclose(score(exported, agreed, x), expected[:, order], atol=1e-5)


def torch_model(outputs: int) -> tuple[Any, list[Any]]:
    """An MLP trained by torch, and its graph as torch exports it, up to the logits."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, labels = samples()
    y = torch.tensor(np.searchsorted(CLASSES, labels)).clamp(max=max(outputs, 2) - 1)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, outputs))
    for _ in range(150):
        logits = network(torch.tensor(x, dtype=torch.float32))
        many = torch.nn.functional.cross_entropy(logits, y) if outputs > 1 else None
        one = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, :1], y[:, None].float())
        loss = one if many is None else many
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for weights, gradient in zip(network.parameters(), gradients, strict=True):
                weights.sub_(0.3 * gradient)
    nodes = [
        helper.make_node("Gemm", ["x", "0.weight", "0.bias"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "2.weight", "2.bias"], ["logits"], transB=1),
    ]
    return network, nodes


def torch_onnx(network: Any, nodes: list[Any], last: str, outputs: int) -> bytes:
    constants = {name: value.detach().numpy() for name, value in network.named_parameters()}
    steps = {"Softmax": [helper.make_node("Softmax", ["logits"], ["out"], axis=1)], "": []}
    steps["Sigmoid"] = [helper.make_node("Sigmoid", ["logits"], ["out"])]
    name = "out" if last else "logits"
    inputs = [("x", TensorProto.FLOAT, ["N", 4])]
    return graph(nodes + steps[last], inputs, [(name, TensorProto.FLOAT, ["N", outputs])], constants)


def test_a_torch_network_gets_its_class_order_from_the_labels() -> None:
    x, labels = samples()
    network, nodes = torch_model(3)
    exported = torch_onnx(network, nodes, "Softmax", 3)
    renamed = np.array(["w", "a", "m"])[np.searchsorted(CLASSES, labels)]
    found = import_onnx(exported, FEATURES, x, renamed)
    assert found.classes == ("a", "m", "w")
    assert found.accuracy > 0.95
    with torch.no_grad():
        expected = torch.softmax(network(torch.tensor(x, dtype=torch.float32)), dim=1).numpy()
    np.testing.assert_allclose(score(exported, found, x), expected[:, [1, 2, 0]], atol=1e-5)


def test_a_single_probability_is_that_of_the_class_it_rises_with() -> None:
    x, labels = samples()
    network, nodes = torch_model(1)
    exported = torch_onnx(network, nodes, "Sigmoid", 1)
    texts = np.where(labels == "benign", "ok", "bad")
    found = import_onnx(exported, FEATURES, x, texts)
    assert found.classes == ("bad", "ok")
    with torch.no_grad():
        bad = torch.sigmoid(network(torch.tensor(x, dtype=torch.float32))).numpy()[:, 0]
    np.testing.assert_allclose(score(exported, found, x), np.column_stack([bad, 1 - bad]), atol=1e-5)


def test_missing_and_unseen_values_are_fed_as_the_features_say() -> None:
    weights = np.array([[1.0, -1.0], [1.0, -1.0]], dtype=np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["p"], axis=1)]
    exported = graph(nodes, [("x", TensorProto.FLOAT, ["N", 2])], [("p", TensorProto.FLOAT, ["N", 2])], {"w": weights})
    features = (
        FeatureSpec("size", missing=2.0),
        FeatureSpec("proto", "categorical", ("tcp", "udp"), 0.5, (1.0, -1.0), unseen=0.25),
    )
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=80), np.arange(80) % 2])
    labels = np.where(x[:, 0] + 1 - 2 * x[:, 1] > 0, "yes", "no")
    found = import_onnx(exported, features, x, labels)
    assert found.classes == ("no", "yes")
    got = score(exported, found, np.array([[np.nan, 1.0], [0.0, -1.0], [0.0, np.nan]]))
    np.testing.assert_allclose(got[:, 1], 1 / (1 + np.exp(-2 * np.array([2.0 - 1.0, 0.25, 0.5]))), atol=1e-6)


def test_more_rows_than_a_batch_score_alike() -> None:
    x, labels = samples()
    exported = softmax_of(GOOD)
    found = import_onnx(exported, FEATURES, x, labels)
    many = np.tile(x, (50, 1))
    np.testing.assert_array_equal(score(exported, found, many), np.tile(score(exported, found, x), (50, 1)))


def test_numbers_that_a_float_cannot_hold_are_fed_as_the_largest() -> None:
    x, labels = samples()
    exported = softmax_of(GOOD / 8)
    found = import_onnx(exported, FEATURES, x, labels, CLASSES)
    got = score(exported, found, np.array([[1e300, 0.0, 0.0, 0.0]]))
    assert np.isfinite(got).all()
    assert got[0, 0] > 0.99


def test_no_rows_give_no_scores() -> None:
    x, labels = samples()
    model = sklearn_models()["logistic"].fit(x, labels)
    exported = sklearn_onnx(model, matrix_type(), zipmap=True)
    assert score(exported, import_onnx(exported, FEATURES, x, labels), x[:0]).shape == (0, 3)


def test_a_double_tensor_is_taken() -> None:
    x, labels = samples()
    exported = softmax_of(GOOD, kind=TensorProto.DOUBLE)
    found = import_onnx(exported, FEATURES, x, labels)
    z = np.exp(x @ GOOD)
    np.testing.assert_allclose(score(exported, found, x), z / z.sum(axis=1, keepdims=True), atol=1e-9)


def test_logits_are_refused_with_how_to_fix_it() -> None:
    x, labels = samples()
    network, nodes = torch_model(3)
    with pytest.raises(ImportRefused, match=r"output 'logits' ranges from .* logits or margins.*Softmax"):
        import_onnx(torch_onnx(network, nodes, "", 3), FEATURES, x, labels)


def test_text_into_a_float_tensor_is_refused_without_codes() -> None:
    x, labels = samples()
    features = (*FEATURES[:3], FeatureSpec("proto", "categorical", ("tcp", "udp"), missing=None))
    with pytest.raises(ImportRefused, match=r"proto hold text, but the model takes numbers.*--features FILE.*codes"):
        import_onnx(softmax_of(GOOD), features, x, labels)


def test_labels_that_do_not_settle_the_order_are_refused() -> None:
    x, _ = samples()
    noise = np.random.default_rng(1).choice(np.array(CLASSES), len(x))
    with pytest.raises(ImportRefused, match=r"do not settle their order: not clear for: benign \(\d+ rows.*--classes"):
        import_onnx(softmax_of(GOOD), FEATURES, x, noise)
    assert import_onnx(softmax_of(GOOD), FEATURES, x, noise, CLASSES).classes == CLASSES


def test_a_class_without_reference_rows_needs_the_classes_said() -> None:
    x, labels = samples()
    seen = labels != "scan"
    with pytest.raises(ImportRefused, match=r"gives 3 probabilities, the reference has 2 labels .*--classes"):
        import_onnx(softmax_of(GOOD), FEATURES, x[seen], labels[seen])


def test_a_label_that_the_model_does_not_know_is_refused() -> None:
    x, labels = samples()
    model = sklearn_models()["logistic"].fit(x, labels)
    exported = sklearn_onnx(model, matrix_type(), zipmap=False)
    other = np.where(np.arange(len(x)) < 30, "worm", labels)
    with pytest.raises(ImportRefused, match=r"reference has the labels worm, but the model's classes are benign"):
        import_onnx(exported, FEATURES, x, other)


def test_a_wrong_number_of_classes_is_refused() -> None:
    x, labels = samples()
    with pytest.raises(ImportRefused, match=r"gives 3 probabilities; --classes must name as many, got benign, scan"):
        import_onnx(softmax_of(GOOD), FEATURES, x, labels, ["benign", "scan"])


def test_a_wrong_order_that_was_said_is_warned_of() -> None:
    x, labels = samples()
    found = import_onnx(softmax_of(GOOD), FEATURES, x, labels, ["scan", "benign", "exfiltration"])
    assert "with its classes in another order, " in found.warning


def test_a_wrong_feature_count_is_refused() -> None:
    x, labels = samples()
    with pytest.raises(ImportRefused, match=r"input 'x' takes 5 features, but there are 4: bytes, .*--ignore"):
        import_onnx(softmax_of(np.ones((5, 3)), width=5), FEATURES, x, labels)


def test_a_fixed_number_of_rows_is_refused() -> None:
    x, labels = samples()
    with pytest.raises(ImportRefused, match=r"input 'x' takes exactly 1 rows at a time; .*dynamic_axes"):
        import_onnx(softmax_of(GOOD, shape=1), FEATURES, x, labels)


def test_a_model_that_ignores_its_input_is_refused() -> None:
    x, labels = samples()
    with pytest.raises(ImportRefused, match=r"output 'p' is the same for every row"):
        import_onnx(softmax_of(np.zeros((4, 3))), FEATURES, x, labels)


def test_scores_that_are_not_finite_are_refused_with_the_row() -> None:
    x, labels = samples()
    x[17, 0] = np.nan
    features = (FeatureSpec("bytes", missing=None), *FEATURES[1:])
    with pytest.raises(ImportRefused, match=r"is NaN or infinite, first for row 18"):
        import_onnx(softmax_of(GOOD), features, x, labels)


def test_inputs_that_are_called_otherwise_are_refused() -> None:
    nodes = [
        helper.make_node("Concat", ["a", "b"], ["x"], axis=1),
        helper.make_node("Softmax", ["x"], ["p"], axis=1),
    ]
    inputs = [("a", TensorProto.FLOAT, ["N", 1]), ("b", TensorProto.FLOAT, ["N", 1])]
    exported = graph(nodes, inputs, [("p", TensorProto.FLOAT, ["N", 2])], {})
    x, labels = samples()
    features = (FeatureSpec("a"), FeatureSpec("extra"))
    with pytest.raises(
        ImportRefused, match=r"called like the inputs b; the model has no inputs for the features extra"
    ):
        import_onnx(exported, features, x[:, :2], labels)
