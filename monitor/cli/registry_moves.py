"""Commands of `tocsin registry` that decide which versions serve, may serve, and are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from monitor.cli.output import show
from monitor.cli.registry_options import AsJson, By, Name, Reason, Root, State, Trusted, open_registry, told
from monitor.cli.who import user_name
from monitor.incidents.still_open import open_incidents, versions_named
from rollback.registry import moves

Held: TypeAlias = Annotated[str, typer.Option("--version", help="The version.", show_default=False)]


def collect(
    *,
    registry: Root,
    name: Name,
    newest: Annotated[int, typer.Option("--newest", min=0, help="Keep so many of the newest versions.")] = 10,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            help="The daemon's state folder: what open incidents name is kept, and versions must be what its audit log "
            "saw first.",
        ),
    ] = None,
    no_state: Annotated[
        bool, typer.Option("--no-state", help="No daemon watches the model: there are no incidents to keep it for.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it is only said what would be removed.")] = False,
    by: By = None,
    trusted_key: Trusted = None,
    as_json: AsJson = False,
) -> None:
    """Remove versions that nothing needs: all but what serves, last known good, those of open incidents, the newest.

    Names of removed versions are never given again, and the history stays. Only the daemon's state folder tells what
    open incidents name: give --state, or say with --no-state that there is no daemon.

    Example: tocsin registry gc --registry registry --name nids --newest 10 --state state --yes
    """
    if (state is None) != no_state:
        raise typer.BadParameter("give the daemon's state folder, or else --no-state", param_hint="--state")
    keeper = open_registry(registry, name, trusted_key, state=state)
    needed = versions_named(open_incidents(state), name) if state is not None else set()
    going = moves.overdue(keeper.versions(), keeper.pointers(), needed, newest)
    for version in going if yes else ():
        keeper.remove(version, by=by or user_name(), reason=f"beyond the newest {newest}, and nothing needs it")
    kept = [version for version in keeper.versions() if version not in going]
    done = "removed" if yes else "would be removed (--yes does it)"
    text = f"{', '.join(going) or 'nothing'} {done}; kept: {', '.join(kept)}"
    show({"removed" if yes else "removable": going, "kept": kept}, as_json=as_json, text=text)


def promote(
    *,
    registry: Root,
    name: Name,
    version: Annotated[str, typer.Option("--version", help="The version that is to serve.", show_default=False)],
    by: By = None,
    reason: Reason = "",
    trusted_key: Trusted = None,
    state: State = None,
    known_good: Annotated[
        bool, typer.Option("--known-good", help="Vouch for it: last known good moves to it too.")
    ] = False,
    allow_unsigned: Annotated[
        bool,
        typer.Option("--allow-unsigned", help="Though no trusted key has signed it; that is kept in the history."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let a version serve, after verifying it.

    A daemon believes a version that nobody trusted has signed only if models.NAME.allow_unsigned names it, too.

    Example: tocsin registry promote --registry registry --name nids --version 2 --known-good --reason "gate passed"
    """
    keeper = open_registry(registry, name, trusted_key, unsigned=[version] if allow_unsigned else [], state=state)
    if allow_unsigned:
        reason = f"{reason} [allowed without a trusted signature]".strip()
    moved = keeper.promote(
        version, expected=keeper.pointers().serving, known_good=known_good, by=by or user_name(), reason=reason
    )
    show(told(moved), as_json=as_json)


def rollback(
    *,
    registry: Root,
    name: Name,
    by: By = None,
    reason: Reason = "",
    trusted_key: Trusted = None,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Let the last known good version serve again, after verifying it.

    Example: tocsin registry rollback --registry registry --name nids --reason "incident 4f2a"
    """
    keeper = open_registry(registry, name, trusted_key, state=state)
    moved = keeper.rollback(expected=keeper.pointers().serving, by=by or user_name(), reason=reason)
    show(told(moved), as_json=as_json)


def quarantine(
    *,
    registry: Root,
    name: Name,
    version: Held,
    by: By = None,
    reason: Reason = "",
    trusted_key: Trusted = None,
    state: State = None,
) -> None:
    """Keep a version from ever being promoted, until it is released; a rollback does that to what it rolls back from.

    Example: tocsin registry quarantine --registry registry --name nids --version 2 --reason "incident 4f2a"
    """
    open_registry(registry, name, trusted_key, state=state).quarantine(version, by=by or user_name(), reason=reason)
    typer.echo(f"version {version} is in quarantine")


def release(
    *,
    registry: Root,
    name: Name,
    version: Held,
    reason: Annotated[str, typer.Option("--reason", help="Why it may serve; it is kept.", show_default=False)],
    by: By = None,
    trusted_key: Trusted = None,
    state: State = None,
) -> None:
    """Take a version out of quarantine: from then on it can be promoted again.

    Example: tocsin registry release --registry registry --name nids --version 2 --reason "incident 4f2a was refuted"
    """
    open_registry(registry, name, trusted_key, state=state).release(version, by=by or user_name(), reason=reason)
    typer.echo(f"version {version} is released from quarantine")
