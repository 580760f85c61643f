"""`tocsin audit`: whether the audit log is what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.output import show
from rollback.audit.log import FILE_NAME, AuditError, verify

app = typer.Typer(no_args_is_help=True)


@app.callback()
def audit() -> None:
    """Verify the audit log."""


@app.command("verify")
def verify_folder(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A state folder or an output folder.", show_default=False)
    ],
    head: Annotated[
        str | None, typer.Option("--head", help="Hash of a record that must be there: finds a cut-off end.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check the chain of every audit log in a folder: edited, removed and reordered records are found.

    Records cut off at the end leave no trace in the file itself; give the hash of the last one that you know (--head).

    Example: tocsin audit verify state
    """
    logs = sorted(folder.rglob(FILE_NAME)) if folder.is_dir() else [folder]
    if not logs:
        raise AuditError(f"{folder}: no {FILE_NAME} in this folder")
    counts = {str(path): verify(path, head) for path in logs}
    text = "\n".join(f"{path}: {count} records, chain intact" for path, count in counts.items())
    show({"verified": True, "records": counts}, as_json=as_json, text=text)
