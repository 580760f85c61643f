"""The part of the daemon that tells incidents, as a process: `alerting_process.py STATE_DIR ADDRESS INCIDENTS PAUSE`.

It writes incidents as the loop does: to a file whose length belongs to the checkpoint, and to the sinks. After a crash
it goes on at its checkpoint, and tells again what came after that. It runs until it is killed.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

from alert_lines import line
from prometheus_client import CollectorRegistry

from monitor.alerts.courier import Clocks
from monitor.alerts.open_sinks import INCIDENTS, open_sinks
from monitor.outlets import Tee
from monitor.settings.sink_sections import SinkConfig
from monitor.state.output_file import OutputFile
from monitor.watching.alert_metrics import AlertMetrics

TURN = 50
"""Incidents between two checkpoints."""


def run(state_dir: Path, address: str, incidents: int, pause: float) -> None:
    """Tell so many incidents in all, with ``pause`` seconds between two; then wait."""
    config = SinkConfig(type="syslog_tcp", address=address, alerts_per_minute=1e6, burst=2 * incidents)
    checkpoint = state_dir / "checkpoint.json"
    told, position = json.loads(checkpoint.read_bytes()) if checkpoint.exists() else (0, 0)
    output = OutputFile(state_dir / INCIDENTS)
    output.truncate_to(position)
    metrics, clocks = AlertMetrics(CollectorRegistry()), Clocks(time.time, time.monotonic)
    sinks = open_sinks({"siem": config}, state_dir, metrics, clocks, random.Random(), "1")  # noqa: S311 - spreads attempts
    outlets = Tee([output, *sinks])
    while told < incidents:
        for number in range(told, min(told + TURN, incidents)):
            outlets.append(line(number))
            time.sleep(pause)
        told = min(told + TURN, incidents)
        output.sync()
        temporary = checkpoint.with_suffix(".tmp")
        temporary.write_text(json.dumps([told, output.position]))
        temporary.replace(checkpoint)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
