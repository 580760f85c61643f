"""`tocsin audit reseal`: the audit log goes on with another signing key."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from monitor.audit_keys import unusable
from monitor.cli.audit_options import Log, kept_checkpoint
from monitor.cli.output import show
from monitor.cli.who import user_name
from monitor.settings.config import load_config
from rollback.audit.log import FILE_NAME, AuditError
from rollback.audit.reseal import Change, reseal
from rollback.signing.keys import KeyFileError, Keys, SigningKey, read_public_key
from rollback.signing.trust_list import keys_from_files, refused_now


def reseal_log(
    folder: Log,
    old_key: Annotated[
        Path, typer.Option("--old-key", help="Public key (PEM) that signed until now.", show_default=False)
    ],
    config: Annotated[
        Path, typer.Option("--config", help="The daemon's configuration: signing.key_file signs from now on.")
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.", show_default=False)],
    by: Annotated[str | None, typer.Option("--by", help="Who does it; your user name unless said.")] = None,
    kept: Annotated[
        list[Path] | None,
        typer.Option("--checkpoint", help="A checkpoint by the old key, kept elsewhere; may be given more than once."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Let the audit log go on with another signing key, after the old one was revoked, or is not trusted any more.

    The whole log is verified with the old key, which is named here and trusted for nothing else. A record of the change
    is appended, and the checkpoint signed with the new key. Stop the daemon first. Who has the old key may have written
    the log anew: give checkpoints that were kept elsewhere (the SIEM, kafka.audit_topic) to find that.

    Example: tocsin audit reseal state --old-key keys/old.pub.pem --config tocsin.yaml --reason "laptop stolen"
    """
    path = folder / FILE_NAME if folder.is_dir() else folder
    if not path.is_file():
        raise AuditError(f"{path}: there is no audit log")
    old, new = read_public_key(old_key), _own(config)
    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    believed = Keys({old.key_id: old})
    checkpoints = [kept_checkpoint(file, believed) for file in kept or []]
    if not checkpoints:
        typer.echo("note: no --checkpoint was given: a log written anew with the old key passes for it", err=True)
    found = reseal(path, Change(old, new, by or user_name(), reason), time.time, checkpoints)
    ids = {"old_key": old.key_id, "new_key": new.public.key_id}
    text = f"{path}: {found.records} records verified with key {old.key_id}; key {new.public.key_id} signs from now on"
    show({"resealed": True, "records": found.records, **ids}, as_json=as_json, text=text)


def _own(config: Path) -> SigningKey:
    settings = load_config(config, os.environ)
    keys = keys_from_files(settings.signing.trusted_keys, settings.signing.key_file)
    if keys.signing is None:
        raise KeyFileError(f"{config}: signing.key_file is missing: name the key that is to sign from now on")
    if why := refused_now(keys, datetime.now(UTC)):
        raise KeyFileError(unusable(settings, why))
    return keys.signing
