"""`tocsin alerts`: whether alerts get to where they are to go."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from monitor.alerts.alert import Alert, read_incident
from monitor.alerts.open_sinks import body_limit, open_encoder, open_sink
from monitor.alerts.outgoing import incident_alert
from monitor.alerts.sample import sample_incident, sample_request
from monitor.alerts.sink import SinkPermanentError, SinkRetryableError
from monitor.alerts.vetting_requests import request_alert, request_body
from monitor.cli.main import version
from monitor.cli.output import show
from monitor.settings.config import ConfigError, Problem, load_config
from monitor.settings.problems import unknown
from monitor.settings.sink_sections import SinkConfig

app = typer.Typer(no_args_is_help=True)

ConfigFile: TypeAlias = Annotated[
    Path, typer.Option("--config", help="The daemon's configuration.", show_default=False)
]


class TestAlertError(Exception):
    """A test alert did not arrive; the message says where and why."""


@app.callback()
def alerts() -> None:
    """Try out where alerts go."""


@app.command("test")
def send_test(
    config: ConfigFile,
    sink: Annotated[str | None, typer.Option("--sink", help="Only this one.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Send one test alert to every configured sink, now and without the spool.

    It is an incident of the lowest severity of a model called tocsin-test, and says that it is a test. A sink that gets
    vetting requests is sent one of these.

    Example: tocsin alerts test --config tocsin.yaml
    """
    sinks = load_config(config, os.environ).sinks
    if not sinks:
        raise ConfigError(config, [Problem("sinks", "missing: no sink is configured")])
    if sink is not None and sink not in sinks:
        raise ConfigError(config, [Problem(f"sinks.{sink}", unknown(sink, sinks))])
    at = time.time()
    rows = [_try(name, one, at) for name, one in sinks.items() if sink in (None, name)]
    show(rows, as_json=as_json)
    if failed := [row["sink"] for row in rows if not row["sent"]]:
        raise TestAlertError(f"the test alert did not get to {', '.join(failed)}")


def _sample(config: SinkConfig, at: float) -> Alert:
    if config.gets == "vetting":
        request = sample_request(at)
        return request_alert(request, request_body(request, body_limit(config)))
    message = read_incident(sample_incident(at))
    return incident_alert(message, open_encoder(config, version()).incident(message))


def _try(name: str, config: SinkConfig, at: float) -> dict[str, Any]:
    alert = _sample(config, at)
    receiver = open_sink(config, time.monotonic)
    error = ""
    try:
        receiver.send([alert])
        # a receiver that refuses this client's certificate says so only after it was written to
        receiver.close()
    except (SinkRetryableError, SinkPermanentError) as failure:
        error = str(failure)
    return {"sink": name, "type": config.type, "sent": not error, "alert": alert.id, "error": error}
