"""The trigger that an incident implicates, as conditions on features: marked on events, and written in rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal, TypeAlias

import numpy as np

from detectors.batch import Bools, Floats
from detectors.nulls.itemsets import Mining, range_of
from detectors.schema import UNSEEN, Feature, Schema

Value: TypeAlias = str | float | bool | None
Test: TypeAlias = Literal["equals", "between", "missing", "unseen"]

MOST_ALTERNATIVES: Final = 200


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
    """Conditions of which ``needed`` have to hold; the rules say the same, so what they find is what is marked.

    As in `Mining.match`, not all of many have to: what an incident names was shared by most carriers, not by each.
    """

    conditions: tuple[Condition, ...]
    needed: int

    def __post_init__(self) -> None:
        if not 1 <= self.needed <= len(self.conditions):
            raise ValueError(f"of {len(self.conditions)} conditions {self.needed} cannot be needed")

    @staticmethod
    def of(conditions: tuple[Condition, ...]) -> Trigger:
        """At least one condition; the share `Mining.match` of them has to hold: all of up to six."""
        return Trigger(conditions, math.ceil(Mining().match * len(conditions) - 1e-9))

    def carried_by(self, x: Floats, schema: Schema) -> Bools:
        """Which of the rows x[n, d], coded by ``schema``, carry it. Raises `TriggerError`.

        >>> service = Feature("service", "categorical", ("http", "dns"))
        >>> schema = Schema((Feature("bytes"), service), ("attack", "benign"))
        >>> trigger = read_trigger({"service": "dns", "bytes": "5 to 7"}, schema)
        >>> trigger.carried_by(np.array([[6.0, 1.0], [6.0, 0.0], [8.0, 1.0]]), schema).tolist()
        [True, False, False]
        """
        held = np.zeros(len(x), np.int64)
        for condition in self.conditions:
            if condition.feature not in schema.names:
                raise TriggerError(_stranger(condition.feature))
            j = schema.names.index(condition.feature)
            held += condition.holds(x[:, j], schema.features[j].vocabulary)
        return np.asarray(held >= self.needed, np.bool_)

    def alternatives(self) -> list[tuple[Condition, ...]]:
        """The sets of conditions of which one has to hold as a whole: for forms that know `and` and `or` alone.

        Raises `TriggerError` where there are more than 200.
        """
        if math.comb(len(self.conditions), self.needed) > MOST_ALTERNATIVES:
            raise TriggerError(
                f"{self.needed} of {len(self.conditions)} values have to hold, which is too long for a rule"
            )
        return list(combinations(self.conditions, self.needed))


def read_trigger(features: Mapping[str, Value], schema: Schema) -> Trigger | None:
    """The trigger in an incident's `implicated.features` (name: value, or a range as text); None where none is named.

    Raises `TriggerError` for a feature that ``schema`` does not have, and for a value that its kind cannot have.
    """
    by_name = {feature.name: feature for feature in schema.features}
    if strangers := sorted(features.keys() - by_name.keys()):
        raise TriggerError(_stranger(strangers[0]))
    conditions = tuple(_condition(by_name[name], features[name]) for name in schema.names if name in features)
    return Trigger.of(conditions) if conditions else None


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
