"""What a version's training buffer gives when it is trained on once more: a version that is another was changed since.

Compared with the version itself (`detectors.reference_harm.harm`), whatever its rows taught is on both sides: what is
left is what was done to the weights afterwards, or rows that the buffer does not hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from detectors.batch import Bools, Floats, Scorer
from rollback.bundle import MODEL, Bundle, digest
from rollback.registry.registry import Buffer, Registry
from rollback.retraining.data import RetrainRefusedError, as_rows, read_buffer
from rollback.retraining.libraries import differences, library_versions
from rollback.retraining.model import Learner
from rollback.retraining.training_input import TRAINING, TrainingInputError, input_digest, unpack
from rollback.sanitise.rows import Progress, Rows
from rollback.train.recipe import Device


@dataclass(frozen=True, slots=True)
class Reproduction:
    """Whether training again gave the same `model.onnx`: its SHA-256 then and now, and what may make a difference."""

    version: str
    expected: str
    found: str
    differs: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Byte by byte."""
        return self.expected == self.found


def reproduced(bundle: Bundle, buffer: Buffer, device: Device, progress: Progress) -> Scorer:
    """A model of the buffer's rows by the version's own recipe and seed.

    On the machine that trained it, with the same seed on a CPU, it is the version itself. Of a version that was
    retrained without `training.npz` (before that was kept) it is another one of the same rows: weights and
    counterexamples are missing. Raises `RetrainRefusedError`, `TrainingInputError`,
    `rollback.tables.table.TableError` and `rollback.train.recipe.RecipeError`.
    """
    seed = _seed(bundle)
    learner = Learner(bundle.manifest, None, seed, device, progress)
    rows, weight, trusted = _input(bundle, buffer)
    return learner.scorer(learner.train(rows, weight, seed, "training on its buffer again", trusted))


def reproduce(registry: Registry, version: str, device: Device | None, progress: Progress) -> Reproduction:
    """Train a version again from what the registry keeps of it, and compare. ``device`` is by default as it was.

    Raises what `reproduced` does, and what `Registry.load` does.
    """
    bundle = registry.load(version)
    seed = _seed(bundle)
    buffer = registry.buffer(version)
    if buffer is None:
        raise RetrainRefusedError(
            f"version {version} cannot be made again: the registry keeps no training buffer of it"
        )
    recipe, told = bundle.manifest.recipe, bundle.manifest.lineage.get("retrain", {})
    rows, weight, trusted = _input(bundle, buffer)
    now = input_digest(rows, weight if weight is not None else np.ones(len(rows)))
    then = told.get("training", {}).get("sha256")
    where: Device = device or recipe.get("device", "cpu")
    differs = differences(told.get("libraries", {}), library_versions())
    if not told.get("libraries"):
        differs.append("which libraries it was made with is not recorded")
    if then is not None and then != now:
        differs.append(f"the training input was {then}, and what is read from the kept buffer is {now}")
    learner = Learner(bundle.manifest, None, seed, where, progress)
    made = learner.train(rows, weight, seed, f"training version {version} again", trusted)
    expected, found = bundle.manifest.files.get(MODEL, ""), digest(made.model)
    if expected != found and where != "cpu":
        differs.append(f"device {where}: only a CPU gives the same bytes every time")
    if expected != found and not differs:
        differs.append("nothing that is recorded: another processor, other threads, or a changed model")
    return Reproduction(version, expected, found, tuple(differs))


def _seed(bundle: Bundle) -> int:
    recipe: dict[str, Any] = bundle.manifest.recipe
    if "name" not in recipe:
        raise RetrainRefusedError(
            f"version {bundle.manifest.version} was not trained by Tocsin: how to make it again is not known"
        )
    return int(recipe.get("seed", 0))


def _input(bundle: Bundle, buffer: Buffer) -> tuple[Rows, Floats | None, Bools | None]:
    """The rows, and their weights and which are trusted where the version was trained with any."""
    _, coded, _ = read_buffer(buffer, bundle.manifest.features, bundle.schema)
    rows = as_rows(coded, bundle.schema, "reproduced")
    if TRAINING not in bundle.files:
        return rows, None, None
    try:
        return unpack(bundle.files[TRAINING], rows)
    except TrainingInputError as error:
        raise TrainingInputError(f"{bundle.where(TRAINING)}: {error}") from error
