"""The parameters that the configuration sets for detectors, checked against each detector's own dataclass."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from monitor.settings.config_sections import ModelConfig
from monitor.settings.problems import Problem, unknown


def parameter_problems(models: Mapping[str, ModelConfig]) -> list[Problem]:
    """What is wrong with the detectors' parameters in any model."""
    return [
        Problem(f"models.{name}.detectors.{where}", message)
        for name, model in models.items()
        for where, message in _problems(model.detectors)
    ]


def detector_parameters(model: ModelConfig) -> dict[str, Any]:
    """For every detector that ``model`` sets parameters of: its name and its ``Parameters``. Checked before."""
    if not model.detectors:
        return {}
    classes = _classes()
    return {name: msgspec.convert(values, classes[name], strict=False) for name, values in model.detectors.items()}


def _problems(settings: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    classes = _classes() if settings else {}
    for name, values in settings.items():
        if name not in classes:
            yield name, unknown(name, classes)
            continue
        fields = [field.name for field in dataclasses.fields(classes[name])]
        wrong = [key for key in values if key not in fields]
        yield from ((f"{name}.{key}", unknown(key, fields)) for key in wrong)
        if not wrong:
            yield from _values(name, values, classes[name])


def _values(name: str, values: Mapping[str, Any], kind: type[Any]) -> Iterator[tuple[str, str]]:
    try:
        msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        # msgspec ends its message with the place: "Expected `int`, got `str` - at `$.bins`"
        text, _, place = str(error).partition(" - at `$")
        yield name + re.sub(r"\[[^\]]*\]", "", place.rstrip("`")), text[:1].lower() + text[1:]


def _classes() -> dict[str, type[Any]]:
    from detectors.evidence import detector_classes  # noqa: PLC0415 - loads scipy and river: only where it is needed

    return {name: parameters for name, (_, parameters) in detector_classes().items()}
