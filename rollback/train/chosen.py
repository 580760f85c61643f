"""Which recipe to train with and with which parameters: a name, a recipe file, or what a version's manifest says.

A recipe file is YAML (or JSON): `recipe` names the recipe, every other key is one of its parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import msgspec

from rollback.train.operator_file import read_yaml
from rollback.train.recipe import Device, Progress, Recipe, RecipeError, Trained, TrainingRows, load_recipe
from rollback.train.weighing import require_weights

FILE_ENDINGS: Final = frozenset({".yaml", ".yml", ".json"})
NEVER_FROM_A_MANIFEST: Final = frozenset({"exec"})
"""What a bundle says must not decide which command runs here."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A recipe with its parameters (an instance of its ``Parameters``)."""

    name: str
    parameters: Any
    recipe: Recipe

    def train(
        self, rows: TrainingRows, *, seed: int, device: Device, progress: Progress, checkpoints: Path | None = None
    ) -> Trained:
        """See `rollback.train.recipe.Recipe`."""
        require_weights(rows)
        return self.recipe.train(
            rows, seed=seed, device=device, progress=progress, parameters=self.parameters, checkpoints=checkpoints
        )

    def told(self) -> dict[str, Any]:
        """As a recipe file would say it, with every parameter."""
        return {"recipe": self.name, **asdict(self.parameters)}


def choose(text: str) -> Chosen:
    """The recipe that ``--recipe`` names: a name, or the path of a recipe file (it ends in .yaml, .yml or .json).

    Raises `RecipeError`, which names file and key.
    """
    if not recipe_file(text):
        try:
            return chosen({"recipe": text}, f"--recipe {text}")
        except RecipeError as error:
            if Path(text).is_file():
                why = f"{text}: the name of a recipe file ends in {', '.join(sorted(FILE_ENDINGS))}"
                raise RecipeError(why) from error
            raise
    path = Path(text)
    try:
        content = read_yaml(path)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise RecipeError(f"{path}: {error}") from error
    return chosen(content, str(path))


def recipe_file(text: str | None) -> list[Path]:
    """The file that ``--recipe`` names, if it names one.

    >>> recipe_file("mlp"), [path.name for path in recipe_file("recipes/strong.yaml")]
    ([], ['strong.yaml'])
    """
    return [] if text is None or Path(text).suffix not in FILE_ENDINGS else [Path(text)]


def chosen(content: Any, where: str) -> Chosen:
    """The recipe that a mapping describes; ``where`` it is from starts every message. Raises `RecipeError`."""
    if not isinstance(content, Mapping) or not isinstance(content.get("recipe"), str):
        raise RecipeError(f"{where}: expected is a mapping like `recipe: mlp`, with the recipe's parameters beside it")
    name = content["recipe"]
    try:
        recipe = load_recipe(name)
    except RecipeError as error:
        raise RecipeError(f"{where}: recipe: {error}" if where != f"--recipe {name}" else str(error)) from error
    given = {key: value for key, value in content.items() if key != "recipe"}
    _refuse_unknown(given, recipe.Parameters, where, "")
    _refuse_no_numbers(given, where)
    try:
        parameters = msgspec.convert(given, recipe.Parameters)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{where}: {_in_words(error)}") from error
    return Chosen(name, parameters, recipe)


def chosen_of(recipe: Mapping[str, Any], version: str) -> Chosen:
    """The recipe with the parameters that the manifest of a version notes. Raises `RecipeError`."""
    name = recipe["name"]
    where = f"the recipe of version {version}"
    if name in NEVER_FROM_A_MANIFEST:
        raise RecipeError(f"{where} is {name}: what it runs is not taken from a bundle; say it with --recipe FILE")
    return chosen({**recipe.get("parameters", {}), "recipe": name}, where)


def _refuse_unknown(given: Any, kind: type[Any], where: str, path: str) -> None:
    """A key that no parameter has is a mistake, also inside of an option."""
    hints = get_type_hints(kind)
    names = [f.name for f in fields(kind)]
    for key, value in given.items():
        if key not in names:
            raise RecipeError(f"{where}: {path}{key}: no such parameter; there are: {', '.join(names)}")
        inner = [part for part in (hints[key], *get_args(hints[key])) if isinstance(part, type) and is_dataclass(part)]
        if inner and isinstance(value, Mapping):
            _refuse_unknown(value, inner[0], where, f"{path}{key}.")


def _refuse_no_numbers(given: Mapping[str, Any], where: str) -> None:
    """NaN is neither too large nor too small for any limit, and infinity is no amount of anything here."""
    for key, value in given.items():
        inner = value.values() if isinstance(value, Mapping) else [value]
        if any(isinstance(each, float) and not math.isfinite(each) for each in inner):
            raise RecipeError(f"{where}: {key}: every number must be finite")


def _in_words(error: msgspec.ValidationError) -> str:
    """``key: what is wrong`` of msgspec's ``What is wrong - at `$.key` ``."""
    what, _, place = str(error).rpartition(" - at `$.")
    return f"{place.rstrip('`')}: {what}" if what else str(error)
