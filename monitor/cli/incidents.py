"""`tocsin incidents`: what was found, and the whole chain from the events to what was done about it."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import msgspec
import typer

from monitor.charges import house
from monitor.cli.incident_view import COLUMNS, listed, parts
from monitor.cli.output import show
from monitor.cli.response import signing_key
from monitor.cli.screen import draw
from monitor.cli.who import user_name
from monitor.closing_desk import CLOSINGS, ClosingDesk
from monitor.daemon import open_configured
from monitor.dismissals import Dismissal
from monitor.explain import INCIDENTS, Explanation, explain, messages_of, printable, read_lines, timeline
from monitor.messages import Incident
from monitor.settings.config import load_config

LONGEST_REASON: Final = 500
"""Characters."""

app = typer.Typer(no_args_is_help=True)

ConfigFile: TypeAlias = Annotated[
    Path, typer.Option("--config", help="The daemon's configuration.", show_default=False)
]
Uid: TypeAlias = Annotated[
    str, typer.Argument(metavar="UID", help="The incident; its first letters, where they fit no other.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


class CloseError(Exception):
    """An incident cannot be closed; the message says why."""


@app.callback()
def incidents() -> None:
    """List incidents, explain one, and close one by hand."""


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
    rows = [{name: line[name] for name in COLUMNS} for line in shown]
    if as_json or not rows:
        show(rows, as_json=as_json, text="no incident is open")
    else:
        draw([listed(rows)])


@app.command("show")
def show_incident(config: ConfigFile, uid: Uid, *, as_json: AsJson = False) -> None:
    """Show an incident by the last message about it; with --json that message, as it was published.

    Example: tocsin incidents show 4f2a --config tocsin.yaml
    """
    last = messages_of(load_config(config, os.environ).state_dir / INCIDENTS, uid)[-1]
    if as_json:
        show(last, as_json=True)
    else:
        draw(parts(msgspec.convert(last, Incident)))


@app.command("explain")
def explain_incident(config: ConfigFile, uid: Uid, *, as_json: AsJson = False) -> None:
    """Tell the whole chain: events, windows, evidence, questions, decisions, approvals, actions, versions, rows.

    Example: tocsin incidents explain 4f2a --config tocsin.yaml
    """
    found = _found(config, uid)
    result: dict[str, Any] = found.as_json() if as_json else {}
    show(result, as_json=as_json, text="\n".join(timeline(found)))


@app.command("close")
def close_incident(
    config: ConfigFile,
    uid: Uid,
    reason: Annotated[str, typer.Option("--reason", help="Why; every sink and the audit log are told.")],
    by: Annotated[str | None, typer.Option("--by", help="Who closes it; the user who runs this, unless said.")] = None,
    key_file: Annotated[
        Path | None, typer.Option("--key", help="Your private key (PEM), where the configuration names approvers.")
    ] = None,
) -> None:
    """Close an incident by hand; a running daemon follows at its next turn, any other when it starts.

    The same finding opens no new incident until it was away for as long as closes one (incidents.quiet_windows), or is
    another one. What Tocsin does about the incident goes on: tocsin response decline ends that.

    Example: tocsin incidents close 4f2a --config tocsin.yaml --reason "a test of ours"
    """
    settings = load_config(config, os.environ)
    last = msgspec.convert(_found(config, uid).messages[-1], Incident)
    if last.activity == "close":
        raise CloseError(f"incident {last.uid} is closed already: {last.close_reason or last.status}")
    if not (why := printable(reason.strip())[:LONGEST_REASON]):
        raise CloseError("--reason must say why: it is what others will read later")
    who = (by or user_name()).strip()
    signing = signing_key(house(settings), who, key_file)
    order = Dismissal(secrets.token_hex(16), last, who, why, round(time.time(), 3))
    ClosingDesk(settings.state_dir / CLOSINGS).give(order, signing)
    typer.echo(f"close incident {last.uid} ({last.family} in model {last.model}): {why}")
    typer.echo("The daemon follows at its next turn.")
    if any(action.result in {"proposed", "running", "halted"} for action in last.action):
        typer.echo("What is being done about it goes on; tocsin response list shows it.")


def _found(config: Path, uid: str) -> Explanation:
    settings = load_config(config, os.environ)
    return explain(settings.state_dir, uid, lambda model: open_configured(settings, model))
