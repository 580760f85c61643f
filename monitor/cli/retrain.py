"""`tocsin retrain`: sanitises a training buffer, trains on what is left, and adds the candidate that it gates."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from monitor.cli.output import Progress, TimeLeft, show
from monitor.cli.registry_options import (
    AsJson,
    By,
    Name,
    Root,
    SigningKeyFile,
    State,
    TrainingDevice,
    Trusted,
    open_registry,
    registry_keys,
    require_model,
)
from monitor.cli.reproduce import reproduce_command
from monitor.cli.retrained import learned, outcome
from monitor.cli.who import user_name
from monitor.incidents.file import read_incident
from monitor.messages import Incident
from monitor.retraining import anew_where_needed, decided, hint
from rollback.registry.registry import Buffer, Registry
from rollback.retraining.data import Tables
from rollback.retraining.out import OtherRequestError, Out
from rollback.retraining.reading import MOST_ROWS
from rollback.retraining.retrain import Outcome, Retraining, retrain
from rollback.sanitise.sanitise import sanitise
from rollback.signing.keys import Keys
from rollback.store.table import LABEL, TRUSTED


def retrain_command(
    *,
    registry: Root,
    name: Name,
    buffer: Annotated[
        Path | None,
        typer.Option("--buffer", help="What the suspect version was trained on: a table, or a training store."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="A folder for all that comes of it.")] = None,
    label: Annotated[
        str | None,
        typer.Option("--label", help="The column of classes; a training store has its own, as it has the next three."),
    ] = None,
    source: Annotated[str | None, typer.Option("--source", help="The column of sensors or tenants.")] = None,
    session: Annotated[str | None, typer.Option("--session", help="The column that ties rows of one session.")] = None,
    trusted: Annotated[
        str | None, typer.Option("--trusted", help="The column that says which rows are believed (true or false).")
    ] = None,
    incident: Annotated[
        Path | None, typer.Option("--incident", help="The incident (JSON; the last line of a .ndjson counts).")
    ] = None,
    holdout: Annotated[
        Path | None, typer.Option("--holdout", help="Trusted rows that nothing is trained on, for the gate.")
    ] = None,
    vetting: Annotated[
        Path | None, typer.Option("--vetting", help="Answers of a trusted labeller: one {id, label} per line.")
    ] = None,
    decisions: Annotated[
        Path | None, typer.Option("--decisions", help="What tocsin review has decided about held slices.")
    ] = None,
    reviewed: Annotated[
        bool,
        typer.Option("--reviewed", help="Without --decisions: those in the registry's own reviews, if there are any."),
    ] = False,
    reputation: Annotated[
        Path | None, typer.Option("--reputation", help="Rows weigh as much as their suppliers are trusted.")
    ] = None,
    benign: Annotated[
        str | None,
        typer.Option("--benign", help="The class that lets things pass; as last known good's manifest says."),
    ] = None,
    live: Annotated[
        Path | None,
        typer.Option("--live", help="Recent events with the buffer's columns, for the gate; an empty label is none."),
    ] = None,
    again: Annotated[
        str | None,
        typer.Option("--reproduce", help="Make this version again from what the registry keeps, and compare."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="How to train (a name or a recipe file); as last known good was, unless said."),
    ] = None,
    most_rows: Annotated[
        int, typer.Option("--most-rows", min=1, help="Of a larger buffer so many rows are drawn, by source and label.")
    ] = MOST_ROWS,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides splits, screens and training.")] = 0,
    device: TrainingDevice = "auto",
    rehearse: Annotated[
        int,
        typer.Option("--rehearse", min=0, help="Plant so many known attacks for the gate; each costs two trainings."),
    ] = 0,
    anew: Annotated[
        bool,
        typer.Option("--anew", help="Results of another request in --out are put into a folder of their own below it."),
    ] = False,
    by: By = None,
    trusted_key: Trusted = None,
    state: State = None,
    signing_key: SigningKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Retrain on sanitised data: the candidate is added to the registry, signed, and never serves by itself.

    Exit codes: 0 the candidate passed the gate, 1 it did not (or there is none), 3 a person has to label rows first
    (or to decide: tocsin review list). With --reproduce: 0 the same model, 1 another one.

    Example: tocsin retrain --registry registry --name nids --buffer rows.csv --label label --out retrained
    """
    if again is not None:
        chosen = None if device == "auto" else device
        same = reproduce_command(
            open_registry(registry, name, trusted_key, state=state), again, chosen, as_json=as_json
        )
        raise typer.Exit(0 if same else 1)
    if buffer is None or out is None:
        missing = "--buffer" if buffer is None else "--out"
        raise typer.BadParameter(f"missing: {missing} is needed", param_hint=missing)
    require_model(registry, name)
    # typer has read the options; what the incident says is only looked at first, never believed
    found = None if incident is None else _incident(incident, name)
    keys = registry_keys(registry, trusted_key, signing_key)
    keeper = open_registry(registry, name, trusted_key, signing_key, make=True, state=state)
    if decisions is None and (known := decided(registry, name)) is not None:
        decisions = known if reviewed else None
        if not reviewed:
            _note(f"what was decided in {known} is left aside: --reviewed has it hold")
    tables = _tables(buffer, (label, source, session, trusted), holdout, most_rows, keys)
    asked = Retraining(
        place=str(registry.resolve()),
        model=name,
        tables=tables,
        hint=None if found is None else hint(found),
        incident=None if found is None else found.uid,
        vetting=vetting,
        recipe=recipe,
        seed=seed,
        device=device,
        rehearse=rehearse,
        decisions=decisions,
        reputation=reputation,
        keys=keys,
        benign=benign,
        live=None if live is None else replace(tables.buffer, path=live),
    )
    steps, left = 0, TimeLeft()
    with Progress(f"retraining {name}") as progress:

        def told(what: str, share: float) -> None:
            nonlocal steps
            steps += 1
            progress.update(steps, left.note(what, share))

        folder, who = Out(out), by or user_name()
        try:
            begin = partial(retrain, keeper, asked, folder, sanitise=sanitise, by=who, progress=told)
            done = anew_where_needed(begin, folder, _note) if anew else begin()
        except OtherRequestError as error:
            raise typer.BadParameter(str(error), param_hint="--out") from error
    _tell(done, out, keeper, as_json=as_json)
    raise typer.Exit(done.gate.exit_code)


def _note(said: str) -> None:
    typer.echo(f"note: {said}", err=True)


def _tables(
    buffer: Path,
    named: tuple[str | None, str | None, str | None, str | None],
    holdout: Path | None,
    most: int,
    keys: Keys | None,
) -> Tables:
    """A training store has its own columns; whom its operator trusts is in it."""
    label, source, session, trusted = named
    if buffer.is_dir():
        _refuse_columns(buffer, named)
    elif label is None:
        raise typer.BadParameter("say which column holds the classes", param_hint="--label")
    return Tables.of(Buffer(buffer, label or LABEL, source, session), trusted, holdout, most, keys)


def _refuse_columns(store: Path, named: tuple[str | None, str | None, str | None, str | None]) -> None:
    """A column of a training store is called what it is called, and nothing else."""
    own = (("--label", LABEL), ("--source", "source"), ("--session", "session"), ("--trusted", TRUSTED))
    for (option, column), given in zip(own, named, strict=True):
        if given not in {None, column}:
            more = "; whom to trust is said with tocsin store trust" if column == TRUSTED else ""
            why = (
                f"{given}: {store} is a training store, where this column is called {column}: leave {option} out{more}"
            )
            raise typer.BadParameter(why, param_hint=option)


def _incident(path: Path, model: str) -> Incident:
    incident = read_incident(path)
    if incident.model != model:
        raise typer.BadParameter(f"{path}: is about model {incident.model!r}, not {model!r}", param_hint="--incident")
    return incident


def _tell(done: Outcome, out: Path, keeper: Registry, *, as_json: bool) -> None:
    gate = done.gate
    candidate = keeper.load(done.candidate)
    for remark in (*gate.remarks, *learned(candidate, out)):
        _note(remark)
    for check in gate.checks:
        if not check.passed:
            word = "failed" if check.failing == "rejects" else "holds"
            typer.echo(f"{word}: {check.name} is {check.value:.4f}, at most {check.limit:.4f} is noise", err=True)
    again = " (as found before)" if done.repeated else ""
    typer.echo(f"candidate {done.candidate} {outcome(gate, candidate, out)}{again}", err=True)
    result = {
        "candidate": done.candidate,
        "result": gate.result,
        "passed": gate.passed,
        "checks": msgspec.to_builtins(gate.checks),
        "out": str(out),
    }
    show(result, as_json=as_json, text=done.candidate)
