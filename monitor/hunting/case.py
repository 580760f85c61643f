"""What an incident gives to hunt: which versions' events, and the version that judges them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from monitor.decoding.diagnose import MAX_TS
from monitor.hunting.compared import Compared, HuntError, compare, hunted_versions
from monitor.messages import Incident
from rollback.bundle import Bundle
from rollback.registry.moves import require
from rollback.registry.registry import Registry
from rollback.registry.service import made_from

HUNTED: Final = ("poisoning", "fault", "inconclusive")
"""Families after which a version may have decided wrongly what the last known good one would have decided rightly."""


@dataclass(frozen=True, slots=True)
class Case:
    """The versions that are hunted, oldest first, each beside the last known good one; and what to know about it."""

    incident: Incident
    known_good: str
    versions: tuple[Compared, ...]
    made_from: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def primary(self) -> Compared:
        """The incident's own version, or the newest of those that were asked for."""
        return self.versions[-1]

    @property
    def since(self) -> float | None:
        """When the first of the versions began to serve; None where the registry does not know."""
        return min((v.periods[0].start for v in self.versions if v.periods), default=None)


def open_case(
    registry: Registry, incident: Incident, versions: Sequence[str] = (), known_good: str | None = None
) -> Case:
    """What there is to hunt. ``versions`` and ``known_good`` stand in for those that the incident names.

    Raises `HuntError`, and what the registry raises.
    """
    _huntable(incident)
    order = list(registry.versions())
    good = known_good or incident.last_known_good
    if good is None:
        raise HuntError(f"incident {incident.uid} names no last known good version to judge with; say --known-good V")
    hunted = list(versions) or hunted_versions(order, incident.version, incident.first_poisoned, good)
    if good in hunted:
        raise HuntError(
            f"incident {incident.uid} is about version {good}, which cannot judge itself; name a version that you "
            "trust with --known-good V"
        )
    bundle = registry.load(require(good, order, incident.model))
    compared, notes = _beside(registry, bundle, incident, tuple(dict.fromkeys(hunted)), asked=bool(versions))
    later = [v for v in made_from(registry.history(), hunted) if v in order]
    if incident.family != "poisoning":
        notes.append(
            f"the incident is {incident.family}, no poisoning: what follows is what the versions decide differently; "
            "nobody need have meant it"
        )
    if later:
        notes.append(f"made from what is hunted, and not hunted: {', '.join(later)}; add --version V to hunt them")
    return Case(incident, good, compared, tuple(later), tuple(notes))


def _beside(
    registry: Registry, good: Bundle, incident: Incident, hunted: Sequence[str], *, asked: bool
) -> tuple[tuple[Compared, ...], list[str]]:
    """The versions beside LKG; one before the incident's that cannot be is left out, and said, unless asked for."""
    compared, notes = [], []
    for version in hunted:
        try:
            one = compare(registry, version, good, incident.implicated)
        except HuntError as error:
            if asked or version == hunted[-1]:
                raise
            notes.append(f"not hunted: {error}")
            continue
        compared.append(one)
        notes += one.notes
    return tuple(compared), notes


def _huntable(incident: Incident) -> None:
    what = f"{incident.family}/{incident.hypothesis}" if incident.hypothesis else incident.family
    if incident.status == "retracted":
        raise HuntError(f"incident {incident.uid} was retracted ({what}): by its account nothing was missed")
    if incident.family not in HUNTED:
        raise HuntError(
            f"incident {incident.uid} is {what}: the version is not suspected, so the last known good one would have "
            "missed the same; a hunt is for poisoning"
        )
    if not all(0 <= at <= MAX_TS for at in (incident.opened_at, incident.at)):
        raise HuntError(f"incident {incident.uid}: opened_at {incident.opened_at} or at {incident.at} is no time")
