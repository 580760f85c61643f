"""A registry in memory with small models, for tests of servers that load them."""

from __future__ import annotations

import numpy as np
from onnx_models import CLASSES, FEATURES, samples, softmax_of

from detectors.batch import Floats
from rollback.bundle import Bundle, with_canaries
from rollback.manifest import Draft, OnnxSpec
from rollback.reference import ReferenceRows
from rollback.registry.memory import MemoryRegistry
from rollback.signing.keys import Keys, new_signing_key

NAME = "nids"
SPEC = OnnxSpec("matrix", ("x",), "p", columns=(0, 1, 2))
DRAFT = Draft(classes=CLASSES, features=FEATURES, onnx=SPEC)


def reference(rows: int = 400) -> ReferenceRows:
    x, names = samples(rows)
    blank = np.full(len(x), "-")
    return ReferenceRows(x, np.searchsorted(CLASSES, names).astype(np.int64), blank, blank)


def weights(seed: int) -> Floats:
    """Of a model that knows the classes, and little else: another seed, another model."""
    return np.eye(4, 3) + np.random.default_rng(seed).normal(size=(4, 3)) / 4


def add(registry: MemoryRegistry, seed: int) -> Bundle:
    files = {"model.onnx": softmax_of(weights(seed)), "reference.npz": reference().to_npz()}
    return registry.add(DRAFT, with_canaries(DRAFT, files), by="test", reason="test")


def make_registry() -> MemoryRegistry:
    """Versions 1 (serves) and 2."""
    registry = MemoryRegistry(NAME, Keys.of(new_signing_key()), lambda: 0.0)
    add(registry, 1)
    add(registry, 2)
    return registry


def point(registry: MemoryRegistry, version: str) -> None:
    """Move the serving pointer."""
    now = registry.pointers().serving
    registry.promote(version, expected=now, known_good=False, by="test", reason="test")
