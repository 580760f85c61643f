"""What features can be in the domain, as an operator's file says it and the manifest keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from rollback.manifest import Bounds, FeatureSpec
from rollback.train.operator_file import read_yaml
from rollback.train.recipe import RecipeError

FORMAT: Final = "a mapping like: {bytes: {low: 0, integer: true}, port: {immutable: true}}"


def read_bounds(path: Path) -> dict[str, Bounds]:
    """The bounds of a YAML or JSON file, by feature. Raises `RecipeError`."""
    try:
        return msgspec.convert(read_yaml(path), dict[str, Bounds])
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # msgspec's too
        raise RecipeError(f"{path}: {error}; expected is {FORMAT}") from error


def bounded(features: Sequence[FeatureSpec], bounds: Mapping[str, Bounds]) -> tuple[FeatureSpec, ...]:
    """The features with these bounds. Raises `RecipeError` for bounds of what is no feature."""
    names = [feature.name for feature in features]
    if strange := sorted(set(bounds) - set(names)):
        raise RecipeError(f"bounds: {strange[0]!r} is no feature; there are: {', '.join(names)}")
    return tuple(msgspec.structs.replace(f, bounds=bounds[f.name]) if f.name in bounds else f for f in features)


def bounds_of(features: Sequence[FeatureSpec]) -> dict[str, Bounds]:
    """Inverse of `bounded`."""
    return {feature.name: feature.bounds for feature in features if isinstance(feature.bounds, Bounds)}
