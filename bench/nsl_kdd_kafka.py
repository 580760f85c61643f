"""`tocsin run` on a real Kafka, with a model server that follows the registry and a labeller that knows the truth."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

import msgspec
import numpy as np
from kafka import KafkaConsumer, KafkaProducer
from kafka_broker import KafkaBroker, free_ports
from nsl_kdd_data import MODEL, Part, Served

from detectors.batch import Bools
from monitor.messages import VettingRequest
from rollback.registry.registry import Registry

EVENTS, FEEDBACK, TRUSTED = "soc.inference", "soc.feedback", "soc.vetted"
LABELLER = "sandbox"
BATCH = 1000
PATIENCE = 90.0
CONFIG = """\
mode: act
state_dir: state
registry: {registry}
checkpoint_every_seconds: 2
kafka:
  bootstrap_servers: ["{bootstrap}"]
  inference_topic: {events}
  feedback_topic: {feedback}
  trusted_feedback_topic: {trusted}
  group_id: nsl-kdd
http:
  listen: 127.0.0.1:{port}
models:
  {model}:
    trusted_origins: [{labeller}]
    idle_seconds: 10
"""


class Live:
    """Broker, daemon, server and labeller; a context manager. What the daemon left is in ``state`` afterwards.

    ``served_by[stream][version]``: triggered events, how many of them passed as normal, and all events.
    """

    def __init__(self, folder: Path, root: Path, registry: Registry, served: Served) -> None:
        self._folder = folder
        self._root = root
        self._registry = registry
        self._served = served
        self._stack = ExitStack()
        self._truth: dict[str, str] = {}
        self.state = folder / "state"
        self.served_by: dict[str, dict[str, list[int]]] = {}
        self.produced = 0
        self.answered = 0

    def __enter__(self) -> Self:
        broker = self._stack.enter_context(KafkaBroker(self._folder / "kafka"))
        for topic in (EVENTS, FEEDBACK, TRUSTED, f"{EVENTS}.vetting"):
            broker.create_topic(topic)
        (port,) = free_ports(1)
        self._metrics = f"http://127.0.0.1:{port}/metrics"
        config = self._folder / "tocsin.yaml"
        names = {"events": EVENTS, "feedback": FEEDBACK, "trusted": TRUSTED, "model": MODEL, "labeller": LABELLER}
        config.write_text(
            CONFIG.format(registry=self._root, bootstrap=broker.bootstrap, port=port, **names), encoding="utf-8"
        )
        self._producer = KafkaProducer(bootstrap_servers=broker.bootstrap, compression_type="lz4", acks="all")
        self._stack.callback(self._producer.close)
        self._requests = KafkaConsumer(
            f"{EVENTS}.vetting", bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", group_id="labeller"
        )
        self._stack.callback(self._requests.close)
        log = self._stack.enter_context((self._folder / "run.log").open("wb"))
        self._daemon = subprocess.Popen(
            [sys.executable, "-m", "monitor", "run", "--config", config], stdout=subprocess.DEVNULL, stderr=log
        )
        self._stack.callback(self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def serve(self, stream: str, part: Part, carriers: Bools | None = None) -> None:
        """Serve the rows batch by batch with the version that the registry names then; answer what is asked."""
        samples = part.samples(stream, self.produced)
        self._truth.update(zip(samples.id.tolist(), samples.label.tolist(), strict=True))
        marked = np.zeros(len(part), np.bool_) if carriers is None else carriers
        for first in range(0, len(part), BATCH):
            rows = np.arange(first, min(first + BATCH, len(part)))
            version = self._registry.pointers().serving or ""
            batch, before = part.take(rows), self._windows()
            events = samples.take(rows).events(
                batch.features, self._served.scores(version, batch.features), MODEL, version
            )
            for event in events:
                self._producer.send(EVENTS, event)
            self._producer.flush()
            self.produced += len(events)
            wrong = self._served.wrong(version, batch.features, batch.label)[marked[rows]]
            counts = self.served_by.setdefault(stream, {}).setdefault(version, [0, 0, 0])
            for i, more in enumerate((int(marked[rows].sum()), int(wrong.sum()), len(rows))):
                counts[i] += more
            self._await_windows(before + 1)
            self._answer()

    def _answer(self) -> None:
        """The truth about every event that was asked for."""
        for records in self._requests.poll(timeout_ms=1500).values():
            for record in records:
                asked = msgspec.json.decode(record.value, type=VettingRequest).id
                answer = {"id": asked, "ts": round(time.time(), 3), "label": self._truth[asked], "origin": LABELLER}
                self._producer.send(TRUSTED, msgspec.json.encode(answer))
                self.answered += 1
        self._producer.flush()

    def _windows(self) -> int:
        try:
            with urlopen(self._metrics, timeout=5) as answer:  # noqa: S310 - the daemon's own listener
                text = answer.read().decode()
        except (URLError, OSError):
            return 0
        return round(sum(float(n) for n in re.findall(r"^tocsin_windows_total\{.*\} (\S+)$", text, re.MULTILINE)))

    def _await_windows(self, wanted: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while self._windows() < wanted:
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                log = (self._folder / "run.log").read_text(encoding="utf-8", errors="replace")
                raise RuntimeError(f"tocsin run judged no window in {PATIENCE:.0f} s; its log ends:\n{log[-4000:]}")
            time.sleep(0.2)

    def _stop(self) -> None:
        self._daemon.terminate()
        self._daemon.wait(60)
