"""`tocsin reference`: captures a stretch of the stream as a reference for a registry."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from detectors.schema import Schema
from monitor.capture.gather import Gathering, Stretch
from monitor.capture.kafka_stretch import kafka_chunks
from monitor.capture.reference_file import LABELLED_ROWS, ReferenceFile, write_reference
from monitor.cli.output import Progress, show
from monitor.cli.registry_options import AsJson, Name, open_registry
from monitor.cli.when import event_time
from monitor.daemon import kafka_settings
from monitor.settings.config import Config, ConfigError, Problem, load_config
from monitor.sources.file_chunks import file_chunks
from monitor.sources.source import Chunk, Role
from rollback.tables.formats import table_format
from rollback.train.split import REFERENCE_ROWS

app = typer.Typer(no_args_is_help=True)


@app.callback()
def reference() -> None:
    """Make references out of the stream."""


@app.command()
def capture(
    *,
    name: Name,
    start: Annotated[
        str, typer.Option("--from", help="Event time, included: RFC 3339 or seconds since 1970.", show_default=False)
    ],
    end: Annotated[
        str, typer.Option("--to", help="Event time, not included any more; written likewise.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="A new file: .csv, .parquet or .ndjson.", show_default=False)],
    events: Annotated[
        list[Path] | None, typer.Option("--events", help="Inference events; without, Kafka as configured.")
    ] = None,
    feedback: Annotated[
        list[Path] | None, typer.Option("--feedback", help="Feedback; origins trusted by the configuration count.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Says whose labels are trusted, and where Kafka is.")
    ] = None,
    registry: Annotated[
        Path | None, typer.Option("--registry", help="Names features that events list without names.")
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="About so many rows at most, drawn by session.")] = (
        REFERENCE_ROWS
    ),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides which sessions are drawn.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Write a stretch of the stream as a reference file: whole sessions, with the labels of trusted origins.

    The reference is what everything is compared with later, and it is trusted: choose a time of which you know that
    nothing was wrong. It is only written to a file; no existing reference moves. Labels that trusted origins give
    later, up to now, are joined. The scores that were served are kept (columns served:CLASS): where no model is given,
    they are what certainty and importance are compared with.

    Example: tocsin reference capture --name nids --from 2025-03-01T00:00:00Z --to 2025-03-08T00:00:00Z
    --config tocsin.yaml --out reference.parquet
    """
    first, after = event_time(start, "--from"), event_time(end, "--to")
    if first >= after:
        raise typer.BadParameter(f"{start} does not lie before {end}", param_hint="--from")
    stretch = Stretch(first, after)
    table_format(out)  # a name that no table can have is told before anything is read
    settings = load_config(config, os.environ) if config is not None else None
    origins = frozenset(settings.model(name).trusted_origins) if settings and name in settings.models else frozenset()
    gathering = Gathering(name, stretch, origins, _schema(registry, name))
    chunks = _from_files(events, feedback or []) if events else _from_kafka(settings, stretch)
    with Progress("reading events") as progress:
        read = 0
        for chunk in chunks:
            gathering.take(chunk)
            read += len(chunk.offsets)
            progress.update(read)
    made = write_reference(gathering, out, rows=rows, rng=np.random.default_rng(seed))
    for remark in _remarks(made, gathering, trusted=bool(origins)):
        typer.echo(f"note: {remark}", err=True)
    show(_result(made, gathering, name), as_json=as_json)


def _from_files(events: Iterable[Path], feedback: Iterable[Path]) -> Iterator[Chunk]:
    """The operator's own files are a guarded channel, as in a replay."""
    files: list[tuple[Path, Role]] = [(path, "inference") for path in events]
    files += [(path, "trusted") for path in feedback]
    return file_chunks(files)


def _from_kafka(settings: Config | None, stretch: Stretch) -> Iterator[Chunk]:
    if settings is None:
        raise typer.BadParameter("give event files, or a configuration that says where Kafka is", param_hint="--events")
    if settings.kafka is None:
        raise ConfigError(None, [Problem("kafka", "missing: it says where events are; or give --events")])
    return kafka_chunks(kafka_settings(settings.kafka), stretch)


def _schema(registry: Path | None, name: str) -> Schema | None:
    if registry is None:
        return None
    keeper = open_registry(registry, name)
    serving = keeper.pointers().serving
    if serving is None:
        raise typer.BadParameter(f"no version of {name!r} serves in {registry}", param_hint="--registry")
    return keeper.load(serving).schema


def _remarks(made: ReferenceFile, gathered: Gathering, *, trusted: bool) -> list[str]:
    remarks = []
    labelled = sum(made.labels.values())
    if not trusted:
        remarks.append("no label is joined: models.NAME.trusted_origins of the configuration names nobody")
    if labelled < LABELLED_ROWS:
        remarks.append(
            f"{labelled} labelled rows; with fewer than {LABELLED_ROWS}, labels cannot be compared with the model"
        )
    if not gathered.classes:
        remarks.append("scores come as lists: say the classes in their order with --classes")
    if made.contradictory:
        remarks.append(f"{made.contradictory} events stay without a label: trusted origins contradict each other")
    if gathered.counts["conflicting_ids"]:
        remarks.append(f"{gathered.counts['conflicting_ids']} ids had several contents; their events are left out")
    return remarks


def _result(made: ReferenceFile, gathered: Gathering, name: str) -> dict[str, Any]:
    label, source, session = made.roles
    named = len(made.labels) > 1 and bool(gathered.classes)  # scores in a list have the order of the classes
    needs = "" if named else f" --classes {','.join(gathered.classes) or 'A,B,...'}"
    return {
        "file": str(made.path),
        "rows": made.rows,
        "sessions": made.sessions,
        "sources": made.sources,
        "labels": made.labels,
        "sessions_not_drawn": made.left_out,
        "left_out": {name: count for name, count in sorted(gathered.counts.items()) if count},
        "next": f"tocsin registry add --registry DIR --name {name} --reference {made.path} --label {label} "
        f"--source {source} --session {session}{needs}",
    }
