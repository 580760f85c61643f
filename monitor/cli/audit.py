"""`tocsin audit`: whether the audit log is what was written, and proofs of what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from monitor.cli.output import show
from rollback.audit.checkpoint import Checkpoint, CheckpointError, read_signed
from rollback.audit.log import FILE_NAME, AuditError
from rollback.audit.verification import Verified, prove, verify
from rollback.keys import TRIAL_FOLDER, Keys
from rollback.trust_list import keys_from_files

app = typer.Typer(no_args_is_help=True)

Log = Annotated[Path, typer.Argument(metavar="DIR", help="A state folder or an output folder.", show_default=False)]
TrustedKeys = Annotated[
    list[Path] | None,
    typer.Option("--trusted-key", help="Public key that signs checkpoints; else those of the folder's trial keys."),
]


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
    kept: Annotated[
        list[Path] | None,
        typer.Option("--checkpoint", help="A signed checkpoint that was kept elsewhere; may be given more than once."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check every audit log in a folder: edited, removed, reordered and cut-off records are found, and named.

    The log and its checkpoint are checked against each other. Who can write to the folder and has the key can replace
    both: give a checkpoint that was kept elsewhere (--checkpoint) to find that too.

    Example: tocsin audit verify state
    """
    found = {}
    for path in _logs(folder):
        keys = _keys(path, trusted)
        found[str(path)] = verify(path, head, keys, [_kept(file, keys) for file in kept or []])
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
    folder: Log, number: Annotated[int, typer.Argument(metavar="RECORD", help="Its number, from 0.")]
) -> None:
    """Print a proof that a record is in the log: whoever has the log's root can check it without the log (RFC 6962).

    Example: tocsin audit prove state 17
    """
    (path,) = _logs(folder)[:1]
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


def _logs(folder: Path) -> list[Path]:
    logs = sorted(folder.rglob(FILE_NAME)) if folder.is_dir() else [folder]
    if not logs:
        raise AuditError(f"{folder}: no {FILE_NAME} in this folder")
    return logs


def _keys(path: Path, trusted: list[Path] | None) -> Keys | None:
    """The keys that were given; else the trial keys beside the log, None where there are none."""
    if trusted:
        return keys_from_files(trusted)
    return Keys.trial(path.parent) if (path.parent / TRIAL_FOLDER).is_dir() else None


def _kept(file: Path, keys: Keys | None) -> Checkpoint:
    if keys is None:
        raise AuditError(f"{file}: no key to check this checkpoint with; give --trusted-key")
    try:
        return read_signed(file.read_bytes(), keys.trusted)
    except OSError as error:
        raise AuditError(f"{file}: cannot be read: {error.strerror}") from error
    except CheckpointError as error:
        raise AuditError(f"{file}: {error}") from error


def _told(found: Verified) -> str:
    signed = "no checkpoint was checked" if found.signed is None else f"{found.signed} of them signed"
    return f"{found.records} records, chain intact, {signed}"
