"""One run of `throughput.py`, in a process of its own: bare, or the whole loop."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from kafka import KafkaConsumer
from prometheus_client import CollectorRegistry

from monitor import messages
from monitor.assemble import Surroundings, assemble
from monitor.daemon import hash_key, kafka_settings, open_configured
from monitor.decoding import envelope
from monitor.logging import set_up_logging
from monitor.loop import Loop, LoopSettings, Parts
from monitor.oracle import Elsewhere
from monitor.response import NoResponse
from monitor.settings.config import Config, KafkaConfig, ModelConfig
from monitor.sources.kafka import KafkaSource
from monitor.sources.source import Chunk, Listener
from monitor.state.checkpoint import CheckpointStore
from monitor.state.settlement import Checkpoints
from monitor.watching.metrics import Metrics

MODEL = "nids"
BARE: Mapping[str, type[msgspec.Struct]] = {"bare": envelope.InferenceEvent, "full": messages.InferenceEvent}
KINDS = (*BARE, "loop")


class Stopwatch:
    """Runs from the moment when the first messages are there."""

    def __init__(self) -> None:
        self._started: tuple[float, float] | None = None

    def messages_came(self) -> None:
        """To be called whenever some came."""
        if self._started is None:
            self._started = (time.perf_counter(), time.process_time())

    def stop(self, events: int) -> dict[str, float]:
        """Figures of this process."""
        if self._started is None:
            raise RuntimeError("no message came")
        wall, cpu = time.perf_counter() - self._started[0], time.process_time() - self._started[1]
        return {"events_per_second": events / wall, "cpu_us_per_event": cpu / events * 1e6, "peak_mib": _peak()}


def _peak() -> float:
    """Most memory that was resident, in MiB; `getrusage` would count what the parent had before it started us."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


class TimedSource(KafkaSource):
    """The loop's source, with a stopwatch."""

    stopwatch: Stopwatch

    def poll(self, max_messages: int, timeout: float) -> Sequence[Chunk]:
        """See `Source`."""
        chunks = super().poll(max_messages, timeout)
        if chunks:
            self.stopwatch.messages_came()
        return chunks


def bare(config: Config, events: int, struct: type[msgspec.Struct]) -> dict[str, float]:
    """Poll and decode to ``struct``, nothing else."""
    options, turn, stopwatch = kafka_settings(_kafka(config)).consumer(), LoopSettings(), Stopwatch()
    consumer = KafkaConsumer(_kafka(config).inference_topic, **{**options, "auto_offset_reset": "earliest"})
    decode = msgspec.json.Decoder(struct).decode
    left = events
    while left:
        for records in consumer.poll(round(turn.poll_seconds * 1000), max_records=turn.max_messages).values():
            stopwatch.messages_came()
            left -= len([decode(record.value) for record in records])
    figures = stopwatch.stop(events)
    consumer.close()
    return figures


def loop(config: Config, events: int, version: str) -> dict[str, float]:
    """What `tocsin run` does, until all events are judged and settled."""
    settings = kafka_settings(_kafka(config))
    metrics = Metrics(CollectorRegistry(), "bench", time.time)
    state = config.state_dir
    with CheckpointStore(state / "checkpoints") as store:
        around = Surroundings(
            {MODEL: open_configured(config, MODEL)}, state, store, metrics, NoResponse(), hash_key(state), seed=0
        )
        parts = assemble(config, around)
        parts.watches[MODEL].open()
        begun = time.perf_counter()
        parts.watches[MODEL].versions(version)
        fitting = time.perf_counter() - begun
        source: list[TimedSource] = []
        stopwatch = Stopwatch()

        def connect(listener: Listener) -> TimedSource:
            source.append(TimedSource(settings, listener))
            source[0].stopwatch = stopwatch
            return source[0]

        kept = parts.kept()
        checkpoints = Checkpoints(store, kept, parts.outputs, metrics.checkpointed)
        loop = Loop(
            Parts(connect, parts.intake, parts.watches, parts.teller, checkpoints, Elsewhere(), time.time),
            LoopSettings(settle_seconds=config.checkpoint_every_seconds),
        )
        while parts.intake.events < events:
            started = time.monotonic()
            loop.turn()
            metrics.turn(time.monotonic() - started)
            metrics.lag({(p.topic, p.number): n for p, n in source[0].lag().items()})
        loop.settle()
        figures = stopwatch.stop(events)
        loop.close()
    return {**figures, "fitting_seconds": fitting, "windows": parts.teller.windows}


def _kafka(config: Config) -> KafkaConfig:
    if config.kafka is None:
        raise ValueError("the configuration names no Kafka")
    return config.kafka


def child(kind: str, folder: Path, asked: Mapping[str, Any]) -> dict[str, float]:
    """One run, in this process."""
    config = Config(
        registry=folder / "registry",
        state_dir=folder / asked["run"],
        kafka=KafkaConfig(
            bootstrap_servers=[asked["bootstrap"]], inference_topic=asked["topic"], group_id=asked["run"]
        ),
        models={MODEL: ModelConfig()},
    )
    if kind in BARE:
        return bare(config, asked["events"], BARE[kind])
    return loop(config, asked["events"], asked["version"])


if __name__ == "__main__":
    set_up_logging(sys.stderr, as_json=False, level=40)
    print(json.dumps(child(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))))
