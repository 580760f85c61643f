"""Runs a Sigma rule as pySigma parses it over events: what a SIEM would find, without one."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("sigma", reason="rules are run with pySigma: pip install 'tocsin[dev]'")

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
)
from sigma.rule import SigmaRule
from sigma.types import SigmaCompareExpression, SigmaNull, SigmaNumber, SigmaString


def matches(rule: SigmaRule, event: dict[str, Any]) -> bool:
    """Whether the rule's condition holds for the event; fields are paths with dots."""
    flat = {name: value for name, value in event.items() if name != "features"}
    flat |= {f"features.{name}": value for name, value in event["features"].items()}
    return _holds(rule.detection.parsed_condition[0].parsed, flat)


def _holds(part: Any, flat: dict[str, Any]) -> bool:
    if isinstance(part, ConditionNOT):
        return not _holds(part.args[0], flat)
    if isinstance(part, ConditionAND):
        return all(_holds(arg, flat) for arg in part.args)
    if isinstance(part, ConditionOR):
        return any(_holds(arg, flat) for arg in part.args)
    assert isinstance(part, ConditionFieldEqualsValueExpression)
    return _value(part.value, flat.get(part.field))


def _value(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, SigmaNull):
        return found is None
    if isinstance(wanted, SigmaNumber):
        return isinstance(found, int | float) and found == wanted.number
    if isinstance(wanted, SigmaCompareExpression):
        signs = {"GTE": lambda a, b: a >= b, "LTE": lambda a, b: a <= b}
        return isinstance(found, int | float) and signs[wanted.op.name](found, wanted.number.number)
    assert isinstance(wanted, SigmaString)
    assert not wanted.contains_special()
    return isinstance(found, str) and found.lower() == "".join(str(part) for part in wanted.s).lower()
