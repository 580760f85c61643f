"""`tocsin replay`: the loop of the daemon over files, in event-time order; the same input gives the same bytes."""

from __future__ import annotations

import hashlib
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from prometheus_client import CollectorRegistry

from detectors.verdict import GRAVITY
from monitor.assemble import OUTPUTS, Assembly, Surroundings, assemble
from monitor.cli.output import Progress, show
from monitor.cli.registry_options import AsJson, Name, Root, Trusted, open_registry
from monitor.logging import set_up_logging
from monitor.loop import Loop, LoopSettings, Parts
from monitor.messages import Incident
from monitor.oracle import ORIGIN, Answering, Elsewhere, Oracle, read_answers
from monitor.response import NoResponse
from monitor.settings.config import Config, ModelConfig, load_config
from monitor.sources.file import FileSource
from monitor.sources.file_lines import numbered_lines
from monitor.sources.source import Listener, Role, Source
from monitor.state.checkpoint import MemorySegments
from monitor.state.settlement import Unsaved
from monitor.watching.metrics import Metrics

HASH_KEY = b"tocsin replay: the same bytes every time"
"""A replay guards against nobody: its files are the operator's."""
SUMMARY = "summary.json"


def replay(
    registry: Root,
    name: Name,
    events: Annotated[
        list[Path], typer.Option("--events", help="Inference events: NDJSON (.gz, .zst) or Parquet; may be repeated.")
    ],
    out: Annotated[Path, typer.Option("--out", help="A folder for the outputs; its old outputs are replaced.")],
    feedback: Annotated[list[Path] | None, typer.Option("--feedback", help="Feedback events; may be repeated.")] = None,
    vetting: Annotated[
        Path | None, typer.Option("--vetting", help="Feedback events that a trusted labeller would answer with.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Settings of the model; defaults without.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the detectors' randomness.")] = 0,
    trusted_key: Trusted = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Run the loop over files: no clock, nothing changed outside the output folder.

    Example: tocsin replay --registry registry --name nids --events day1.ndjson.gz --vetting truth.ndjson --out out
    """
    set_up_logging(sys.stderr, as_json=not sys.stderr.isatty())
    settings = _only(load_config(config, os.environ), name)
    files: list[tuple[Path, Role]] = [(path, "inference") for path in events]
    # the operator's own files are a guarded channel: who is trusted is the configuration's word alone
    files += [(path, "trusted") for path in feedback or []]
    answers = read_answers(vetting, numbered_lines(vetting)) if vetting else None
    labeller = _labeller(vetting) if vetting else ORIGIN
    keeper = open_registry(registry, name, trusted_key or settings.signing.trusted_keys)
    _make_room(out, [path for path, _ in files] + ([vetting] if vetting else []))
    figures = CollectorRegistry()
    around = Surroundings(
        {name: keeper},
        out,
        MemorySegments(),
        Metrics(figures, "replay", time.time),
        NoResponse(),
        HASH_KEY,
        seed,
        frozenset({labeller}) if vetting else frozenset(),
    )
    parts = assemble(settings, around)
    oracle = Elsewhere() if answers is None else Oracle(answers, parts.desk, _delays(settings), labeller)
    started = time.monotonic()
    _drive(parts, lambda listener: FileSource(files, listener), oracle)
    summary = summarise(name, parts, out, time.monotonic() - started, figures)
    (out / SUMMARY).write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    for remark in _remarks(summary, out, answered=answers is not None):
        typer.echo(f"note: {remark}", err=True)
    show(summary, as_json=as_json)


def _only(config: Config, name: str) -> Config:
    """The settings of one model; its defaults where the file does not name it."""
    return config.model_copy(update={"models": {name: config.models.get(name, ModelConfig())}})


def _delays(config: Config) -> dict[str, int]:
    return {name: model.vetting_delay_windows for name, model in config.models.items()}


def _labeller(vetting: Path) -> str:
    """The origin of the answers: one that no feedback file holds, as it would be believed there too."""
    return f"{ORIGIN}:{hashlib.sha256(vetting.read_bytes()).hexdigest()[:16]}"


def _make_room(out: Path, inputs: Sequence[Path]) -> None:
    """Take away what an earlier replay left in ``out``, once it is sure that every input can be read and is kept."""
    if out.exists() and not out.is_dir():
        raise typer.BadParameter(f"{out} is no folder", param_hint="--out")
    outputs = [out / f"{name}.ndjson" for name in OUTPUTS] + [out / SUMMARY]
    for path in inputs:
        if path.resolve() in [output.resolve() for output in outputs]:
            raise typer.BadParameter(f"{path} would be overwritten: it is an output; move it first", param_hint="--out")
        with path.open("rb"):
            pass
    out.mkdir(parents=True, exist_ok=True)
    for output in outputs:
        output.unlink(missing_ok=True)


def _remarks(summary: Mapping[str, Any], out: Path, *, answered: bool) -> list[str]:
    """What a reader of the summary should know about it."""
    remarks = []
    if not summary["events"]:
        remarks.append("no event could be used, so nothing was judged")
    if unread := sum(summary["quarantined"].values()):
        remarks.append(f"messages that could not be read: {unread}; why is in {out / 'quarantine.ndjson'}")
    if summary["asked"] and not answered:
        remarks.append(f"labels that would decide more: {summary['asked']}, listed in {out / 'vetting.ndjson'}; "
                       "answer them with --vetting")  # fmt: skip
    return remarks


def _drive(parts: Assembly, connect: Callable[[Listener], Source], answering: Answering) -> None:
    for watch in parts.watches.values():
        watch.open()
    loop = Loop(
        Parts(
            connect,
            parts.intake,
            parts.watches,
            parts.teller,
            Unsaved(parts.outputs),
            answering,
            # without a clock nothing is idle, and nothing is from the future
            lambda: math.inf,
        ),
        LoopSettings(poll_seconds=0.0),
    )
    with Progress("replaying") as progress:
        while not loop.finished:
            loop.turn()
            progress.update(parts.intake.events, f"{parts.teller.windows} windows")
        loop.finish()
    for output in parts.outputs.values():
        output.close()


def summarise(name: str, parts: Assembly, out: Path, seconds: float, figures: CollectorRegistry) -> dict[str, Any]:
    """`summary.json`; the verdict is the gravest incident opened and not retracted."""
    last: dict[str, Incident] = {}
    decoder = msgspec.json.Decoder(Incident)
    for line in (out / "incidents.ndjson").read_bytes().splitlines():
        incident = decoder.decode(line)
        last[incident.uid] = incident
    standing = [i for i in last.values() if i.status != "retracted"]
    gravest = min(standing, key=lambda i: (GRAVITY.index(i.family), -i.confidence), default=None)
    return {
        "model": name,
        "events": parts.intake.events,
        "repeats": int(figures.get_sample_value("tocsin_duplicates_total", {"model": name}) or 0),
        "conflicts": int(figures.get_sample_value("tocsin_id_conflicts_total", {"model": name}) or 0),
        "windows": parts.teller.windows,
        "quarantined": parts.quarantine.by_reason,
        "labels": dict(sum((Counter(c.labels.counts) for c in parts.intake.channels.values()), Counter())),
        "asked": len((out / "vetting.ndjson").read_bytes().splitlines()),
        "incidents": len(last),
        "verdict": {
            "family": gravest.family if gravest else "stable",
            "hypothesis": gravest.hypothesis if gravest else None,
            "confidence": gravest.confidence if gravest else 0.0,
            "family_confidence": gravest.family_confidence if gravest else 0.0,
        },
        "seconds": round(seconds, 3),
        "events_per_second": round(parts.intake.events / seconds, 1) if seconds else 0.0,
    }
