"""Writes the trigger as rules for the SIEM, with how often they match what is known to be honest."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypedDict

from detectors.sequential import upper_bound
from monitor.hunting.case import Case
from monitor.hunting.messages import Containment
from rollback.durable import replace_file
from rollback.hunt.sigma import About, UnsayableError, sigma_rule
from rollback.hunt.stix import Seen, stix_bundle
from rollback.hunt.trigger import TriggerError

SIGMA: Final = "rule.sigma.yml"
STIX: Final = "indicator.stix.json"


class _Figures(TypedDict):
    matched: int
    trusted: int
    bound: float


def write_rules(case: Case, seen: Seen | None, folder: Path) -> Containment:
    """`rule.sigma.yml` and `indicator.stix.json`, where there is a trigger to write."""
    incident, trusted, trigger = case.incident, case.primary.trusted, case.primary.trigger
    bound = float(upper_bound(trusted.matched, trusted.rows)) if trusted.rows else 1.0
    figures: _Figures = {"matched": trusted.matched, "trusted": trusted.rows, "bound": bound}
    features = dict(incident.implicated.features)
    if trigger is None:
        why = "what it implicates cannot be looked for" if features else "the incident implicates no feature values"
        return Containment(features=features, sigma=None, stix=None, **figures, reason=f"no rule: {why}")
    about = About(
        uid=incident.uid,
        model=incident.model,
        version=incident.version,
        hypothesis=incident.hypothesis or incident.family,
        confidence=incident.confidence,
        opened_at=incident.opened_at,
        at=incident.at,
        atlas=tuple(incident.atlas),
        **figures,
    )
    reasons, rule, bundle = [], None, None
    try:
        rule = sigma_rule(trigger, about)
        replace_file(folder / SIGMA, rule.encode())
    except UnsayableError as error:
        reasons.append(f"no Sigma rule: {error}")
    try:
        since = incident.opened_at if case.since is None else case.since
        bundle = stix_bundle(trigger, about, since, seen, rule)
        replace_file(folder / STIX, bundle)
    except TriggerError as error:
        reasons.append(f"no STIX indicator: {error}")
    return Containment(
        features=features,
        sigma=SIGMA if rule else None,
        stix=STIX if bundle else None,
        **figures,
        reason="; ".join(reasons),
    )
