"""`tocsin incidents`: what was found, and the whole chain from the events to what was done about it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from monitor.cli.output import show, table
from monitor.daemon import open_configured
from monitor.explain import INCIDENTS, Explanation, explain, read_lines, timeline
from monitor.settings.config import load_config

app = typer.Typer(no_args_is_help=True)

ConfigFile: TypeAlias = Annotated[
    Path, typer.Option("--config", help="The daemon's configuration.", show_default=False)
]
Uid: TypeAlias = Annotated[
    str, typer.Argument(metavar="UID", help="The incident; its first letters, where they fit no other.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.callback()
def incidents() -> None:
    """List incidents, and explain one."""


@app.command("list")
def list_incidents(
    config: ConfigFile,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Those that are closed, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the incidents that are open.

    Example: tocsin incidents list --config tocsin.yaml
    """
    last = {line["uid"]: line for line in read_lines(load_config(config, os.environ).state_dir / INCIDENTS)}
    shown = [line for line in last.values() if everything or line["activity"] != "close"]
    names = ("uid", "model", "version", "status", "family", "hypothesis", "confidence", "severity")
    rows = [{name: line[name] for name in names} for line in shown]
    show(rows, as_json=as_json, text=table(rows) if rows else "no incident is open")


@app.command("show")
def show_incident(config: ConfigFile, uid: Uid) -> None:
    """Show the last message about an incident, as it was published.

    Example: tocsin incidents show 4f2a --config tocsin.yaml
    """
    show(_found(config, uid).messages[-1], as_json=True)


@app.command("explain")
def explain_incident(config: ConfigFile, uid: Uid, *, as_json: AsJson = False) -> None:
    """Tell the whole chain: events, windows, evidence, questions, decisions, approvals, actions, versions, rows.

    Example: tocsin incidents explain 4f2a --config tocsin.yaml
    """
    found = _found(config, uid)
    result: dict[str, Any] = found.as_json() if as_json else {}
    show(result, as_json=as_json, text="\n".join(timeline(found)))


def _found(config: Path, uid: str) -> Explanation:
    settings = load_config(config, os.environ)
    return explain(settings.state_dir, uid, lambda model: open_configured(settings, model))
