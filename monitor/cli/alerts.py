"""`tocsin alerts`: whether alerts get to where they are to go."""

from __future__ import annotations

import logging
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
import structlog
import typer

from monitor.alerts.alert import read_incident
from monitor.alerts.dead_letters import FILE as DEAD_LETTERS
from monitor.alerts.dead_letters import DeadLetters
from monitor.alerts.open_sinks import INCIDENTS, SPOOL, body_limit, open_encoder, open_sink
from monitor.alerts.replay import Replayed, replay, replay_requests
from monitor.alerts.trial import sample_for, try_out
from monitor.cli.main import version
from monitor.cli.output import show
from monitor.cli.route_report import in_words, report
from monitor.cli.when import event_time
from monitor.incidents.explain import printable
from monitor.incidents.file import read_incident as read_incident_file
from monitor.logging import set_up_logging
from monitor.settings.config import ConfigError, Problem, load_config
from monitor.settings.problems import unknown
from monitor.settings.sink_sections import SinkConfig

log = structlog.get_logger()
app = typer.Typer(no_args_is_help=True)

ConfigFile: TypeAlias = Annotated[
    Path, typer.Option("--config", help="The daemon's configuration.", show_default=False)
]
OneSink: TypeAlias = Annotated[str | None, typer.Option("--sink", help="Only this one.")]
Closed: TypeAlias = Annotated[
    bool,
    typer.Option("--closed", help="Also alerts of incidents that are closed by now: for archives, not for pagers."),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


class TestAlertError(Exception):
    """A test alert did not arrive; the message says where and why."""


class ReplayError(Exception):
    """Dead letters could not be sent again; the message says which and why."""


@app.callback()
def alerts() -> None:
    """Try sinks and routes out, and send dead letters again."""
    set_up_logging(sys.stderr, as_json=not sys.stderr.isatty(), level=logging.WARNING)


@app.command("test")
def send_test(config: ConfigFile, sink: OneSink = None, *, as_json: AsJson = False) -> None:
    """Send one test alert to every configured sink, now and without the spool; show what the other side answered.

    It is an incident of the lowest severity of a model called tocsin-test, and says that it is a test. A sink that gets
    vetting requests is sent one of these. Routes and mute times do not count. Fails where one did not arrive.

    Example: tocsin alerts test --config tocsin.yaml
    """
    at = time.time()
    rows = [_try(name, one, at) for name, one in _chosen(config, sink).items()]
    show(rows, as_json=as_json)
    if failed := [row["sink"] for row in rows if not row["sent"]]:
        raise TestAlertError(f"the test alert did not get to {', '.join(failed)}")


@app.command("replay")
def replay_dead(config: ConfigFile, sink: OneSink = None, *, closed: Closed = False, as_json: AsJson = False) -> None:
    """Send the alerts again that a receiver had refused for good, after the reason was mended.

    They lie in state_dir/spool/SINK/dead.ndjson. Each is encoded anew, as the configuration says now, where
    incidents.ndjson still holds it; a vetting request goes as it was. What arrives is taken out of the file, the rest
    stays with its new reason. What would open an incident again that is closed by now stays, too, unless --closed
    asks for it. The daemon may run meanwhile.

    Example: tocsin alerts replay --config tocsin.yaml --sink siem
    """
    state = load_config(config, os.environ).state_dir
    rows = []
    for name, one in _chosen(config, sink).items():
        path = state / SPOOL / name / DEAD_LETTERS
        if path.exists():
            rows.append({"sink": name, **_replayed(path, one, state / INCIDENTS, closed=closed)})
    show(rows, as_json=as_json, text=None if rows else "there are no dead letters")
    if over := sum(row["closed"] for row in rows):
        log.warning("alerts of incidents that are closed by now were not sent: --closed sends them", alerts=over)
    if left := [_in_short(row) for row in rows if row["why"]]:
        raise ReplayError(f"not all could be sent: {', '.join(left)}")


@app.command("routes")
def show_routes(
    config: ConfigFile,
    incident: Annotated[
        Path, typer.Option("--incident", help="A tocsin.incident.v1, or a file of them: the last.", show_default=False)
    ],
    at: Annotated[str | None, typer.Option("--at", help="At this time (RFC 3339) instead of now.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show where an incident would go, by which routes, until when it is muted, and why it goes nowhere else.

    Example: tocsin alerts routes --config tocsin.yaml --incident incident.json --at 2026-01-03T02:00:00+01:00
    """
    settings = load_config(config, os.environ)
    now = time.time() if at is None else event_time(at, "--at")
    message = read_incident(msgspec.json.encode(read_incident_file(incident)))
    found = report(settings, message, now)
    show(found, as_json=as_json, text="\n".join(in_words(found)))


def _chosen(config: Path, sink: str | None) -> dict[str, SinkConfig]:
    sinks = load_config(config, os.environ).sinks
    if not sinks:
        raise ConfigError(config, [Problem("sinks", "missing: no sink is configured")])
    if sink is not None and sink not in sinks:
        raise ConfigError(config, [Problem(f"sinks.{sink}", unknown(sink, sinks))])
    return {name: one for name, one in sinks.items() if sink in (None, name)}


def _try(name: str, config: SinkConfig, at: float) -> dict[str, Any]:
    trial = try_out(
        name,
        config,
        lambda: sample_for(config, at, version()),
        lambda heard: open_sink(config, time.monotonic, heard=heard),
    )
    return {**asdict(trial), "answer": printable(trial.answer), "error": printable(trial.error)}


def _in_short(row: dict[str, Any]) -> str:
    failed = row["left"] - row["closed"]
    return f"{row['sink']} ({f'{failed}: ' if failed else ''}{row['why']})"


def _replayed(path: Path, config: SinkConfig, incidents: Path, *, closed: bool) -> dict[str, Any]:
    """What became of one sink's letters. Whatever is odd about it, the other sinks' are still to be sent."""
    try:
        with DeadLetters(path).taken() as letters:
            sink = open_sink(config, time.monotonic)
            if config.gets == "vetting":
                done = replay_requests(letters, sink, body_limit(config))
            else:
                done = replay(letters, sink, open_encoder(config, version()), incidents, closed=closed)
            left, why = len(letters), done.away or done.why
    except msgspec.DecodeError as error:
        done, left, why = Replayed(), 0, f"{path}: holds a line that is no dead letter: {error}; take it out"
    except Exception as error:
        log.exception("dead letters could not be sent in a way that nobody thought of", file=str(path))
        done, left, why = Replayed(), 0, f"{type(error).__name__}: {error}"
    return {"sent": done.sent, "closed": done.closed, "left": left, "why": printable(why)}
