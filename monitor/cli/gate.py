"""`tocsin gate`: may this candidate serve? Its training buffer, its own answers, and models to compare it with."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from detectors.batch import Reference, Scorer
from monitor.cli.output import Progress, show, table
from monitor.cli.registry_options import AsJson, Name, Root, State, Trusted, open_registry, require_model
from monitor.gate_answers import Bound, bind
from monitor.messages import VettingRequest
from monitor.panel import Versions, compare_versions
from monitor.release_gate import Release, ReleaseGateError, judge_candidate
from monitor.row_vetting import GATE
from monitor.training_buffer import FindBuffer, read_rows
from monitor.whole_gate import Whole, with_trial, without_trial
from rollback.bundle import Bundle
from rollback.durable import replace_file
from rollback.gates.page import number, page
from rollback.gates.trial import GateError
from rollback.registry.registry import Buffer, Registry, RegistryError
from rollback.retraining.data import RetrainRefusedError
from rollback.retraining.foreign import Asked, Contenders, put_on_trial
from rollback.retraining.reproduce import reproduced
from rollback.tables.table import TableError
from rollback.train.recipe import RecipeError

CODES = {"passed": 0, "rejected": 1, "vetting": 3}
SAID = {"passed": "passes the gate", "rejected": "does not pass the gate", "vetting": "waits for labels of rows"}


def gate(
    *,
    registry: Root,
    name: Name,
    candidate: Annotated[str, typer.Option("--candidate", help="The version to judge.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="The result (JSON). Rows that have to be labelled first are written beside it, one request a line, "
            "into the file of the same name that ends in .vetting.ndjson.",
            show_default=False,
        ),
    ],
    buffer: Annotated[
        Path | None,
        typer.Option("--buffer", help="What the candidate was trained on; what the registry keeps of it unless said."),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="The buffer's (and holdout's) column of classes.")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", help="The column of sensors or tenants.")] = None,
    session: Annotated[str | None, typer.Option("--session", help="The column that ties rows of one session.")] = None,
    vetting: Annotated[
        Path | None, typer.Option("--vetting", help="Answers of a trusted labeller: one {id, label} per line.")
    ] = None,
    holdout: Annotated[
        Path | None, typer.Option("--holdout", help="Trusted rows that nothing was trained on; else the reference.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides which rows are asked about.")] = 0,
    trusted_key: Trusted = None,
    state: State = None,
    reproduce: Annotated[
        bool,
        typer.Option("--reproduce", help="Train its recipe on its buffer again: changed weights show. Takes minutes."),
    ] = False,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", help="Trains the models to compare with; that of models like the candidate, unless said."
        ),
    ] = None,
    live: Annotated[
        Path | None, typer.Option("--live", help="Recent events by feature columns; an empty label is none.")
    ] = None,
    rehearse: Annotated[
        int,
        typer.Option(
            "--rehearse", min=0, help="Plant so many known attacks into the buffer; each costs two trainings."
        ),
    ] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Train nothing: leaves out all that is judged against models of the base.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Judge a candidate before it serves, against the last known good version. Promotes nothing.

    A page for a person (HTML) is written beside the result.

    Exit codes: 0 it passes, 1 it does not (or cannot be judged), 3 a person has to label rows first: answer the
    requests with --vetting and run it again.

    Example: tocsin gate --registry registry --name nids --candidate 3 --vetting answers.ndjson --out gate.json
    """
    if (buffer is not None or holdout is not None or live is not None) and label is None:
        raise typer.BadParameter("say which column holds the classes", param_hint="--label")
    if out.is_dir():
        raise typer.BadParameter(f"{out} is a folder; name a file", param_hint="--out")
    require_model(registry, name)
    keeper = open_registry(registry, name, trusted_key, state=state)
    found = None if buffer is None else Buffer(buffer, label or "", source, session)
    trial_of = Asked(recipe=recipe, rehearse=rehearse, seed=seed)
    with Progress(f"judging version {candidate} of {name}") as progress:
        watched, versions = _versions(keeper, candidate, found)
        trusted = (
            None if holdout is None else _holdout(Buffer(holdout, label or "", source, session), watched, versions)
        )
        bound = bind(vetting, watched, found or keeper.buffer(candidate))
        again = _reproduced(watched, found or keeper.buffer(candidate)) if reproduce else None
        release = judge_candidate(versions, watched, trusted, bound.codes, seed, again)
        release = replace(release, remarks=(*release.remarks, *bound.remarks))
        files = [None if path is None else Buffer(path, label or "", source, session) for path in (holdout, live)]
        whole = without_trial(release, "--quick: nothing is trained", "no --quick")
        if not quick:
            pair = _contenders(keeper, watched, found, *files)
            whole = _tried(release, pair, replace(trial_of, answers=bound.codes), Told(progress))
    result = _result(whole, keeper, candidate, _write_requests(whole, watched, versions, bound, out))
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out.with_suffix(".html"), page(f"Version {candidate} of {name}", whole.result, whole).encode())
    replace_file(out, msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    _tell(whole, candidate, result, as_json=as_json)
    raise typer.Exit(CODES[whole.result])


class Told:
    """Progress of trainings, as the command shows it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._steps = 0

    def __call__(self, what: str, share: float) -> None:
        """Show what is being done."""
        self._steps += 1
        self._progress.update(self._steps, f"{what} {share:.0%}")


def _contenders(
    keeper: Registry, watched: Bundle, found: Buffer | None, holdout: Buffer | None, live: Buffer | None
) -> Contenders:
    good = keeper.pointers().last_known_good or ""
    buffer = found or keeper.buffer(watched.manifest.version)
    return Contenders(watched, keeper.load(good), buffer, keeper.buffer(good), holdout, live)


def _tried(release: Release, pair: Contenders, asked: Asked, told: Told) -> Whole:
    """With a trial; without one, and it is said why, where no model can be trained here."""
    try:
        return with_trial(release, put_on_trial(pair, asked, told), asked.seed)
    except GateError as reason:
        raise ReleaseGateError(f"{reason}; --quick judges without a trial") from reason
    except (RetrainRefusedError, RecipeError) as reason:
        if asked.recipe is not None:
            raise typer.BadParameter(str(reason), param_hint="--recipe") from reason
        return without_trial(release, str(reason), "what this says is missing")


def _versions(keeper: Registry, candidate: str, found: Buffer | None) -> tuple[Bundle, Versions]:
    """Candidate and last known good side by side. A buffer that was named must be readable."""
    good = keeper.pointers().last_known_good
    if good is None:
        raise RegistryError("the registry has no last known good version to compare a candidate with: add one first")
    watched = keeper.load(candidate)
    find: FindBuffer = keeper.buffer if found is None else lambda _: found
    known = watched if candidate == good else keeper.load(good)
    versions = compare_versions(watched, known, find)
    unread = next((note for note in versions.notes if "cannot be looked into" in note), None)
    if unread is not None:
        raise TableError(unread)
    return watched, versions


def _reproduced(watched: Bundle, buffer: Buffer | None) -> Scorer:
    if buffer is None:
        raise ReleaseGateError(f"version {watched.manifest.version} has no training buffer: name it with --buffer")
    return reproduced(watched, buffer, "cpu", lambda *_: None)


def _holdout(file: Buffer, watched: Bundle, versions: Versions) -> Reference | None:
    if versions.score_f is None or versions.score_g is None:
        return None
    rows = read_rows(file, watched, versions.score_f, versions.score_g, [])
    if not len(rows):
        raise TableError(f"{file.path}: has no rows that can be scored")
    return Reference(watched.schema, rows.x, rows.y, rows.source, rows.session, rows.f, rows.g)


def _write_requests(release: Whole, watched: Bundle, versions: Versions, bound: Bound, out: Path) -> Path | None:
    """The requests for labels; a file of an earlier run is taken away where nothing is asked any more."""
    path = out.with_suffix(".vetting.ndjson")
    buffer = versions.reference.buffer if versions.reference is not None else None
    if release.result != "vetting" or buffer is None or not release.asks:
        path.unlink(missing_ok=True)
        return None
    row = {ident: i for i, ident in enumerate(buffer.id.tolist())}
    schema = watched.schema
    requests = [
        {"digest": bound.digests[ask.id]}
        | msgspec.to_builtins(
            VettingRequest(
                incident=f"{GATE}{watched.manifest.version}",
                id=ask.id,
                why=ask.why,
                features={
                    f.name: f.show(float(v)) for f, v in zip(schema.features, buffer.x[row[ask.id]], strict=True)
                },
                scores={c: float(s) for c, s in zip(schema.classes, buffer.f[row[ask.id]], strict=True)},
                asked_at=math.floor(time.time()),
            )
        )
        for ask in release.asks
        if ask.id in row and ask.id in bound.digests  # no answer would be taken about an id of several rows
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, b"".join(msgspec.json.encode(request) + b"\n" for request in requests))
    return path


def _result(release: Whole, keeper: Registry, candidate: str, requests: Path | None) -> dict[str, Any]:
    return {
        "candidate": candidate,
        "last_known_good": keeper.pointers().last_known_good,
        "passed": release.result == "passed",
        "result": release.result,
        "checks": msgspec.to_builtins(release.checks),
        "figures": msgspec.to_builtins(release.figures),
        "skipped": msgspec.to_builtins(release.skipped),
        "error_budget": release.error_budget,
        "remarks": list(release.remarks),
        "findings": [dict(finding) for finding in release.findings],
        "vetting": None if requests is None else str(requests),
    }


def _tell(release: Whole, candidate: str, result: dict[str, Any], *, as_json: bool) -> None:
    for remark in release.remarks:
        typer.echo(f"note: {remark}", err=True)
    for check in release.checks:
        if not check.passed:
            typer.echo(f"failed: {check.name} is {check.value:.4f}, at most {check.limit:.4f} is allowed", err=True)
    asked = f": {len(release.asks)} are in {result['vetting']}" if result["vetting"] else ""
    typer.echo(f"candidate {candidate} {SAID[release.result]}{asked}", err=True)
    shown = {name: result[name] for name in ("candidate", "result", "passed", "checks", "vetting")}
    show(shown, as_json=as_json, text=f"{_table(release)}\n{release.result}")


def _table(release: Whole) -> str:
    """Every check and figure in a line; those that failed first."""
    rows = [
        {
            "check": c.name,
            "value": number(c.value),
            "limit": number(c.limit),
            "error rate": "none" if c.error_rate is None else f"{c.error_rate:.2%}",
            "": "passed" if c.passed else {"rejects": "FAILED", "holds": "HOLDS"}[c.failing],
        }
        for c in sorted(release.checks, key=lambda c: c.passed)
    ]
    rows += [
        {"check": f.name, "value": number(f.value), "limit": "", "error rate": "", "": "shown"} for f in release.figures
    ]
    rows += [{"check": s.name, "value": "", "limit": "", "error rate": "", "": "not run"} for s in release.skipped]
    return table(rows) if rows else "no check"
