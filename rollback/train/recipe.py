"""The seam to training recipes: what goes in, what comes out, and how a recipe is found by its name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from detectors.batch import Bools, Columns, Floats, Ints, Scorer, Strings
from detectors.schema import Schema
from rollback.canary.canaries import Canaries
from rollback.manifest import Bounds, FeatureSpec, OnnxSpec
from rollback.train import recipes

Device = Literal["auto", "cpu", "cuda"]
Progress: TypeAlias = Callable[[int, int, float], None]
"""Told after every epoch (or member): its number from 1 on, how many there are at most, and the validation loss."""
Weights: TypeAlias = dict[str, NDArray[np.float32]]


class RecipeError(Exception):
    """A recipe cannot be used here: no such recipe, a package it needs is not installed, no such device."""


@dataclass(frozen=True, slots=True)
class TrainingRows(Columns):
    """x[n,d] (codes, UNSEEN, NaN missing), y[n] (class indices, none unknown), session[n] (never empty).

    ``weight`` [n] says how much each row counts in the loss; None where all count alike. ``trusted`` [n] marks rows of
    the trusted base: where it is given, early stopping looks at such rows only. ``bounds`` are the features' bounds in
    the domain, as far as somebody has said them.
    """

    schema: Schema
    x: Floats
    y: Ints
    session: Strings
    weight: Floats | None = None
    trusted: Bools | None = None
    bounds: Mapping[str, Bounds] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trained:
    """What a recipe made. ``model`` is the ONNX file, ``onnx`` how it is fed, ``weights`` what can be looked into.

    ``settings`` are the recipe's parameters and ``figures`` what it noted on the way (epochs, losses, what privacy
    costs). ``answers`` are those of the trained model itself to some of its rows: `model` must give the same ones.
    ``own`` answers any rows as the trained model itself does. ``features`` say how the model is fed, where that is not
    as the recipe was given them (a foreign model).
    """

    model: bytes
    onnx: OnnxSpec
    weights: Weights
    settings: Mapping[str, Any]
    figures: Mapping[str, float]
    answers: Canaries
    own: Scorer
    features: tuple[FeatureSpec, ...] | None = None


class Recipe(Protocol):
    """What every module in `rollback.train.recipes` offers. The same rows, seed and machine give the same model."""

    Parameters: type[Any]
    """A frozen dataclass with defaults that checks its values: what a recipe file may say."""

    def train(
        self,
        rows: TrainingRows,
        *,
        seed: int,
        device: Device,
        progress: Progress,
        parameters: Any = None,
        checkpoints: Path | None = None,
    ) -> Trained:
        """Train on the rows. Raises `RecipeError` where that cannot be done here.

        What takes long leaves its state in the folder ``checkpoints``, if any, and goes on from it when it is called
        with the same once more.
        """


def recipe_names() -> list[str]:
    """Every recipe, by the names of the files."""
    return sorted(module.name for module in pkgutil.iter_modules(recipes.__path__))


def load_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises `RecipeError`."""
    if name not in recipe_names():
        raise RecipeError(f"no recipe {name!r}; there are: {', '.join(recipe_names())}")
    try:
        module = importlib.import_module(f"{recipes.__name__}.{name}")
    except (ImportError, OSError) as error:  # a library that a package was built against may be missing
        extra = name if name == "lightgbm" else "retrain"
        raise RecipeError(f'recipe {name} needs more packages: pip install "tocsin[{extra}]" ({error})') from error
    return cast("Recipe", module)


def answers_of(own: Scorer, rows: TrainingRows, most: int = 256) -> Canaries:
    """What a trained model says of its first rows."""
    x = rows.x[:most].copy()
    return Canaries(rows.schema, x, own(x))
