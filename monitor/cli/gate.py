"""`tocsin gate`: may this candidate serve? Its training buffer, its harm on trusted rows, its own answers."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from detectors.batch import Reference, Scorer
from monitor.cli.output import Busy, show
from monitor.cli.registry_options import AsJson, Name, Root, State, Trusted, open_registry
from monitor.messages import VettingRequest
from monitor.panel import Versions, compare_versions
from monitor.release_gate import Release, ReleaseGateError, judge_candidate
from monitor.row_vetting import GATE
from monitor.training_buffer import FindBuffer, read_rows
from rollback.bundle import Bundle
from rollback.durable import replace_file
from rollback.registry.registry import Buffer, Registry, RegistryError
from rollback.retraining.reproduce import reproduced
from rollback.retraining.vetting import VettingFileError, read_answers
from rollback.tables.table import TableError

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
    as_json: AsJson = False,
) -> None:
    """Judge a candidate before it serves, against the last known good version. Promotes nothing.

    Exit codes: 0 it passes, 1 it does not (or cannot be judged), 3 a person has to label rows first: answer the
    requests with --vetting and run it again.

    Example: tocsin gate --registry registry --name nids --candidate 3 --vetting answers.ndjson --out gate.json
    """
    if (buffer is not None or holdout is not None) and label is None:
        raise typer.BadParameter("say which column holds the classes", param_hint="--label")
    if out.is_dir():
        raise typer.BadParameter(f"{out} is a folder; name a file", param_hint="--out")
    keeper = open_registry(registry, name, trusted_key, state=state)
    answers = {} if vetting is None else read_answers(vetting)
    found = None if buffer is None else Buffer(buffer, label or "", source, session)
    with Busy(f"judging version {candidate} of {name}"):
        watched, versions = _versions(keeper, candidate, found)
        trusted = (
            None if holdout is None else _holdout(Buffer(holdout, label or "", source, session), watched, versions)
        )
        codes = _codes(answers, watched, vetting)
        again = _reproduced(watched, found or keeper.buffer(candidate)) if reproduce else None
        release = judge_candidate(versions, watched, trusted, codes, seed, again)
    result = _result(release, keeper, candidate, _write_requests(release, watched, versions, out))
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    _tell(release, candidate, result, as_json=as_json)
    raise typer.Exit(CODES[release.result])


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


def _codes(answers: dict[str, str], watched: Bundle, vetting: Path | None) -> dict[str, int]:
    classes = watched.schema.classes
    foreign = sorted(set(answers.values()) - set(classes))
    if foreign:
        raise VettingFileError(f"{vetting}: label {foreign[0]!r} is none of the classes {', '.join(classes)}")
    return {ident: classes.index(label) for ident, label in answers.items()}


def _write_requests(release: Release, watched: Bundle, versions: Versions, out: Path) -> Path | None:
    """The requests for labels; a file of an earlier run is taken away where nothing is asked any more."""
    path = out.with_suffix(".vetting.ndjson")
    buffer = versions.reference.buffer if versions.reference is not None else None
    if release.result != "vetting" or buffer is None:
        path.unlink(missing_ok=True)
        return None
    row = {ident: i for i, ident in enumerate(buffer.id.tolist())}
    schema = watched.schema
    requests = [
        VettingRequest(
            incident=f"{GATE}{watched.manifest.version}",
            id=ask.id,
            why=ask.why,
            features={f.name: f.show(float(v)) for f, v in zip(schema.features, buffer.x[row[ask.id]], strict=True)},
            scores={c: float(s) for c, s in zip(schema.classes, buffer.f[row[ask.id]], strict=True)},
            asked_at=math.floor(time.time()),
        )
        for ask in release.asks
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, b"".join(msgspec.json.encode(request) + b"\n" for request in requests))
    return path


def _result(release: Release, keeper: Registry, candidate: str, requests: Path | None) -> dict[str, Any]:
    return {
        "candidate": candidate,
        "last_known_good": keeper.pointers().last_known_good,
        "passed": release.result == "passed",
        "result": release.result,
        "checks": msgspec.to_builtins(release.checks),
        "remarks": list(release.remarks),
        "findings": [dict(finding) for finding in release.findings],
        "vetting": None if requests is None else str(requests),
    }


def _tell(release: Release, candidate: str, result: dict[str, Any], *, as_json: bool) -> None:
    for remark in release.remarks:
        typer.echo(f"note: {remark}", err=True)
    for check in release.checks:
        if not check.passed:
            typer.echo(f"failed: {check.name} is {check.value:.4f}, at most {check.limit:.4f} is allowed", err=True)
    where = f": {len(release.asks)} are in {result['vetting']}" if result["vetting"] else ""
    typer.echo(f"candidate {candidate} {SAID[release.result]}{where}", err=True)
    shown = {name: result[name] for name in ("candidate", "result", "passed", "checks", "vetting")}
    show(shown, as_json=as_json, text=release.result)
