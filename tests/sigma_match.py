"""Runs a Sigma rule as pySigma parses it over events: what a SIEM would find, without one."""

from __future__ import annotations

from typing import Any

from sigma.rule import SigmaDetection, SigmaDetectionItem, SigmaRule
from sigma.types import SigmaCompareExpression, SigmaNull, SigmaNumber, SigmaString


def matches(rule: SigmaRule, event: dict[str, Any]) -> bool:
    """Whether ``trigger`` holds for the event and no filter does; fields are paths with dots."""
    flat = {name: value for name, value in event.items() if name != "features"}
    flat |= {f"features.{name}": value for name, value in event["features"].items()}
    detections = rule.detection.detections
    filtered = [_holds(d, flat) for name, d in detections.items() if name.startswith("filter_main_")]
    assert rule.detection.condition in (["trigger"], ["trigger and not 1 of filter_main_*"])
    return _holds(detections["trigger"], flat) and not any(filtered)


def _holds(detection: SigmaDetection, flat: dict[str, Any]) -> bool:
    held = [_item(i, flat) if isinstance(i, SigmaDetectionItem) else _holds(i, flat) for i in detection.detection_items]
    return any(held) if detection.item_linking.__name__ == "ConditionOR" else all(held)


def _item(item: SigmaDetectionItem, flat: dict[str, Any]) -> bool:
    return any(_value(value, flat.get(str(item.field))) for value in item.value)


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
