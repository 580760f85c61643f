"""What goes into the audit log besides the response: the configuration, what a registry holds, what a hunt found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final, Protocol

import msgspec
import structlog

from monitor.decoding.quarantine import Quarantine
from monitor.inbox import Hunted, KeysRead, RegistryChecked, ServedOtherwise
from monitor.incidents.dismissals import Dismissal
from monitor.key_use import KeyBook
from monitor.settings.config import Config
from monitor.verification_record import VerificationRecord
from rollback.audit.anchors import Anchors
from rollback.audit.log import AuditLog, read_records
from rollback.response.policy import Mode

log = structlog.get_logger()

CONFIGURATION: Final = "configuration"
HUNT: Final = "hunt"
DISMISSED: Final = "incident_closed"
"""Kind of record: an operator has closed an incident."""
EVERY_SECONDS: Final = 60.0


def note_configuration(config: Config, mode: Mode, audit: AuditLog) -> None:
    """Write the configuration as it holds now, with ``mode``, unless it is as it was the last time.

    It holds no secrets, only the paths of their files.
    """
    settings: dict[str, Any] = {**config.model_dump(mode="json"), "mode": mode}
    digest = hashlib.sha256(msgspec.json.encode(settings, order="sorted")).hexdigest()
    before = [record for record in read_records(audit.path) if record.kind == CONFIGURATION]
    if not before or before[-1].body["sha256"] != digest:
        audit.append(CONFIGURATION, {"sha256": digest, "settings": settings})


class Recording(Protocol):
    """Hears of what scheduled jobs have found."""

    def served(self, found: ServedOtherwise) -> None:
        """An endpoint does not serve what it should."""

    def checked(self, found: RegistryChecked) -> None:
        """A registry was verified."""

    def hunted(self, found: Hunted) -> None:
        """Somebody has hunted."""

    def dismissed(self, order: Dismissal) -> None:
        """An operator orders to close an incident."""

    def keys(self, found: KeysRead) -> None:
        """The files of keys were read."""


class QuarantineBook:
    """Keeps how many messages could not be read, by reason, when that has changed; `quarantine.ndjson` holds them.

    At most one record in `EVERY_SECONDS` of ``clock``: who floods a topic with garbage must not flood the audit log.
    """

    def __init__(self, quarantine: Quarantine, audit: AuditLog, clock: Callable[[], float]) -> None:
        self._quarantine = quarantine
        self._audit = audit
        self._clock = clock
        self._noted: dict[str, int] = {}
        self._noted_at = -EVERY_SECONDS

    def look(self) -> None:
        """Note what is new, if it is time."""
        if self._clock() - self._noted_at >= EVERY_SECONDS:
            self.close()

    def close(self) -> None:
        """Note what is new."""
        now = self._quarantine.by_reason
        if now != self._noted:
            self._audit.append("quarantine", {"messages": now})
            self._noted, self._noted_at = now, self._clock()


class FindingsBook:
    """Keeps what is found beside the loop: versions that are not what they were, a history written anew, hunts."""

    def __init__(self, anchors: Anchors, audit: AuditLog) -> None:
        self._anchors = anchors
        self._audit = audit
        self._record = VerificationRecord(audit.append)
        self._keys = KeyBook(audit)
        self._hunts: dict[str, str] | None = None
        self._orders: set[str] | None = None

    def served(self, found: ServedOtherwise) -> None:
        """Note an endpoint that does not serve what it should."""
        self._record.served(found)

    def checked(self, found: RegistryChecked) -> None:
        """Note what is new, and say what is wrong."""
        if found.known_good_failed:
            why = found.failed[found.last_known_good or ""]
            log.error("the last known good version fails verification: a rollback would halt", reason=why)
        self._record.checked(found)
        if problem := self._anchors.notice(found.model, found.versions, found.history, self._audit):
            log.error("the registry's history was written anew", model=found.model, problem=problem)

    def keys(self, found: KeysRead) -> None:
        """Note keys that were trusted, revoked or exchanged."""
        self._keys.note(found)

    def dismissed(self, order: Dismissal) -> None:
        """Note the order, unless the log holds it."""
        if self._orders is None:
            noted = (record.body for record in read_records(self._audit.path) if record.kind == DISMISSED)
            self._orders = {body["order"] for body in noted}
        if order.id not in self._orders:
            self._orders.add(order.id)
            about = {"incident": order.incident.uid, "by": order.by, "reason": order.reason, "order": order.id}
            self._audit.append(DISMISSED, {**about, "given_at": order.given_at})

    def hunted(self, found: Hunted) -> None:
        """Note what a hunt has found, unless it is what the log holds of it."""
        if self._hunts is None:
            told = [record.body for record in read_records(self._audit.path) if record.kind == HUNT]
            self._hunts = {body["incident"]: body["sha256"] for body in told}
        if self._hunts.get(found.incident) != found.sha256:
            self._hunts[found.incident] = found.sha256
            self._audit.append(HUNT, asdict(found))
