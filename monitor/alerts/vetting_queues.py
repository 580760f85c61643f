"""The sinks that get vetting requests: the same spool and courier as for alerts, and what is still open at a start."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import msgspec

from monitor.alerts.courier import Clocks
from monitor.alerts.delivery import Delivery
from monitor.alerts.open_sinks import SPOOL, body_limit, deliver
from monitor.alerts.seen import Seen
from monitor.alerts.vetting_requests import VettingRequests
from monitor.open_requests import open_requests
from monitor.settings.sink_sections import SinkConfig
from monitor.watching.alert_metrics import AlertMetrics


def open_queues(
    sinks: Mapping[str, SinkConfig], state_dir: Path, metrics: AlertMetrics, clocks: Clocks, rng: random.Random
) -> list[Delivery]:
    """An outlet for each sink that gets vetting requests, delivering; close each of them at the end.

    The requests that are open are offered to all of them: a crash may have kept one from reaching the spool, and a
    queue that is new has seen none. `CheckpointError` where the state on disk is damaged.
    """
    queues = {name: config for name, config in sinks.items() if config.gets == "vetting"}
    if not queues:
        return []
    still_open = [msgspec.json.encode(found.request) for found in open_requests(state_dir)]
    opened = []
    for name, config in queues.items():
        folder = state_dir / SPOOL / name
        choice = VettingRequests(Seen(folder / "seen"), body_limit(config))
        delivery = deliver(name, config, choice, folder, metrics, clocks, rng, still_open)
        opened.append(delivery)
    return opened
