"""`tocsin audit`: whether the audit log is what was written, and proofs of what is in it."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from monitor.audit_keys import audit_keys
from monitor.cli.audit_options import Log, TrustedKeys, kept_checkpoint, keys_for
from monitor.cli.audit_reseal import reseal_log
from monitor.cli.output import show
from monitor.cli.registry_options import By, Name, Root, open_registry
from monitor.cli.who import user_name
from monitor.incidents.explain import printable
from monitor.settings.config import load_config
from rollback.audit.anchors import Anchors
from rollback.audit.extract import check_extract, concerns, extract
from rollback.audit.log import FILE_NAME, AuditError, AuditLog, Record, checkpoint_of, read_records, read_while_written
from rollback.audit.verification import Verified, prove, prove_growth, verify
from rollback.durable import replace_file
from rollback.signing.keys import Keys
from rollback.signing.trust_list import keys_from_files

LONGEST: Final = 200

app = typer.Typer(no_args_is_help=True)
app.command("reseal")(reseal_log)


@app.callback()
def audit() -> None:
    """Verify the audit log, and prove what is in it."""


@app.command("verify")
def verify_folder(
    folder: Log,
    head: Annotated[
        str | None, typer.Option("--head", help="Hash of a record that must be there: finds a cut-off end.")
    ] = None,
    trusted: TrustedKeys = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="The daemon's configuration: its keys are the ones that count.")
    ] = None,
    kept: Annotated[
        list[Path] | None,
        typer.Option("--checkpoint", help="A signed checkpoint that was kept elsewhere; may be given more than once."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check every audit log in a folder: edited, removed, reordered and cut-off records are found, and named.

    DIR may also be a file that tocsin audit export has written. The log and its checkpoint are checked against each
    other. Who can write to the folder and has the key can replace
    both: give a checkpoint that was kept elsewhere (--checkpoint) to find that too.

    Example: tocsin audit verify state
    """
    if folder.is_file() and folder.suffix == ".json":
        _verify_extract(folder, trusted, as_json=as_json)
        return
    found = {}
    for path in _logs(folder):
        keys = keys_for(path, trusted, config)
        found[str(path)] = verify(path, head, keys, [kept_checkpoint(file, keys) for file in kept or []])
    text = "\n".join(f"{path}: {_told(each)}" for path, each in found.items())
    shown: dict[str, Any] = {
        "verified": True,
        "records": {path: each.records for path, each in found.items()},
        "signed": {path: each.signed for path, each in found.items()},
        "root": {path: each.root.hex() for path, each in found.items()},
    }
    show(shown, as_json=as_json, text=text)


@app.command("prove")
def prove_record(
    folder: Log,
    number: Annotated[int | None, typer.Argument(metavar="RECORD", help="Its number, from 0.")] = None,
    since: Annotated[
        int | None, typer.Option("--since", help="Instead: that the log still begins with its first so many records.")
    ] = None,
) -> None:
    """Print a proof that a record is in the log: whoever has the log's root can check it without the log (RFC 6962).

    With --since the proof is one of consistency: the log of that many records, whose root somebody may have kept (in a
    checkpoint), is the beginning of the log as it is now.

    Example: tocsin audit prove state 17
    """
    (path,) = _logs(folder)[:1]
    if since is not None and number is None:
        grown = prove_growth(path, since)
        ends = {"first": grown.first, "first_root": grown.first_root.hex(), "size": grown.size}
        show({**ends, "root": grown.root.hex(), "path": [step.hex() for step in grown.path]}, as_json=True, text="")
        return
    if number is None or since is not None:
        raise typer.BadParameter("say which record, or how many the log had (--since)", param_hint="RECORD")
    proof = prove(path, number)
    told = {
        "record": msgspec.to_builtins(proof.record),
        "leaf": proof.record.line().decode(),
        "index": number,
        "size": proof.size,
        "root": proof.root.hex(),
        "path": [step.hex() for step in proof.path],
    }
    show(told, as_json=True, text="")


@app.command("accept-history")
def accept_history(
    folder: Log,
    *,
    registry: Root,
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="Why it is another one; it is kept.", show_default=False)],
    by: By = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="The daemon's configuration: its key signs the log's checkpoint.")
    ] = None,
) -> None:
    """Accept a registry's history that is not the one which the audit log holds, after looking into it.

    Until then nothing is promoted and nothing rolled back: a quarantine may have been written out of it. The daemon
    must not be running.

    Example: tocsin audit accept-history state --registry registry --name nids --reason "restored from a backup"
    """
    (path,) = _logs(folder)[:1]
    history = open_registry(registry, name).history()
    keys = Keys.trial(path.parent) if config is None else audit_keys(load_config(config, os.environ))
    if keys.signing is None and checkpoint_of(path).exists():
        raise AuditError(f"{path}: its checkpoint is signed: give --config, whose signing.key_file goes on with it")
    log = AuditLog(path, time.time, keys if keys.signing else None)
    try:
        Anchors(read_records(path)).accept(name, history, by or user_name(), reason, log)
    finally:
        log.close()
    typer.echo(f"accepted: {len(history)} entries of the history of {name}")


@app.command("show")
def show_records(
    folder: Log,
    incident: Annotated[str | None, typer.Option("--incident", help="Only what is about this incident (uid).")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Only records of this kind.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print whole records as JSON.")] = False,
) -> None:
    """Show what the audit log holds, every record checked against the one before.

    Example: tocsin audit show state --incident 4f2a1b
    """
    (path,) = _logs(folder)[:1]
    wanted = [r for r in read_while_written(path) if _wanted(r, incident, kind)]
    if as_json:
        show([msgspec.to_builtins(record) for record in wanted], as_json=True)
        return
    for record in wanted:
        at = datetime.fromtimestamp(record.at, UTC).isoformat(timespec="seconds")
        typer.echo(f"{record.number} {at} {record.kind}: {_short(record)}")
    if not wanted:
        typer.echo("no such record")


@app.command("export")
def export(
    folder: Log,
    out: Annotated[Path, typer.Option("--out", help="The file to write (JSON).", show_default=False)],
    incident: Annotated[str | None, typer.Option("--incident", help="Only what is about this incident (uid).")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Only records of this kind.")] = None,
) -> None:
    """Write records with the proofs that they are in the log, and its signed checkpoint: for whoever has no access.

    tocsin audit verify FILE checks it, with nothing but the public key.

    Example: tocsin audit export state --incident 4f2a1b --out incident.json
    """
    (path,) = _logs(folder)[:1]
    content = extract(path, lambda record: _wanted(record, incident, kind))
    replace_file(out, content)
    count = content.count(b'"line":')
    typer.echo(f"{out}: {count} records")


def _verify_extract(file: Path, trusted: list[Path] | None, *, as_json: bool) -> None:
    if not trusted:
        raise AuditError(f"{file}: no key to check this extract with; give --trusted-key")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise AuditError(f"{file}: cannot be read: {error.strerror}") from error
    checkpoint, records = check_extract(content, keys_from_files(trusted).trusted, str(file))
    text = f"{file}: {len(records)} records, each proved to be in the log of {checkpoint.size} ({checkpoint.origin})"
    result = {"verified": True, "records": [r.number for r in records], "size": checkpoint.size}
    show({**result, "root": checkpoint.root.hex()}, as_json=as_json, text=text)


def _wanted(record: Record, incident: str | None, kind: str | None) -> bool:
    return (incident is None or concerns(record, incident)) and (kind is None or record.kind == kind)


def _short(record: Record) -> str:
    """The record's body in one line, without what is long."""
    case = record.body.get("case")
    if isinstance(case, dict):
        event = record.body.get("event", "opened")
        detail = f" ({case['detail']})" if case["detail"] else ""
        return printable(f"{case['key']}: {event}, {case['phase']}{detail}")
    text = printable(msgspec.json.encode(record.body).decode())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... (--json shows all of it)"


def _logs(folder: Path) -> list[Path]:
    logs = sorted(folder.rglob(FILE_NAME)) if folder.is_dir() else [folder]
    if not logs:
        raise AuditError(f"{folder}: no {FILE_NAME} in this folder")
    return logs


def _told(found: Verified) -> str:
    signed = "no checkpoint was checked" if found.signed is None else f"{found.signed} of them signed"
    return f"{found.records} records, chain intact, {signed}"
