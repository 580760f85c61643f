"""`tocsin replay`: the loop of the daemon over files, in event-time order; the same input gives the same bytes."""

from __future__ import annotations

import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from prometheus_client import CollectorRegistry

from detectors.verdict import GRAVITY
from monitor.assemble import Assembly, Surroundings, assemble
from monitor.checkpoint import MemorySegments
from monitor.cli.output import Progress, show
from monitor.cli.registry import AsJson, Name, Root, Trusted, open_registry
from monitor.config import Config, ModelConfig, load_config
from monitor.logging import set_up_logging
from monitor.loop import Loop, LoopSettings, Parts
from monitor.messages import Incident
from monitor.metrics import Metrics
from monitor.oracle import ORIGIN, Elsewhere, Oracle, read_answers
from monitor.response import no_response
from monitor.settlement import Unsaved
from monitor.sources.file import FileSource
from monitor.sources.file_lines import numbered_lines
from monitor.sources.source import Listener, Role, Source

HASH_KEY = b"tocsin replay: the same bytes every time"
"""A replay guards against nobody: its files are the operator's."""


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
    seed: Annotated[int, typer.Option("--seed", help="Seed of the detectors' randomness.")] = 0,
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
    out.mkdir(parents=True, exist_ok=True)
    for stale in ("windows", "incidents", "vetting", "quarantine"):
        (out / f"{stale}.ndjson").unlink(missing_ok=True)
    keeper = open_registry(registry, name, trusted_key or settings.signing.trusted_keys)
    around = Surroundings(
        {name: keeper},
        out,
        MemorySegments(),
        Metrics(CollectorRegistry(), "replay", time.time),
        no_response,
        HASH_KEY,
        seed,
        frozenset({ORIGIN}) if vetting else frozenset(),
    )
    parts = assemble(settings, around)
    answers = read_answers(vetting, numbered_lines(vetting)) if vetting else None
    started = time.monotonic()
    _drive(parts, lambda listener: FileSource(files, listener), answers, settings)
    summary = summarise(name, parts, out, time.monotonic() - started)
    (out / "summary.json").write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    show(summary, as_json=as_json)


def _only(config: Config, name: str) -> Config:
    """The settings of one model; its defaults where the file does not name it."""
    return config.model_copy(update={"models": {name: config.models.get(name, ModelConfig())}})


def _drive(
    parts: Assembly, connect: Callable[[Listener], Source], answers: Mapping[str, str] | None, config: Config
) -> None:
    delays = {name: model.vetting_delay_windows for name, model in config.models.items()}
    for watch in parts.watches.values():
        watch.open()
    loop = Loop(
        Parts(
            connect,
            parts.intake,
            parts.watches,
            parts.teller,
            Unsaved(parts.outputs),
            Elsewhere() if answers is None else Oracle(answers, parts.desk, delays),
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


def summarise(name: str, parts: Assembly, out: Path, seconds: float) -> dict[str, Any]:
    """`summary.json` as the contract words it; the verdict is the gravest incident opened and not retracted."""
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
        "windows": parts.teller.windows,
        "quarantined": parts.quarantine.by_reason,
        "labels": dict(sum((Counter(c.labels.counts) for c in parts.intake.channels.values()), Counter())),
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
