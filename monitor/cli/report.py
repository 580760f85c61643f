"""`tocsin report`: everything about one incident as a page that can be mailed, printed and kept with the case."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from monitor.audit_keys import keys_to_check
from monitor.cli.output import show
from monitor.logging import set_up_logging
from monitor.report.make import write_report
from monitor.settings.config import load_config


def report(
    incident: Annotated[str, typer.Option("--incident", help="Its uid; the first letters, where they fit no other.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="The page to write; incident-UID.html unless said.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="The daemon's configuration: its state, its keys, its registry.")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", help="Instead: a state_dir, or a copy of one; nothing is said of versions."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write the report about an incident: one HTML page that needs nothing from elsewhere.

    Example: tocsin report --incident 4f2a --config tocsin.yaml --out incident.html
    """
    if (config is None) == (state is None):
        raise typer.BadParameter("give either --config or --state", param_hint="--config")
    if state is not None:
        path = write_report(state, incident, out)
    else:
        set_up_logging(sys.stderr, as_json=not sys.stderr.isatty(), level=logging.WARNING)
        from monitor.daemon import open_configured  # noqa: PLC0415 - it brings all that a daemon needs

        settings = load_config(config, os.environ)
        path = write_report(
            settings.state_dir,
            incident,
            out,
            keys=lambda: keys_to_check(settings),
            registry=lambda model: open_configured(settings, model),
            config=str(config),
        )
    show({"report": str(path)}, as_json=as_json, text=f"written: {path}")
