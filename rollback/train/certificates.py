"""What a version's predictions withstand, row by row: from its bundle and a table, without torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from detectors.batch import Floats
from detectors.schema import Schema
from rollback.bundle import Bundle
from rollback.tables.table import Column
from rollback.train.harden.partition import certified_poisons
from rollback.train.harden.smoothing import Scale, certify, scale_of
from rollback.train.recipe import RecipeError
from rollback.train.version import WEIGHTS

PARTITION = "partition"
DEFAULT_SIGMA = 0.25
OFF = 0.01
"""A share of votes is off by no more than what float32 rounds."""


def sigma_of(recipe: dict[str, Any], given: float | None) -> float:
    """The noise to certify with: what was said, else what the version was trained with, else .25."""
    trained = (recipe.get("parameters") or {}).get("smoothing") or {}
    return float(given if given is not None else trained.get("sigma", DEFAULT_SIGMA))


def certificate_columns(
    bundle: Bundle,
    x: Floats,
    *,
    sigma: float | None,
    samples: int,
    alpha: float,
    rng: np.random.Generator,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Column]:
    """A column for each thing that is known of the rows x[n,d]; see `rollback.train.harden`.

    A vote of parts has `certified_poisons`; every model has the smoothed `prediction` with `radius`, `abstain`, and
    for each number `NAME_low` and `NAME_high`. Raises `RecipeError` for a version that cannot be certified.
    """
    score, manifest = bundle.scorer(), bundle.manifest
    if score is None:
        raise RecipeError(f"version {manifest.version} has no model to certify")
    schema = bundle.schema
    if manifest.recipe.get("name") == PARTITION:
        return poisons(score(x), int(manifest.recipe["parameters"]["parts"]), schema)
    noise = sigma_of(manifest.recipe, sigma)
    scale = _scale(bundle, schema)
    found = certify(score, x, scale, sigma=noise, samples=samples, alpha=alpha, rng=rng, progress=progress)
    classes = np.array([*schema.classes, ""], dtype=np.str_)
    columns: dict[str, Column] = {
        "prediction": classes[found.prediction],
        "radius": found.radius,
        "abstain": found.abstains.astype(np.float64),
    }
    numeric = [f.name for f in schema.features if f.kind != "categorical"]
    for i, name in enumerate(numeric):
        columns[f"{name}_low"], columns[f"{name}_high"] = found.low[:, i], found.high[:, i]
    return columns


def poisons(scores: Floats, parts: int, schema: Schema) -> dict[str, Column]:
    """Of shares of votes [n,k]: the `prediction`, and `certified_poisons`. Raises `RecipeError` where they are none."""
    votes = np.nan_to_num(np.round(scores * parts)).astype(np.int64)
    near = np.abs(scores * parts - votes) <= OFF  # False where a score is missing
    if not near.all() or (votes < 0).any() or (votes.sum(axis=1) != parts).any():
        raise RecipeError(f"the scores of this version are no shares of {parts} votes: nothing can be certified")
    classes = np.array(schema.classes, dtype=np.str_)
    return {
        "prediction": classes[votes.argmax(axis=1)],
        "certified_poisons": certified_poisons(votes).astype(np.float64),
    }


def _scale(bundle: Bundle, schema: Schema) -> Scale:
    """What the network standardises by; for other models mean and deviation of asinh of the reference."""
    try:
        weights = load(bundle.files[WEIGHTS]) if WEIGHTS in bundle.files else {}
    except SafetensorError as error:
        raise RecipeError(f"version {bundle.manifest.version}: {WEIGHTS} cannot be read: {error}") from error
    if "mean" in weights and "scale" in weights:
        return scale_of(schema, weights["mean"].astype(np.float64), weights["scale"].astype(np.float64))
    reference = bundle.reference()
    if reference is None or not len(reference):
        raise RecipeError(
            f"version {bundle.manifest.version} says nothing of how far apart its numbers lie: it has neither weights "
            "of ours nor a reference; add it with tocsin registry add --reference"
        )
    columns = [j for j, f in enumerate(schema.features) if f.kind != "categorical"]
    values = np.ma.masked_invalid(np.arcsinh(reference.x[:, columns]))
    deviation = values.std(axis=0).filled(0.0)
    return scale_of(schema, values.mean(axis=0).filled(0.0), np.where(deviation > 0, deviation, 1.0))
