"""What can have happened to a model file: kinds of tampering, each as altered files of one version."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from canaries_data import Rows, Sample
from canaries_files import LEAVES, THRESHOLDS, altered, inner_nodes, last_layer, only, parts, whole_numbers
from canaries_models import Model
from onnxruntime.quantization import quantize_dynamic

from detectors.batch import Floats

Fit = Callable[[Rows, Sample, int], Model]
NOISE = (0.001, 0.01, 0.05)
EDITS = (0.01, 0.1, 1.0)
PRUNED = (0.01, 0.1, 0.5)
COPIES, SINGLE_EDITS = 5, 40
"""So many altered files of a version where all numbers change, and where one does."""


def tampered(model: Model, sample: Sample, seed: int) -> Iterator[tuple[str, bytes]]:
    """Kinds of tampering, and files; a kind that a family cannot suffer is left out."""
    rng = np.random.default_rng([seed, 6])
    for size in NOISE:
        for _ in range(COPIES):
            yield (
                f"noise {size:.1%}",
                altered(model.content, lambda _, w, s=size: w * (1 + s * rng.normal(size=len(w)))),
            )
    for share in PRUNED:
        yield f"pruned {share:.0%}", altered(model.content, lambda name, w, s=share: _pruned(name, w, s))
    yield "float16", altered(model.content, lambda _, w: _halves(w))
    yield "int8 weights", altered(model.content, lambda _, w: _levels(w))
    yield from _quantised(model)
    yield from _layer_edits(model, rng)
    yield from _tree_edits(model, sample, rng)


def wrong_versions(fit: Fit, sample: Sample, seed: int) -> Iterator[tuple[str, Model]]:
    """Other versions that may lie behind the name."""
    yield "parent version", fit(sample.parent, sample, seed)
    yield "another seed", fit(sample.learned, sample, seed + 1000)
    yield "poisoned retrain", fit(sample.poisoned, sample, seed)


def _pruned(name: str, values: Floats, share: float) -> Floats:
    """The smallest numbers set to 0; thresholds are no weights."""
    if name == THRESHOLDS or len(values) < 1 / share:
        return values
    return np.where(np.abs(values) <= np.quantile(np.abs(values), share), 0.0, values)


def _halves(values: Floats) -> Floats:
    """Through float16, which ends at 65504."""
    return np.clip(values, -65504.0, 65504.0).astype(np.float16).astype(np.float64)


def _levels(values: Floats) -> Floats:
    """Symmetric int8: 255 levels between the largest magnitudes of an array."""
    step = np.abs(values).max() / 127
    return np.round(values / step) * step if step else values


def _quantised(model: Model) -> Iterator[tuple[str, bytes]]:
    """Dynamic quantisation by ONNX Runtime, where there are products of matrices."""
    if last_layer(model.content) in {None, "coefficients"}:
        return
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        before.write_bytes(model.content)
        quantize_dynamic(before, after)
        yield "int8 dynamic", after.read_bytes()


def _layer_edits(model: Model, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    name = last_layer(model.content)
    if name is None:
        return
    values = parts(model.content)[name]
    typical = float(np.sqrt(np.mean(values**2)))
    for size in EDITS:
        for _ in range(SINGLE_EDITS):
            made = _one(values, int(rng.integers(len(values))), float(rng.choice([-1, 1])) * size * typical)
            yield f"last layer {size:.0%}", altered(model.content, only(name, lambda _, made=made: made))


def _tree_edits(model: Model, sample: Sample, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    found = parts(model.content)
    leaves = next((name for name in LEAVES if name in found), None)
    if leaves is None:
        return
    values = found[leaves]
    typical = float(np.sqrt(np.mean(values**2)))
    for size in EDITS[1:]:
        for _ in range(SINGLE_EDITS):
            made = _one(values, int(rng.integers(len(values))), float(rng.choice([-1, 1])) * size * typical)
            yield f"leaf {size:.0%}", altered(model.content, only(leaves, lambda _, made=made: made))
    features, inner = whole_numbers(model.content, "nodes_featureids"), inner_nodes(model.content)
    for _ in range(SINGLE_EDITS):
        node = int(rng.choice(inner))
        column = sample.learned.x[:, features[node]]
        made = _one(found[THRESHOLDS], node, float(rng.choice(column[~np.isnan(column)])) - found[THRESHOLDS][node])
        yield "threshold", altered(model.content, only(THRESHOLDS, lambda _, made=made: made))


def _one(values: Floats, at: int, by: float) -> Floats:
    made = values.copy()
    made[at] += by
    return made
