"""Detector parameters in the configuration are checked against each detector's own dataclass."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from detectors.evidence import detector_classes
from monitor.settings.config_sections import ModelConfig
from monitor.settings.detector_parameters import detector_parameters, parameter_problems


def check(detectors: dict[str, dict[str, Any]]) -> dict[str, str]:
    return dict(parameter_problems({"nids": ModelConfig(detectors=detectors)}))


def test_an_unknown_detector_names_the_nearest_one() -> None:
    assert check({"prediction_entrpy": {}}) == {
        "models.nids.detectors.prediction_entrpy": "unknown; did you mean prediction_entropy?"
    }


@pytest.mark.parametrize("name", sorted(detector_classes()))
def test_every_detector_takes_its_own_defaults(name: str) -> None:
    parameters = detector_classes()[name][1]
    defaults = dataclasses.asdict(parameters())
    assert check({name: defaults}) == {}
    assert detector_parameters(ModelConfig(detectors={name: defaults})) == {name: parameters()}


@pytest.mark.parametrize("name", sorted(detector_classes()))
def test_every_detector_refuses_what_it_does_not_know(name: str) -> None:
    found = check({name: {"no_such_parameter": 1}})
    assert found[f"models.nids.detectors.{name}.no_such_parameter"].startswith("unknown; ")


@pytest.mark.parametrize("name", sorted(detector_classes()))
def test_every_detector_refuses_a_value_of_the_wrong_type(name: str) -> None:
    numbers = [f.name for f in dataclasses.fields(detector_classes()[name][1]) if f.type in {"int", "float"}]
    for field in numbers:
        assert f"models.nids.detectors.{name}.{field}" in check({name: {field: "plenty"}})


def test_without_settings_there_are_no_parameters() -> None:
    assert detector_parameters(ModelConfig()) == {}
