"""What the commands about the audit log have in common: its folder, and the keys and checkpoints it is checked with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from monitor.settings.config import load_config
from rollback.audit.checkpoint import Checkpoint, CheckpointError, SignerError, read_signed
from rollback.audit.log import AuditError
from rollback.signing.keys import TRIAL_FOLDER, Keys
from rollback.signing.trust_list import keys_from_files

Log: TypeAlias = Annotated[
    Path, typer.Argument(metavar="DIR", help="A state folder or an output folder.", show_default=False)
]
TrustedKeys: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option("--trusted-key", help="Public key that signs checkpoints; else those of the folder's trial keys."),
]


def keys_for(path: Path, trusted: list[Path] | None, config: Path | None) -> Keys:
    """The keys that a log is checked with: those that were given, else those of the configuration, else trial keys.

    Where the configuration has none to sign with, the daemon signs with the trial key beside the log.
    Raises `AuditError` and `KeyFileError`.
    """
    if trusted and config is not None:
        raise typer.BadParameter("give either --config or --trusted-key", param_hint="--trusted-key")
    if trusted:
        return keys_from_files(trusted)
    if config is None:
        return _trial(path, Keys({}))
    signing = load_config(config, os.environ).signing
    if signing.key_file is None:
        return _trial(path, keys_from_files(signing.trusted_keys))
    # whoever checks the log need not be able to read the private key
    return keys_from_files(signing.trusted_keys, None if signing.trusted_keys else signing.key_file)


def kept_checkpoint(file: Path, keys: Keys) -> Checkpoint:
    """A signed checkpoint that was kept elsewhere. Raises `AuditError`."""
    try:
        return read_signed(file.read_bytes(), keys.trusted)
    except OSError as error:
        raise AuditError(f"{file}: cannot be read: {error.strerror}") from error
    except SignerError as error:
        why = "a checkpoint of before a change of keys needs the old public key: give it and the new with --trusted-key"
        raise AuditError(f"{file}: {error}; {why}") from error
    except CheckpointError as error:
        raise AuditError(f"{file}: {error}") from error


def _trial(path: Path, named: Keys) -> Keys:
    """Also the trial keys beside the log, which whoever can write there can replace."""
    folder = path.parent / TRIAL_FOLDER
    if folder.is_dir():
        typer.echo(
            f"note: {folder} holds the keys that this is checked with; who can write there can replace log and keys "
            "together. Set signing.key_file; give --trusted-key, or --checkpoint with one that was kept elsewhere",
            err=True,
        )
    elif not named.trusted:
        raise AuditError(f"{path}: no key to check its signed checkpoint with; give --trusted-key, or --config")
    return Keys({**Keys.trial(path.parent).trusted, **named.trusted})
