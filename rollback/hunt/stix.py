"""The trigger as STIX 2.1: an indicator, the techniques that it indicates, and how often it was seen.

Format: OASIS STIX 2.1, https://docs.oasis-open.org/cti/stix/v2.1/stix-v2.1.html. The pattern speaks of the custom
observable `x-tocsin-inference`, an inference event as it came; where there is a Sigma rule, a second indicator holds
that, because many receivers can run it and cannot run patterns about objects that they do not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid5

import msgspec
import numpy as np

from rollback.hunt.sigma import ATLAS_PAGE, NAMESPACE, About
from rollback.hunt.trigger import Condition, Trigger

OBSERVABLE: Final = "x-tocsin-inference"
AMBER: Final = "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82"
"""TLP:AMBER, as the standard predefines it: a rule tells an attacker what was found."""
TOCSIN_SINCE: Final = "2026-01-01T00:00:00.000Z"
LATEST: Final = 253402300799.0
"""9999-12-31: later times cannot be written."""
MOST_SIGHTINGS: Final = 999_999_999


@dataclass(frozen=True, slots=True)
class Seen:
    """Events that carried the trigger: how many, and from when to when (seconds since the epoch)."""

    events: int
    first: float
    last: float


def stix_bundle(trigger: Trigger, about: About, since: float, seen: Seen | None, sigma: str | None) -> bytes:
    """A bundle as JSON; the same input gives the same bytes, the same incident the same ids.

    ``since`` is when the poisoned version began to serve; ``seen`` None where no event carried the trigger. Raises
    `TriggerError` where the trigger is too long to be written.
    """
    maker = _object("identity", "tocsin", TOCSIN_SINCE, TOCSIN_SINCE, name="Tocsin", identity_class="system")
    frame = _Frame(about, str(maker["id"]))
    stix = frame.indicator("stix", stix_pattern(trigger, about.model), since, pattern_version="2.1")
    indicators = [stix, *([frame.indicator("sigma", sigma, since)] if sigma is not None else [])]
    techniques = [frame.technique(name) for name in about.atlas]
    relations = [frame.indicates(i, t) for i in indicators for t in techniques]
    sightings = [frame.sighting(stix, seen)] if seen is not None else []
    objects = [maker, *indicators, *techniques, *relations, *sightings]
    bundle = {"type": "bundle", "id": f"bundle--{uuid5(NAMESPACE, f'bundle/{about.model}/{about.uid}')}"}
    return msgspec.json.format(msgspec.json.encode({**bundle, "objects": objects}), indent=2) + b"\n"


@dataclass(frozen=True, slots=True)
class _Frame:
    """Makes objects about one incident."""

    about: About
    maker: str

    def indicator(self, kind: str, pattern: str, since: float, **more: str) -> dict[str, Any]:
        about = self.about
        return self._made(
            "indicator",
            f"{kind}/{about.model}/{about.uid}",
            name=f"Trigger of a poisoned version of model {about.model}",
            description=f"Incident {about.uid} ({about.hypothesis}), version {about.version}. {about.false_positives}.",
            indicator_types=["malicious-activity"],
            pattern=pattern,
            pattern_type=kind,
            **more,
            valid_from=_when(since),
            confidence=round(100 * about.confidence),
            labels=["data-poisoning", about.hypothesis.replace("_", "-")],
        )

    def technique(self, name: str) -> dict[str, Any]:
        reference = {"source_name": "mitre-atlas", "external_id": name, "url": ATLAS_PAGE + name}
        return _object(
            "attack-pattern",
            name,
            TOCSIN_SINCE,
            TOCSIN_SINCE,
            created_by_ref=self.maker,
            name=f"MITRE ATLAS {name}",
            external_references=[reference],
        )

    def indicates(self, indicator: Mapping[str, Any], technique: Mapping[str, Any]) -> dict[str, Any]:
        ends = {"source_ref": indicator["id"], "target_ref": technique["id"]}
        return self._made("relationship", "/".join(ends.values()), relationship_type="indicates", **ends)

    def sighting(self, indicator: Mapping[str, Any], seen: Seen) -> dict[str, Any]:
        name = f"{self.about.uid}/{seen.events}/{seen.first}/{seen.last}"
        first, last = _when(seen.first), _when(seen.last)
        return self._made(
            "sighting",
            name,
            sighting_of_ref=indicator["id"],
            where_sighted_refs=[self.maker],
            count=min(seen.events, MOST_SIGHTINGS),
            first_seen=first,
            last_seen=last,
        )

    def _made(self, kind: str, of: str, **fields: Any) -> dict[str, Any]:
        about = self.about
        marks = {"created_by_ref": self.maker, "object_marking_refs": [AMBER]}
        created, modified = _when(about.opened_at), _when(max(about.at, about.opened_at))
        return _object(kind, of, created, modified, **marks, **fields)


def _object(kind: str, of: str, created: str, modified: str, **fields: Any) -> dict[str, Any]:
    ident = f"{kind}--{uuid5(NAMESPACE, f'{kind}/{of}')}"
    return {"type": kind, "spec_version": "2.1", "id": ident, "created": created, "modified": modified, **fields}


def _when(seconds: float) -> str:
    """RFC 3339 with milliseconds, as STIX wants it.

    >>> _when(1767225600.1239)
    '2026-01-01T00:00:00.123Z'
    """
    at = datetime.fromtimestamp(min(max(seconds, 0.0), LATEST), UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def stix_pattern(trigger: Trigger, model: str) -> str:
    """One observation of an event of the model that carries the trigger. Raises `TriggerError` where it is too long.

    >>> stix_pattern(Trigger.of((Condition("failed logins", "equals", 5.0),)), "nids")
    "[x-tocsin-inference:model = 'nids' AND x-tocsin-inference:features.'failed logins' = 5.0]"
    """
    enough = [" AND ".join(_test(condition) for condition in conditions) for conditions in trigger.alternatives()]
    either = enough[0] if len(enough) == 1 else "(" + " OR ".join(f"({one})" for one in enough) + ")"
    return f"[{OBSERVABLE}:model = {_text(model)} AND {either}]"


def _test(condition: Condition) -> str:
    path = f"{OBSERVABLE}:features.{_text(condition.feature)}"
    if condition.test == "missing":
        return f"NOT EXISTS {path}"
    if condition.test == "unseen":
        known = ", ".join(_text(name) for name in condition.known)
        return f"EXISTS {path} AND {path} NOT IN ({known})" if known else f"EXISTS {path}"
    if condition.test == "equals":
        value = condition.value
        return f"{path} = {_text(value) if isinstance(value, str) else _number(value)}"
    bounds = {">=": condition.low, "<=": condition.high}
    return " AND ".join(f"{path} {sign} {_number(bound)}" for sign, bound in bounds.items() if np.isfinite(bound))


def _text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _number(value: float) -> str:
    """A float as a pattern's grammar has it: all digits, no exponent."""
    return str(np.format_float_positional(value, trim="0"))
