"""Which keys are used, and what has changed about them, for the audit log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog

from monitor.inbox import KeysRead
from monitor.settings.config import Config
from rollback.audit.log import AuditLog, read_records
from rollback.signing.keys import TRIAL_FOLDER, Keys, PublicKey
from rollback.signing.trust_list import keys_from_files

log = structlog.get_logger()

KEYS: Final = "keys"
START: Final = "start"
SOON: Final = timedelta(days=30)
"""So long before a key expires it is said."""


def key_ids(config: Config, now: datetime | None = None) -> dict[str, Any]:
    """Which keys are used: the one that signs, those that are trusted, and those of them that are not believed ``now``.

    Raises `KeyFileError`.
    """
    keys = keys_from_files(config.signing.trusted_keys, config.signing.key_file)
    signer = None if keys.signing is None else keys.signing.public.key_id
    lapsed = {key.key_id: lapse(key, now or datetime.now(UTC)) for key in keys.trusted.values()}
    refused = {key_id: why for key_id, why in sorted(lapsed.items()) if why}
    return {"signing_key": signer, "trusted_keys": sorted(keys.trusted), "refused_keys": refused}


def lapse(key: PublicKey, now: datetime) -> str:
    """That a key was revoked or has expired, empty where it has not."""
    if key.revoked:
        return f"revoked {key.revoked}"
    over = key.valid_until is not None and now > key.valid_until
    return f"expired {key.valid_until.isoformat()}" if over and key.valid_until is not None else ""


def key_notes(config: Config, now: datetime) -> Iterator[str]:
    """What is worth saying about the keys though a daemon runs with them. Raises `KeyFileError`."""
    keys = keys_from_files(config.signing.trusted_keys, config.signing.key_file)
    if keys.signing is None:
        yield (
            "signing.key_file is missing: nothing that is retrained can be signed, and the audit log's checkpoints are "
            f"signed with a trial key in {config.state_dir / TRIAL_FOLDER}, which whoever can write there can replace"
        )
    yield from lapses(keys, now)


def lapses(keys: Keys, now: datetime) -> Iterator[str]:
    """The trusted keys that are not believed ``now``, or soon will not be."""
    for key in keys.trusted.values():
        if why := lapse(key, now):
            yield f"key {key.key_id} is not believed: {why}"
        elif key.valid_until is not None and key.valid_until - now < SOON:
            yield f"key {key.key_id} expires on {key.valid_until.isoformat(timespec='seconds')}"


class KeyBook:
    """Keeps in the audit log which keys there are when that has changed, since the start of the daemon or later."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._known: dict[str, Any] | None = None

    def note(self, found: KeysRead) -> None:
        """Append a record of kind `KEYS` with all keys and what has ``changed``, if anything has."""
        if self._known is None:
            self._known = _last_known(self._audit)
        changes = [*_changes(self._known, found.keys)]
        if not changes:
            return
        log.warning("the keys have changed; a daemon believes them as they were at its start", changes=changes)
        self._audit.append(KEYS, {**found.keys, "changed": changes})
        self._known = {**found.keys}


def _last_known(audit: AuditLog) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for record in read_records(audit.path):
        if record.kind in {START, KEYS}:
            known = record.body
    return known


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    old, new = set(before.get("trusted_keys", ())), set(now["trusted_keys"])
    yield from (f"key {key_id} is trusted" for key_id in sorted(new - old))
    yield from (f"key {key_id} is not named any more" for key_id in sorted(old - new))
    refused: Mapping[str, str] = before.get("refused_keys", {})
    for key_id, why in now["refused_keys"].items():
        if refused.get(key_id) != why:
            yield f"key {key_id} is not believed any more: {why}"
    for key_id in sorted(set(refused) & new - set(now["refused_keys"])):
        yield f"key {key_id} is believed again, which was {refused[key_id]}"
    if before.get("signing_key") != now["signing_key"]:
        yield f"the signing key is {now['signing_key']}, and was {before.get('signing_key')}"
