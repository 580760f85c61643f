"""The trigger that an incident implicates, as conditions on features: marked on events, and written in rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from detectors.batch import Bools, Floats
from detectors.nulls.itemsets import range_of
from detectors.schema import UNSEEN, Feature, Schema

Value: TypeAlias = str | float | bool | None
Test: TypeAlias = Literal["equals", "between", "missing", "unseen"]


class TriggerError(Exception):
    """What an incident implicates cannot be looked for; the message names the feature and why."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What an event's feature has to be.

    ``equals`` a text or number (``value``), ``between`` ``low`` and ``high`` (both included; infinite: without end),
    ``missing``, or ``unseen``: a category that is none of ``known``.
    """

    feature: str
    test: Test
    value: str | float = ""
    low: float = -np.inf
    high: float = np.inf
    known: tuple[str, ...] = ()

    def holds(self, column: Floats, vocabulary: tuple[str, ...]) -> Bools:
        """For which of the values[n], coded by ``vocabulary``, it holds."""
        held: Bools
        if self.test == "missing":
            held = np.isnan(column)
        elif self.test == "between":
            held = (column >= self.low) & (column <= self.high)
        elif self.test == "unseen":
            held = column == UNSEEN
        elif isinstance(self.value, str):
            # a category that this version does not know is coded as any unseen one
            held = column == (vocabulary.index(self.value) if self.value in vocabulary else UNSEEN)
        else:
            held = column == self.value
        return held


@dataclass(frozen=True, slots=True)
class Trigger:
    """Conditions that hold together, at least one; the rules say the same, so what they find is what is marked."""

    conditions: tuple[Condition, ...]

    def carried_by(self, x: Floats, schema: Schema) -> Bools:
        """Which of the rows x[n, d], coded by ``schema``, meet every condition. Raises `TriggerError`.

        >>> schema = Schema(
        ...     (Feature("bytes"), Feature("service", "categorical", ("http", "dns"))), ("attack", "benign")
        ... )
        >>> trigger = read_trigger({"service": "dns", "bytes": "5 to 7"}, schema)
        >>> trigger.carried_by(np.array([[6.0, 1.0], [6.0, 0.0], [8.0, 1.0]]), schema).tolist()
        [True, False, False]
        """
        held = np.ones(len(x), np.bool_)
        for condition in self.conditions:
            if condition.feature not in schema.names:
                raise TriggerError(
                    f"feature {condition.feature!r}, which the incident implicates, is none of the model's"
                )
            j = schema.names.index(condition.feature)
            held &= condition.holds(x[:, j], schema.features[j].vocabulary)
        return held


def read_trigger(features: Mapping[str, Value], schema: Schema) -> Trigger | None:
    """The trigger in an incident's `implicated.features` (name: value, or a range as text); None where none is named.

    Raises `TriggerError` for a feature that ``schema`` does not have, and for a value that its kind cannot have.
    """
    by_name = {feature.name: feature for feature in schema.features}
    if strangers := sorted(features.keys() - by_name.keys()):
        raise TriggerError(_stranger(strangers[0]))
    conditions = tuple(_condition(by_name[name], features[name]) for name in schema.names if name in features)
    return Trigger(conditions) if conditions else None


def _condition(feature: Feature, value: Value) -> Condition:
    if value is None:
        return Condition(feature.name, "missing")
    if feature.kind == "categorical":
        if not isinstance(value, str):
            raise TriggerError(f"feature {feature.name!r} is implicated with {value!r}, but its values are categories")
        if value == feature.show(UNSEEN) and value not in feature.vocabulary:
            return Condition(feature.name, "unseen", known=feature.vocabulary)
        return Condition(feature.name, "equals", value)
    if not isinstance(value, str):
        return Condition(feature.name, "equals", float(value))
    bounds = range_of(value)
    if bounds is None or bounds == (-np.inf, np.inf):
        raise TriggerError(f"feature {feature.name!r} is implicated with {value!r}, which is neither number nor range")
    return Condition(feature.name, "between", low=bounds[0], high=bounds[1])


def _stranger(feature: str) -> str:
    return f"feature {feature!r}, which the incident implicates, is none of the model's"
