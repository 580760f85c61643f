"""`tocsin response`: what is being done about incidents, and what a person decides about it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
import typer

from monitor.charges import house
from monitor.cli.output import show
from monitor.cli.who import user_name
from monitor.response import ANSWERS, RESULTS
from monitor.settings.config import load_config
from rollback.audit.log import FILE_NAME, name_of
from rollback.response.cases import Case, answerable
from rollback.response.desk import Answer, FolderDesk, House
from rollback.response.record import read_cases
from rollback.signing.keys import SigningKey, read_signing_key

OVER: Final = frozenset({"done", "declined", "withdrawn", "rejected"})

app = typer.Typer(no_args_is_help=True)

ConfigFile: TypeAlias = Annotated[
    Path, typer.Option("--config", help="The daemon's configuration.", show_default=False)
]
Key: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="The case, as `response list` shows it; its first letters, where they fit no other.", show_default=False
    ),
]
By: TypeAlias = Annotated[str | None, typer.Option("--by", help="Who decides; the user who runs this, unless said.")]
KeyFile: TypeAlias = Annotated[
    Path | None, typer.Option("--key", help="Your private key (PEM), where the configuration names approvers.")
]
Reason: TypeAlias = Annotated[str, typer.Option("--reason", help="Why; it is kept in the audit log.")]


class AnswerError(Exception):
    """A decision cannot be taken; the message says why."""


@app.callback()
def response() -> None:
    """List, approve, decline and hold what Tocsin does about incidents."""


@app.command("list")
def list_cases(
    config: ConfigFile,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List what is being done about incidents, and what waits for a decision.

    Example: tocsin response list --config tocsin.yaml
    """
    settings = load_config(config, os.environ)
    folder = settings.state_dir
    cases = read_cases(folder / FILE_NAME)
    shown = [case for case in cases.values() if everything or RESULTS.get(case.phase) not in OVER]
    if as_json:
        show([{k: v for k, v in asdict(case).items() if k != "message"} for case in shown], as_json=True)
        return
    if why := FolderDesk(folder / ANSWERS, house=house(settings)).held():
        typer.echo(f"everything is on hold: {why}")
    for case in shown:
        typer.echo(_line(case))
    if not shown:
        typer.echo("nothing is being done, and nothing waits for a decision")


@app.command()
def approve(
    config: ConfigFile,
    key: Key,
    by: By = None,
    reason: Reason = "",
    key_file: KeyFile = None,
    *,
    known_good: Annotated[
        bool, typer.Option("--known-good", help="You vouch for the version: it also becomes last known good.")
    ] = False,
) -> None:
    """Approve a rollback or a promotion that waits for it.

    Example: tocsin response approve --config tocsin.yaml 4f2a/rollback
    """
    _answer(config, key, "approve", by, reason, key_file, known_good=known_good)


@app.command()
def decline(config: ConfigFile, key: Key, by: By = None, reason: Reason = "", key_file: KeyFile = None) -> None:
    """Decline what waits for approval, or give up what is halted.

    Example: tocsin response decline --config tocsin.yaml 4f2a --reason "tested by hand: it is fine"
    """
    _answer(config, key, "decline", by, reason, key_file)


@app.command()
def again(config: ConfigFile, key: Key, by: By = None, reason: Reason = "", key_file: KeyFile = None) -> None:
    """Try again what is halted, after its cause was mended.

    Example: tocsin response again --config tocsin.yaml 4f2a
    """
    _answer(config, key, "again", by, reason, key_file)


@app.command()
def hold(config: ConfigFile) -> None:
    """Hold everything: from now on no step is begun, whatever the mode; what runs comes to its end.

    Example: tocsin response hold --config tocsin.yaml
    """
    _desk(config).hold()
    typer.echo("on hold: no step is begun until tocsin response resume")


@app.command()
def resume(config: ConfigFile) -> None:
    """Go on after a hold.

    Example: tocsin response resume --config tocsin.yaml
    """
    _desk(config).resume()
    typer.echo("steps are begun again")


def _desk(config: Path) -> FolderDesk:
    return FolderDesk(load_config(config, os.environ).state_dir / ANSWERS)


def _answer(
    config: Path,
    key: str,
    decision: Literal["approve", "decline", "again"],
    by: str | None,
    reason: str,
    key_file: Path | None,
    *,
    known_good: bool = False,
) -> None:
    settings = load_config(config, os.environ)
    folder = settings.state_dir
    if settings.mode == "observe":
        raise AnswerError("mode is observe: nothing is done, and no answer is taken up; set mode to propose or act")
    case = _find(read_cases(folder / FILE_NAME), key)
    if not answerable(case, decision, time.time()):
        raise AnswerError(f"{case.key} is {_standing(case)}: there is nothing to {decision} about it")
    if known_good and case.kind != "promotion":
        raise AnswerError(f"{case.key} is no promotion: --known-good means nothing to it")
    who = (by or user_name()).strip()
    signing = signing_key(house(settings), who, key_file)
    answer = Answer(case.key, decision, who, known_good, reason)
    if signing is not None:
        answer = msgspec.structs.replace(answer, given_at=time.time(), log=name_of(folder / FILE_NAME))
    FolderDesk(folder / ANSWERS).give(answer, signing)
    typer.echo(f"{decision}: {_line(case)}\nThe daemon takes it up at its next turn.")


def signing_key(asked: House, who: str, key_file: Path | None) -> SigningKey | None:
    """What an answer is signed with, which must be whose answer it is. Raises `AnswerError`."""
    signing = None if key_file is None else read_signing_key(key_file)
    if not asked.approvers:
        return None
    if signing is None or asked.approvers.get(who) != signing.public:
        known = ", ".join(asked.approvers)
        raise AnswerError(f"{who} cannot answer: only {known} may, each with --key and the own private key (--by NAME)")
    return signing


def _find(cases: Mapping[str, Case], key: str) -> Case:
    if key in cases:
        return cases[key]
    fitting = [case for name, case in cases.items() if key and name.startswith(key)]
    if len(fitting) != 1:
        found = "\n  ".join(case.key for case in fitting) or "none"
        raise AnswerError(f"{key!r} must name one case (tocsin response list shows them); it fits:\n  {found}")
    return fitting[0]


def _standing(case: Case) -> str:
    return RESULTS.get(case.phase) or f"running ({case.phase})"


def _line(case: Case) -> str:
    what = {
        "rollback": f"roll {case.model} back from version {case.expected} to {case.target}",
        "retraining": f"retrain {case.model}'s version {case.expected} on sanitised data",
        "promotion": f"promote {case.model}'s version {case.target} in place of {case.expected}",
    }[case.kind]
    detail = f": {case.detail}" if case.detail else ""
    since = datetime.fromtimestamp(case.since, UTC).isoformat(timespec="seconds")
    return f"{case.key}\n  {what}\n  {_standing(case)} since {since}{detail}"
