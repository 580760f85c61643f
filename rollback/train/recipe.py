"""The seam to training recipes: what goes in, what comes out, and how a recipe is found by its name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from detectors.batch import Columns, Floats, Ints, Strings
from detectors.schema import Schema
from rollback.canary.canaries import Canaries
from rollback.manifest import OnnxSpec
from rollback.train import recipes

Device = Literal["auto", "cpu", "cuda"]
Progress: TypeAlias = Callable[[int, int, float], None]
"""Told after every epoch: its number from 1 on, how many there are at most, and the validation loss."""
Weights: TypeAlias = dict[str, NDArray[np.float32]]


class RecipeError(Exception):
    """A recipe cannot be used here: no such recipe, a package it needs is not installed, no such device."""


@dataclass(frozen=True, slots=True)
class TrainingRows(Columns):
    """x[n,d] (codes, UNSEEN, NaN missing), y[n] (class indices, none unknown), session[n] (never empty).

    ``weight`` [n] says how much each row counts in the loss; None where all count alike.
    """

    schema: Schema
    x: Floats
    y: Ints
    session: Strings
    weight: Floats | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """What a recipe made. ``model`` is the ONNX file, ``onnx`` how it is fed, ``weights`` what training can go on from.

    ``settings`` are the recipe's parameters and ``figures`` what it noted on the way (epochs, losses). ``answers`` are
    those of the trained network itself to some of its rows: `model` must give the same ones.
    """

    model: bytes
    onnx: OnnxSpec
    weights: Weights
    settings: Mapping[str, Any]
    figures: Mapping[str, float]
    answers: Canaries


class Recipe(Protocol):
    """What every module in `rollback.train.recipes` offers. The same rows, seed and machine give the same model."""

    def train(self, rows: TrainingRows, *, seed: int, device: Device, progress: Progress) -> Trained:
        """Train on the rows. Raises `RecipeError` where the device does not exist."""


def recipe_names() -> list[str]:
    """Every recipe, by the names of the files."""
    return sorted(module.name for module in pkgutil.iter_modules(recipes.__path__))


def load_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises `RecipeError`."""
    if name not in recipe_names():
        raise RecipeError(f"no recipe {name!r}; there are: {', '.join(recipe_names())}")
    try:
        module = importlib.import_module(f"{recipes.__name__}.{name}")
    except ImportError as error:
        raise RecipeError(f'recipe {name} needs more packages: pip install "tocsin[retrain]" ({error})') from error
    return cast("Recipe", module)
