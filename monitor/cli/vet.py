"""`tocsin vet`: the requests for labels that are open, and answers to them."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
import typer
from kafka.errors import KafkaError

from monitor.cli.output import show
from monitor.daemon import kafka_settings
from monitor.incidents.explain import printable
from monitor.messages import Value
from monitor.open_requests import CHECKPOINTS, OpenRequest, open_requests
from monitor.settings.config import Config, ConfigError, Problem, load_config
from monitor.sources.kafka_connect import connect_producer

app = typer.Typer(no_args_is_help=True)

ConfigFile: TypeAlias = Annotated[
    Path, typer.Option("--config", help="The daemon's configuration.", show_default=False)
]


class VettingError(Exception):
    """A request cannot be answered; the message says why."""


@app.command("list")
def list_requests(
    config: ConfigFile, *, as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False
) -> None:
    """List the events whose true label would decide an open question, those that were asked about first on top.

    Whatever an event's names hold, it is shown in one line of printable characters. What was answered is gone from the
    list once the daemon has taken the answer and written its next checkpoint.

    Example: tocsin vet list --config tocsin.yaml
    """
    state_dir = load_config(config, os.environ).state_dir
    requests = open_requests(state_dir)
    if as_json:
        show([msgspec.to_builtins(found.request) for found in requests], as_json=True)
        return
    if not requests:
        begun = (state_dir / CHECKPOINTS).exists()
        typer.echo("no open requests" if begun else f"no open requests: nothing has run yet with state_dir {state_dir}")
    for found in requests:
        typer.echo("\n".join(printable(line) for line in _in_words(found, config)))


@app.command()
def label(
    config: ConfigFile,
    ident: Annotated[str, typer.Option("--id", help="The event's id, as `vet list` shows it.", show_default=False)],
    answer: Annotated[
        str, typer.Option("--label", help="What it really was: a class of the model.", show_default=False)
    ],
    origin: Annotated[
        str | None, typer.Option("--origin", help="Who says so; the model's first trusted origin.")
    ] = None,
) -> None:
    """Answer one request: the label is written to the trusted feedback topic.

    Example: tocsin vet label --config tocsin.yaml --id 7f3a --label attack --origin analyst
    """
    settings = load_config(config, os.environ)
    found = _found(open_requests(settings.state_dir), ident)
    if answer not in found.request.scores:
        raise VettingError(f"{answer!r} is no class of the model; it knows {', '.join(found.request.scores)}")
    who = _origin(settings, found.model, origin)
    event = {"id": found.request.id, "ts": round(time.time(), 3), "label": answer, "origin": who, "model": found.model}
    topic = _publish(settings, msgspec.json.encode(event))
    typer.echo(printable(f"{ident} is {answer}, says {who} (written to {topic})"))


def _in_words(found: OpenRequest, config: Path) -> Iterator[str]:
    request = found.request
    yield f"{request.id}  (model {found.model}, incident {request.incident})"
    yield f"  why: {request.why}"
    yield f"  scores: {_pairs(request.scores)}"
    yield f"  features: {_pairs(request.features)}"
    if request.ref:
        yield f"  see: {request.ref}"
    if request.deadline is not None:
        yield f"  open until {datetime.fromtimestamp(request.deadline, UTC):%Y-%m-%d %H:%M} UTC, by the events' clock"
    said = shlex.join(["tocsin", "vet", "label", "--config", str(config), "--id", printable(request.id)])
    yield f"  answer: {said} --label {'|'.join(request.scores)}"


def _found(requests: list[OpenRequest], ident: str) -> OpenRequest:
    """The request of that id, as it is or as it is shown."""
    meant = [found for found in requests if ident in (found.request.id, printable(found.request.id))]
    if not meant:
        raise VettingError(f"no open request for event {ident!r}; tocsin vet list shows them")
    if len({found.request.id for found in meant}) > 1:
        # somebody chose an id that looks like another one
        raise VettingError(f"several open requests look like {ident!r}: answer on the trusted feedback topic instead")
    return meant[0]


def _origin(config: Config, model: str, named: str | None) -> str:
    trusted = config.model(model).trusted_origins
    if not trusted:
        field = f"models.{model}.trusted_origins"
        raise ConfigError(None, [Problem(field, "missing: no answer would be believed")])
    if named is not None and named not in trusted:
        raise VettingError(f"{named!r} is no trusted origin of model {model}; those are: {', '.join(trusted)}")
    return named or trusted[0]


def _publish(config: Config, message: bytes) -> str:
    if config.kafka is None or config.kafka.trusted_feedback_topic is None:
        raise ConfigError(None, [Problem("kafka.trusted_feedback_topic", "missing: answers are written there")])
    topic, settings = config.kafka.trusted_feedback_topic, kafka_settings(config.kafka)
    producer = connect_producer(settings)
    try:
        producer.send(topic, message).get(timeout=30)
    except KafkaError as error:
        raise VettingError(f"the answer could not be written to topic {topic}: {error}") from error
    finally:
        producer.close(timeout=1.0)
    return topic


def _pairs(values: Mapping[str, Value]) -> str:
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in values.items()
    )
