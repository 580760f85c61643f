"""The same version, run in other ways: what an honest server may differ by, none of which may raise an alarm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import onnxruntime
from canaries_models import Model

from detectors.batch import Floats, Scorer
from detectors.schema import Schema
from rollback.reload.v2_tensors import Tensor, from_inputs, raw, to_inputs
from rollback.scorer import Feeder, in_class_order

LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")
THREADS = (1, 2, 4)
SPLITS = (1, 2, 3, 4, 5, 8, 16, 32, 64, 128)
"""Into so many requests the canaries are split, in random order."""


def clean(model: Model, x: Floats, rng: np.random.Generator) -> Iterator[tuple[str, Floats]]:
    """Conditions, and the answers to ``x`` after the way there and back in the protocol's JSON."""
    schema = model.manifest.schema
    asked = over_the_wire(schema, x)
    for level in LEVELS:
        for threads in THREADS:
            score = session(model, level, threads)
            for split in SPLITS:
                yield f"{level[4:].lower()}, {threads} threads", _json(in_requests(score, asked, split, rng))
    score = session(model, LEVELS[-1], 1)
    for split in SPLITS:
        yield "scores as FP32", _json(in_requests(score, asked, split, rng).astype(np.float32))
        yield "another library, float64", _json(in_requests(model.exact, asked, split, rng))


def session(model: Model, level: str, threads: int) -> Scorer:
    """The file in ONNX Runtime with these settings."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.intra_op_num_threads = threads
    spec = model.manifest.onnx
    opened = onnxruntime.InferenceSession(model.content, options, providers=["CPUExecutionProvider"])
    feeder = Feeder(opened, spec, model.manifest.features)
    return lambda x: in_class_order(opened.run([spec.output], feeder.feed(x))[0], spec)


def in_requests(score: Scorer, x: Floats, split: int, rng: np.random.Generator) -> Floats:
    """The answers to the rows in random order, in ``split`` requests."""
    order = rng.permutation(len(x))
    answers = np.concatenate([score(x[rows]) for rows in np.array_split(order, split) if len(rows)])
    back = np.empty_like(answers)
    back[order] = answers
    return back


def over_the_wire(schema: Schema, x: Floats) -> Floats:
    """The rows as a server reads them."""
    body = msgspec.json.encode(to_inputs(schema, x))
    return from_inputs(schema, msgspec.json.decode(body, type=list[Tensor]))


def _json(scores: Any) -> Floats:
    flat: Sequence[float] = scores.ravel().tolist()
    return np.array(msgspec.json.decode(raw(flat)), dtype=np.float64).reshape(scores.shape)
