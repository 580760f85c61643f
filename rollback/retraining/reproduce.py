"""What a version's training buffer gives when it is trained on once more: a version that is another was changed since.

Compared with the version itself (`detectors.reference_harm.harm`), whatever its rows taught is on both sides: what is
left is what was done to the weights afterwards, or rows that the buffer does not hold.
"""

from __future__ import annotations

from detectors.batch import Scorer
from rollback.bundle import Bundle
from rollback.registry.registry import Buffer
from rollback.retraining.data import RetrainRefusedError, as_rows, read_buffer
from rollback.retraining.model import Learner
from rollback.sanitise.rows import Progress
from rollback.train.recipe import Device


def reproduced(bundle: Bundle, buffer: Buffer, device: Device, progress: Progress) -> Scorer:
    """A model of the buffer's rows by the version's own recipe and seed.

    On the machine that trained it, with the same seed on a CPU, it is the version itself. A version that was retrained
    on sanitised rows had weights and counterexamples besides, which its buffer does not hold: the model is another one
    of the same rows. Raises `RetrainRefusedError`, `rollback.tables.table.TableError` and
    `rollback.train.recipe.RecipeError`.
    """
    manifest = bundle.manifest
    if "name" not in manifest.recipe:
        raise RetrainRefusedError(
            f"version {manifest.version} was not trained by Tocsin: how to make it again is not known"
        )
    seed = int(manifest.recipe.get("seed", 0))
    learner = Learner(manifest, None, seed, device, progress)
    _, rows, _ = read_buffer(buffer, manifest.features, bundle.schema)
    return learner.fit(as_rows(rows, bundle.schema, "reproduced"), seed, "training on its buffer again")
