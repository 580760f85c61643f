"""Which keys the audit log's checkpoints are signed with, and checked with, by the configuration."""

from __future__ import annotations

from datetime import UTC, datetime

from monitor.settings.config import Config
from rollback.audit.log import FILE_NAME, how_to_reseal, read_checkpoint
from rollback.signing.keys import TRIAL_FOLDER, KeyFileError, Keys
from rollback.signing.trust_list import keys_from_files, refused_now


def audit_keys(config: Config, now: datetime | None = None) -> Keys:
    """What checkpoints are signed with: the configured key, else a trial key in the state folder, made on first use.

    Raises `KeyFileError`, also for a key that is not trusted, revoked or expired ``now``.
    """
    keys = keys_to_check(config)
    if config.signing.key_file is None:
        trial = Keys.trial(config.state_dir, make=True)
        keys = Keys({**trial.trusted, **keys.trusted}, trial.signing)
    if why := refused_now(keys, now or datetime.now(UTC)):
        raise KeyFileError(unusable(config, why))
    return keys


def keys_to_check(config: Config) -> Keys:
    """What checkpoints are checked with; makes nothing. Raises `KeyFileError`.

    Without a key of its own a daemon signs with the trial key beside the log: then that one is believed, too.
    """
    signing = config.signing
    if signing.key_file is not None:
        return keys_from_files(signing.trusted_keys, signing.key_file)
    return Keys({**Keys.trial(config.state_dir).trusted, **keys_from_files(signing.trusted_keys).trusted})


def unusable(config: Config, why: str) -> str:
    """What to say, and to do, where the own key is not to be believed."""
    place = config.signing.key_file or config.state_dir / TRIAL_FOLDER
    return (
        f"{place}: nothing would believe what it signs: {why}; make another (tocsin keys generate --trust), name it as "
        f"signing.key_file; {how_to_reseal(config.state_dir)}"
    )


def objection(config: Config, now: datetime) -> str:
    """Why `tocsin run` would not sign, or not open the log that there is, with these keys; empty where it would.

    Raises `KeyFileError`, and `rollback.audit.log.AuditError` for a checkpoint that is signed by none of them.
    """
    keys = keys_to_check(config)
    if why := refused_now(keys, now):
        return unusable(config, why)
    read_checkpoint(config.state_dir / FILE_NAME, keys)
    return ""
