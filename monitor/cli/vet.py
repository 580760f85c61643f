"""`tocsin vet`: the requests for labels that are open, and answers to them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
import typer
from kafka import KafkaProducer
from kafka.errors import KafkaError

from monitor.checkpoint import latest_state
from monitor.cli.output import show
from monitor.config import Config, ConfigError, Problem, load_config
from monitor.daemon import CHECKPOINTS, kafka_settings
from monitor.messages import VettingRequest
from monitor.sources.kafka_connect import require_reachable

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
    """List the events whose true label would decide an open question, most wanted first.

    Example: tocsin vet list --config tocsin.yaml
    """
    requests = open_requests(load_config(config, os.environ))
    if as_json:
        show(msgspec.to_builtins(requests), as_json=True)
        return
    if not requests:
        typer.echo("no open requests")
    for request in requests:
        typer.echo(f"{request.id}  (incident {request.incident})\n  why: {request.why}")
        typer.echo(f"  scores: {_pairs(request.scores)}\n  features: {_pairs(request.features)}")
        if request.ref:
            typer.echo(f"  see: {request.ref}")


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
    request = next((r for r in open_requests(settings) if r.id == ident), None)
    if request is None:
        raise VettingError(f"no open request for event {ident!r}; tocsin vet list shows them")
    if answer not in request.scores:
        raise VettingError(f"{answer!r} is no class of the model; it knows {', '.join(request.scores)}")
    who = _origin(settings, origin)
    event = {"id": ident, "ts": round(time.time(), 3), "label": answer, "origin": who}
    topic = _publish(settings, msgspec.json.encode(event))
    typer.echo(f"{ident} is {answer}, says {who} (written to {topic})")


def open_requests(config: Config) -> list[VettingRequest]:
    """The requests that the daemon's last checkpoint holds open, oldest first."""
    state = latest_state(config.state_dir / CHECKPOINTS)
    path = config.state_dir / "vetting.ndjson"
    if state is None or not path.exists():
        return []
    still = {row[0] for row in state["parts"]["teller"]["desk"]["open"]}
    decoder = msgspec.json.Decoder(VettingRequest)
    found = {r.id: r for line in path.read_bytes().splitlines() if (r := decoder.decode(line)).id in still}
    return list(found.values())


def _origin(config: Config, named: str | None) -> str:
    trusted = [origin for model in config.models.values() for origin in model.trusted_origins]
    if not trusted:
        raise ConfigError(None, [Problem("models", "no model has trusted_origins: no answer would be believed")])
    if named is not None and named not in trusted:
        raise VettingError(f"{named!r} is no trusted origin of any model; those are: {', '.join(trusted)}")
    return named or trusted[0]


def _publish(config: Config, message: bytes) -> str:
    if config.kafka is None or config.kafka.trusted_feedback_topic is None:
        raise ConfigError(None, [Problem("kafka.trusted_feedback_topic", "missing: answers are written there")])
    topic, settings = config.kafka.trusted_feedback_topic, kafka_settings(config.kafka)
    require_reachable(settings)
    try:
        producer = KafkaProducer(**settings.connection(), acks="all")
        producer.send(topic, message).get(timeout=30)
        producer.close()
    except KafkaError as error:
        raise VettingError(f"the answer could not be written to topic {topic}: {error}") from error
    return topic


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in values.items()
    )
