"""`tocsin incidents`: what was found, and the whole chain from the events to what was done about it."""

from __future__ import annotations

import os
import secrets
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import msgspec
import typer

from monitor.charges import house
from monitor.cli.incident_view import listed, parts
from monitor.cli.output import show
from monitor.cli.response import signing_key
from monitor.cli.screen import draw
from monitor.cli.who import user_name
from monitor.daemon import open_configured
from monitor.incidents.closing_desk import CLOSINGS, ClosingDesk
from monitor.incidents.dismissals import Dismissal
from monitor.incidents.explain import INCIDENTS, ExplainError, Explanation, explain, messages_of, printable, timeline
from monitor.incidents.still_open import last_told
from monitor.messages import Incident
from monitor.settings.config import load_config

LISTED: Final = (
    *("uid", "model", "version", "status", "family", "hypothesis", "confidence", "severity"),
    *("activity", "opened_at", "at", "share", "folded", "close_reason", "closed_by"),
)
"""What a program is told of each incident."""
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
    every = last_told(load_config(config, os.environ).state_dir)
    found = [incident for incident in every if everything or incident.activity != "close"]
    if as_json:
        show([{name: getattr(incident, name) for name in LISTED} for incident in found], as_json=True)
    elif not found:
        show([], as_json=False, text="no incident was ever told" if everything else "no incident is open")
    else:
        draw([listed(found, closed=everything, short=sys.stdout.isatty())])


@app.command("show")
def show_incident(config: ConfigFile, uid: Uid, *, as_json: AsJson = False) -> None:
    """Show an incident by the last message about it; with --json that message, as it was published.

    Example: tocsin incidents show 4f2a --config tocsin.yaml
    """
    last = messages_of(load_config(config, os.environ).state_dir / INCIDENTS, uid)[-1]
    if as_json:
        show(last, as_json=True)
    else:
        draw(parts(_as_incident(last)))


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


def _as_incident(message: dict[str, Any]) -> Incident:
    """The message; raises `ExplainError` where a newer version wrote what this one does not know."""
    try:
        return msgspec.convert(message, Incident)
    except msgspec.ValidationError as error:
        why = f"is not as this version of Tocsin writes them: {error}"
        newer = "was it written by a newer one? --json shows it as it is"
        raise ExplainError(f"incident {message['uid']}: {why}; {newer}") from error


def _found(config: Path, uid: str) -> Explanation:
    settings = load_config(config, os.environ)
    return explain(settings.state_dir, uid, lambda model: open_configured(settings, model))
