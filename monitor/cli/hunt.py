"""`tocsin hunt`: what did we miss? Re-scores what a poisoned version decided, and writes rules against its trigger."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import msgspec
import typer

from monitor.capture.gather import Stretch
from monitor.capture.kafka_stretch import kafka_chunks, kafka_ranges
from monitor.cli.hunt_report import in_a_sentence, report
from monitor.cli.output import Busy, Progress, show
from monitor.cli.registry_options import AsJson, Name, Root, Trusted, open_registry
from monitor.cli.when import event_time
from monitor.daemon import kafka_settings
from monitor.hunting.case import Case, open_case
from monitor.hunting.containment import SIGMA, STIX, write_rules
from monitor.hunting.hunt import Hunt
from monitor.hunting.listing import MISSED, WORST, Listing
from monitor.hunting.messages import HuntResult, Input
from monitor.hunting.reading import Scope
from monitor.hunting.weighing import estimate
from monitor.incidents.explain import HUNTS
from monitor.incidents.file import IncidentFileError, find_incident, read_incident
from monitor.messages import Incident, OffsetRange
from monitor.settings.config import Config, ConfigError, Problem, load_config
from monitor.sources.file_chunks import file_chunks
from monitor.sources.kafka_settings import KafkaSettings
from rollback.audit.log import FILE_NAME
from rollback.durable import replace_file
from rollback.registry.moves import check_name

SUMMARY: Final = "summary.json"
OUTPUTS: Final = {
    SUMMARY: "all figures",
    WORST: "the worst events, worst first, with their features",
    MISSED: "every event that was decided differently, or let through with the trigger",
    SIGMA: "a Sigma rule that finds the trigger",
    STIX: "the same as STIX 2.1 indicators",
}
FOREVER: Final = float("inf")
OFFSETS: Final = re.compile(r"([0-9]{1,9}):([0-9]{1,18})-([0-9]{1,18})")


def hunt(
    *,
    registry: Root,
    name: Name,
    incident: Annotated[
        str, typer.Option("--incident", help="The incident: a file, or its uid (see --incidents).", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="A folder for what is found; an earlier hunt's is replaced. With --config: hunts/UID in state_dir, "
            "unless said; tocsin incidents explain finds it there.",
            show_default=False,
        ),
    ] = None,
    events: Annotated[
        list[Path] | None,
        typer.Option("--events", help="Inference events: NDJSON (.gz, .zst) or Parquet; without, Kafka as configured."),
    ] = None,
    incidents: Annotated[
        Path | None,
        typer.Option("--incidents", help="Where the uid is looked up: incidents.ndjson, or a folder that holds it."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Says where Kafka is, and where the daemon's incidents are.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Event time, included; since the version's first event unless said.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Event time, not included any more.")] = None,
    offsets: Annotated[
        list[str] | None,
        typer.Option("--offsets", help="PARTITION:FIRST-LAST of the topic, instead of by time; may be repeated."),
    ] = None,
    version: Annotated[
        list[str] | None, typer.Option("--version", help="Whose events; those that the incident blames unless said.")
    ] = None,
    known_good: Annotated[
        str | None, typer.Option("--known-good", help="The version that judges; the incident's unless said.")
    ] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="How many of the worst events are listed.")] = 10_000,
    trusted_key: Trusted = None,
    as_json: AsJson = False,
) -> None:
    """Find what a poisoned version let pass: re-score its events with the last known good version.

    Hunted are the events that name the incident's version, or one before it that was poisoned already. Writes
    summary.json, worst.ndjson, missed.ndjson and, where the incident names a trigger, rules as Sigma and STIX.

    Example: tocsin hunt --registry registry --name nids --incident incident.json --events day1.ndjson.gz --out hunt
    """
    settings = load_config(config, os.environ) if config is not None else None
    if events and offsets:
        raise typer.BadParameter("events come from files or from Kafka's offsets, not both", param_hint="--offsets")
    told = _incident(incident, incidents or (settings.state_dir if settings else None), name)
    out = out or _own_folder(settings, told.uid)
    first, after = _stretch(start, end)
    keys = trusted_key or (settings.signing.trusted_keys if settings else None)
    keeper = open_registry(registry, name, keys, state=_watched(settings))
    with Busy("comparing the versions"):
        case = open_case(keeper, told, version or (), known_good)
    digests = {str(path): _digest(path) for path in events or []}
    if events:
        chunks = file_chunks((path, "inference") for path in events)
    elif offsets:
        chunks = kafka_ranges(_inference(settings), _ranges(offsets))
    else:
        stretch = Stretch((case.since or 0.0) if first is None else first, min(after, max(time.time(), 1.0)))
        chunks = kafka_chunks(_inference(settings), stretch)
    scope = Scope(name, first or 0.0, after)
    compared = {one.version: one for one in case.versions}
    with _replacing(out, events or []) as part:
        with Listing(part, most) as listing, Progress("hunting") as progress:
            found = Hunt(scope, compared, listing, secrets.token_bytes(32))
            for chunk in chunks:
                found.take(chunk)
                progress.update(found.events)
            listing.finish()
        result = _result(case, found, digests, part)
        replace_file(part / SUMMARY, msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    for note in result.notes:
        typer.echo(f"note: {note}", err=True)
    show(msgspec.to_builtins(result), as_json=as_json, text=report(result))


def _incident(given: str, place: Path | None, model: str) -> Incident:
    """From a file, or by its uid."""
    if Path(given).is_file():
        told = read_incident(Path(given))
    elif place is not None:
        told = find_incident(place, given)
    else:
        raise IncidentFileError(
            f"{given}: there is no such file; if it is an incident's uid, say with --incidents (or --config) where "
            "incidents.ndjson lies"
        )
    if told.model != model:
        raise typer.BadParameter(f"{told.uid} is about model {told.model!r}, not {model!r}", param_hint="--incident")
    return told


def _watched(settings: Config | None) -> Path | None:
    """The daemon's state folder, where one has run: its audit log says what versions must be."""
    return settings.state_dir if settings is not None and (settings.state_dir / FILE_NAME).exists() else None


def _own_folder(settings: Config | None, uid: str) -> Path:
    """Where a hunt goes unless said. A uid comes out of a file: only what is a name becomes a path."""
    if settings is None:
        raise typer.BadParameter("say where what is found goes, with --out, or give --config", param_hint="--out")
    return settings.state_dir / HUNTS / check_name(uid, "incident")


def _stretch(start: str | None, end: str | None) -> tuple[float | None, float]:
    first = None if start is None else event_time(start, "--from")
    after = FOREVER if end is None else event_time(end, "--to")
    if (first or 0.0) >= after:
        raise typer.BadParameter(f"{start or 0} does not lie before {end}", param_hint="--from")
    return first, after


@contextmanager
def _replacing(out: Path, inputs: Sequence[Path]) -> Iterator[Path]:
    """A folder to write in; what is there at the end takes the place of an earlier hunt's, which stays until then."""
    if out.exists() and not out.is_dir():
        raise typer.BadParameter(f"{out} is no folder", param_hint="--out")
    outputs = [out / name for name in OUTPUTS]
    for path in inputs:
        if path.resolve() in [output.resolve() for output in outputs]:
            raise typer.BadParameter(f"{path} would be overwritten: it is an output; move it first", param_hint="--out")
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".hunt.", dir=out) as folder:
        part = Path(folder)
        yield part
        for name in sorted(OUTPUTS, key=lambda name: name == SUMMARY):  # the summary last: it says what there is
            if (part / name).exists():
                (part / name).replace(out / name)
            else:
                (out / name).unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with Busy(f"reading {path.name}"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _inference(settings: Config | None) -> KafkaSettings:
    """The topic of inference events, alone."""
    if settings is None:
        raise typer.BadParameter("give event files, or a configuration that says where Kafka is", param_hint="--events")
    if settings.kafka is None:
        raise ConfigError(None, [Problem("kafka", "missing: it says where events are; or give --events")])
    return replace(kafka_settings(settings.kafka), topics={settings.kafka.inference_topic: "inference"})


def _ranges(texts: Sequence[str]) -> dict[int, tuple[int, int]]:
    """By partition the first offset, and the one after the last."""
    found: dict[int, tuple[int, int]] = {}
    for text in texts:
        parts = OFFSETS.fullmatch(text)
        if parts is None or int(parts[2]) > int(parts[3]):
            raise typer.BadParameter(
                f"{text!r} is no PARTITION:FIRST-LAST, such as 0:1500-2999", param_hint="--offsets"
            )
        if int(parts[1]) in found:
            raise typer.BadParameter(f"partition {parts[1]} is named twice", param_hint="--offsets")
        found[int(parts[1])] = (int(parts[2]), int(parts[3]) + 1)
    return found


def _result(case: Case, found: Hunt, digests: dict[str, str], out: Path) -> HuntResult:
    incident, weighed = case.incident, estimate(list(found.weighings.values()))
    containment = write_rules(case, found.seen, out)
    sources, sessions = found.tables()
    versions = found.versions()
    return HuntResult(
        incident=incident.uid,
        hypothesis=incident.hypothesis,
        model=incident.model,
        versions=versions,
        made_from=list(case.made_from),
        last_known_good=case.known_good,
        first=found.times[0],
        last=found.times[1],
        inputs=_inputs(found, digests),
        counts=found.counts(),
        estimate=weighed,
        directions=found.directions(),
        sources=sources,
        sessions=sessions,
        containment=containment,
        files={name: what for name, what in OUTPUTS.items() if name == SUMMARY or (out / name).exists()},
        notes=[*case.notes, *_remarks(found, weighed.unknown)],
        summary=in_a_sentence(", ".join(v.version for v in versions), case.known_good, weighed),
    )


def _inputs(found: Hunt, digests: dict[str, str]) -> list[Input]:
    if digests:
        read = {partition.topic: messages for partition, (messages, _, _) in found.read.items()}
        return [Input(read.get(path, 0), file=path, sha256=sha) for path, sha in digests.items()]
    return [
        Input(messages, offsets=OffsetRange(partition.topic, partition.number, first, last))
        for partition, (messages, first, last) in sorted(found.read.items())
    ]


def _remarks(found: Hunt, unknown: str) -> list[str]:
    """What a reader of the figures should know."""
    counts, remarks = found.counts(), []
    if not counts.events:
        remarks.append("no event of the hunted versions was found: nothing was compared")
    for version in found.versions():
        if version.before_service:
            remarks.append(
                f"{version.before_service} events of version {version.version} happened before the registry made it "
                "serve (clocks differ, or it was tried out first); --from leaves them out"
            )
        if version.after_service:
            remarks.append(
                f"{version.after_service} events of version {version.version} happened after it was taken back: is a "
                "server still serving it?"
            )
    if unread := sum(counts.unreadable.values()):
        remarks.append(f"messages that could not be read: {unread}")
    if unknown:
        remarks.append(unknown)
    return remarks
