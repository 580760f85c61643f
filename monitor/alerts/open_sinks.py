"""Makes the sinks that the configuration names. Senders and encoders are found by the names of their files."""

from __future__ import annotations

import importlib
import pkgutil
import random
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

from monitor.alerts import encode, send
from monitor.alerts.admission import Admission
from monitor.alerts.alert import IncidentMessage
from monitor.alerts.courier import Clocks, Courier
from monitor.alerts.dead_letters import FILE as DEAD_LETTERS
from monitor.alerts.dead_letters import DeadLetters
from monitor.alerts.delivery import Delivery
from monitor.alerts.encoder import Encoder
from monitor.alerts.flood import FloodLimit
from monitor.alerts.ledger import FILE as LEDGER
from monitor.alerts.ledger import open_ledger
from monitor.alerts.losses import Losses
from monitor.alerts.outgoing import Choice, Outgoing, Wanted
from monitor.alerts.published import closes_of, last_lines
from monitor.alerts.routes import Placement, Routing, placement
from monitor.alerts.seen import Seen
from monitor.alerts.sink import Sink, SinkSurroundings
from monitor.alerts.spool import Spool
from monitor.alerts.syslog_frame import HEADER_ROOM
from monitor.line_queue import WAITING
from monitor.settings.sink_sections import SinkConfig
from monitor.watching.alert_metrics import AlertMetrics

MakeSink = Callable[[SinkConfig, SinkSurroundings], Sink]
MakeEncoder = Callable[[str, int], Encoder]

SPOOL: Final = "spool"
INCIDENTS: Final = "incidents.ndjson"
OFFERED_AGAIN: Final = 2 * WAITING
"""How many incidents at the end of `incidents.ndjson` are looked through at a start for what did not reach the spool:
more than may have waited in memory, fewer than are remembered as sent."""
OFFERED_AGAIN_BYTES: Final = 67_108_864
"""... and how much of the file at most."""


def senders() -> dict[str, MakeSink]:
    """Every sender of the package: name -> what makes it."""
    return {name: module.make for name, module in _modules(send).items()}


def encoders() -> dict[str, MakeEncoder]:
    """Every format of the package: name -> what makes its encoder, of the product's version and a limit in bytes."""
    return {name: module.make for name, module in _modules(encode).items()}


def open_sinks(
    sinks: Mapping[str, SinkConfig],
    state_dir: Path,
    metrics: AlertMetrics,
    clocks: Clocks,
    rng: random.Random,
    version: str,
    routing: Routing | None = None,
) -> list[Delivery]:
    """An outlet for each sink that gets incidents, delivering; close each at the end. ``version`` is the product's.

    Without ``routing`` each of them gets all incidents.

    What a crash kept from reaching the spool is taken from the end of `incidents.ndjson`; a sink that is new in the
    configuration starts with what happens from now on.
    """
    return [
        _open(name, config, state_dir, metrics, clocks, rng, version, routing)
        for name, config in sinks.items()
        if config.gets == "incidents"
    ]


def open_sink(
    config: SinkConfig,
    monotonic: Callable[[], float],
    wall: Callable[[], float] = time.time,
    heard: Callable[[str], None] = lambda _: None,
) -> Sink:
    """The sender alone; see `SinkSurroundings`."""
    return senders()[config.type](config, SinkSurroundings(socket.gethostname(), monotonic, wall, heard))


def open_encoder(config: SinkConfig, version: str) -> Encoder:
    """The sink's encoder."""
    return encoders()[config.format](version, body_limit(config))


def body_limit(config: SinkConfig) -> int:
    """The greatest body in bytes; over syslog the header takes a part of the greatest message."""
    return config.message_limit() - (HEADER_ROOM if config.type.startswith("syslog") else 0)


def _open(
    name: str,
    config: SinkConfig,
    state_dir: Path,
    metrics: AlertMetrics,
    clocks: Clocks,
    rng: random.Random,
    version: str,
    routing: Routing | None,
) -> Delivery:
    folder = state_dir / SPOOL / name
    known = folder.exists()
    wanted = Wanted(config.send_suspected, config.min_severity)
    admission = _admission(name, wanted, routing, folder / LEDGER, clocks.wall())
    outgoing = Outgoing(
        name,
        wanted,
        FloodLimit(config.alerts_per_minute, config.burst, clocks.monotonic()),
        Seen(folder / "seen"),
        open_encoder(config, version),
        clocks.monotonic,
        clocks.wall,
        admission,
    )
    missed = last_lines(state_dir / INCIDENTS, OFFERED_AGAIN_BYTES)[-OFFERED_AGAIN:]
    if not known:
        outgoing.pass_over(missed)
    elif admission is not None:
        # a sink that was out of the configuration for long: what it holds, and was told, may be over since
        ends = closes_of(state_dir / INCIDENTS, admission.incidents())
        missed = [*(line for line in ends.values() if line not in missed), *missed]
    return deliver(name, config, outgoing, folder, metrics, clocks, rng, missed if known else [])


def _admission(name: str, wanted: Wanted, routing: Routing | None, path: Path, now: float) -> Admission | None:
    """None where the sink gets everything at once, and nothing is left that was held back before."""
    if routing is None and wanted == Wanted() and not path.exists():
        return None

    def place(message: IncidentMessage, at: float) -> Placement | None:
        if not wanted.introduces(message):
            return None
        return Placement(()) if routing is None else placement(routing, name, message, at)

    return Admission(place, open_ledger(path, now))


def deliver(
    name: str,
    config: SinkConfig,
    choice: Choice,
    folder: Path,
    metrics: AlertMetrics,
    clocks: Clocks,
    rng: random.Random,
    missed: Sequence[bytes],
) -> Delivery:
    """An outlet that delivers what ``choice`` makes of its lines, over ``folder``; ``missed`` are the first of them."""
    courier = Courier(
        name,
        choice,
        Spool(folder, config.spool_max_bytes),
        DeadLetters(folder / DEAD_LETTERS),
        Losses(folder / "losses.json"),
        open_sink(config, clocks.monotonic, clocks.wall),
        metrics,
        clocks,
        rng,
    )
    courier.take(missed)
    delivery = Delivery(name, courier, metrics)
    delivery.start()
    return delivery


def _modules(package: ModuleType) -> dict[str, ModuleType]:
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__))
    return {name: importlib.import_module(f"{package.__name__}.{name}") for name in names}
