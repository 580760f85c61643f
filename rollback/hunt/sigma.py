"""The trigger as a Sigma rule, for whichever SIEM holds the inference events.

Format: Sigma specification 2.1, https://sigmahq.io/docs/basics/rules.html. Values come from whoever made the events:
the YAML is written by a library, and what Sigma would read as a wildcard is escaped.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

import numpy as np
import yaml

from rollback.hunt.trigger import Condition, Trigger, TriggerError

NAMESPACE: Final = uuid5(NAMESPACE_URL, "urn:tocsin:hunt")
ATLAS_PAGE: Final = "https://atlas.mitre.org/techniques/"
LEVELS: Final = ((0.001, "high"), (0.01, "medium"), (1.0, "low"))
"""The rule's level, by the largest share of trusted events that it may match."""


class _Quoted(str):
    """A text that is written in double quotes, as no reader of YAML takes it for anything else then."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Knows `_Quoted`."""


_Dumper.add_representer(_Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


class UnsayableError(Exception):
    """A condition cannot be written as a rule; the message says which and why."""


@dataclass(frozen=True, slots=True)
class About:
    """What a rule is about. ``at`` and ``opened_at`` are event time in seconds since the epoch.

    ``matched`` of ``trusted`` rows of the reference carry the trigger, at most the share ``bound`` of such rows with
    95% confidence; ``trusted`` 0 where there is no reference.
    """

    uid: str
    model: str
    version: str
    hypothesis: str
    confidence: float
    opened_at: float
    at: float
    atlas: tuple[str, ...]
    matched: int
    trusted: int
    bound: float

    @property
    def false_positives(self) -> str:
        """How often honest events match, in words."""
        if not self.trusted:
            return "Unknown: the last known good version has no reference to measure it on"
        return (
            f"{self.matched} of {self.trusted} trusted reference rows match "
            f"(at most {self.bound:.2%} of such events, with 95% confidence)"
        )

    @property
    def level(self) -> str:
        """How much a match says."""
        return next(level for share, level in LEVELS if self.bound <= share)


def sigma_rule(trigger: Trigger, about: About) -> str:
    """The rule as YAML; the same incident has the same rule id. Raises `UnsayableError`."""
    rule = {
        "title": f"Trigger Of A Poisoned Version Of Model {about.model[:40]}",
        "id": str(rule_id(about)),
        "status": "experimental",
        "description": (
            f"Events that carry the trigger by which version {about.version} of model {about.model} was made to decide "
            f"wrongly ({about.hypothesis}), as incident {about.uid} of Tocsin names it. {about.false_positives}."
        ),
        "references": ["urn:tocsin:incident:" + about.uid, *(ATLAS_PAGE + technique for technique in about.atlas)],
        "author": "Tocsin",
        "date": datetime.fromtimestamp(about.at, UTC).date().isoformat(),
        "tags": ["detection.threat-hunting"],
        "logsource": {
            "category": "inference",
            "product": "tocsin",
            "definition": "Inference events (tocsin.inference.v1, features as an object by name), one document each",
        },
        "detection": _detection(trigger, about.model),
        "fields": ["id", "source", "session", "version", "ref"],
        "falsepositives": [about.false_positives],
        "level": about.level,
    }
    return str(yaml.dump(rule, Dumper=_Dumper, sort_keys=False, width=120))


def rule_id(about: About) -> UUID:
    """The same for the same model and incident."""
    return uuid5(NAMESPACE, f"sigma/{about.model}/{about.uid}")


def _detection(trigger: Trigger, model: str) -> dict[str, Any]:
    """One selection for each set of conditions that is enough, and filters of what is known where that is no match."""
    filters = {c.feature: f"filter_main_{i}" for i, c in enumerate(c for c in trigger.conditions if c.test == "unseen")}
    enough = _alternatives(trigger)
    selections: dict[str, Any] = {}
    wanted = []
    for number, conditions in enumerate(enough):
        name = "trigger" if len(enough) == 1 else f"trigger_{number}"
        selections[name] = {"model": escaped(model)}
        for condition in conditions:
            if condition.test != "unseen":
                selections[name] |= _selected(_field(condition.feature), condition)
        wanted.append(" and not ".join([name, *(filters[c.feature] for c in conditions if c.test == "unseen")]))
    for condition in trigger.conditions:
        if condition.test == "unseen":
            selections[filters[condition.feature]] = _known(condition)
    if len(wanted) > 1 and not filters:
        return {**selections, "condition": "1 of trigger_*"}
    return {**selections, "condition": wanted[0] if len(wanted) == 1 else " or ".join(f"({one})" for one in wanted)}


def _alternatives(trigger: Trigger) -> list[tuple[Condition, ...]]:
    try:
        return trigger.alternatives()
    except TriggerError as error:
        raise UnsayableError(str(error)) from error


def _known(condition: Condition) -> list[dict[str, Any]]:
    """What an unseen category is not: missing, or one of the categories that the version knows."""
    field, names = _field(condition.feature), [escaped(value) for value in condition.known]
    return [*([{field: names}] if names else []), {field: None}]


def _selected(field: str, condition: Condition) -> dict[str, Any]:
    if condition.test == "missing":
        return {field: None}
    if condition.test == "equals":
        value = condition.value
        return {field: escaped(value) if isinstance(value, str) else _number(value)}
    bounds = {"gte": condition.low, "lte": condition.high}
    return {f"{field}|{name}": _number(bound) for name, bound in bounds.items() if np.isfinite(bound)}


def _field(feature: str) -> str:
    if "|" in feature or not feature.isprintable():
        raise UnsayableError(f"feature {feature!r}: Sigma has no way to write a field of this name; rename the feature")
    return f"features.{feature}"


def _number(value: float) -> int | float:
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else float(value)


def escaped(text: str) -> _Quoted:
    r"""A text as a Sigma value that matches this text alone.

    Raises `UnsayableError` for control characters, which would come into a query as they are.

    >>> print(escaped(r"a*b?c\d"))
    a\*b\?c\\d
    """
    if not text.isprintable():
        raise UnsayableError(f"value {text[:60]!r} holds characters that cannot be printed")
    return _Quoted("".join("\\" + letter if letter in "\\*?" else letter for letter in text))
