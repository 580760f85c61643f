"""`tocsin run` as a process of its own, a labeller who answers it, and what it has written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
from kafka import KafkaProducer
from scenario import NAME

PATIENCE = 120.0


def wait_until(happened: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """The first true value of ``happened``."""
    deadline = time.monotonic() + seconds
    while not (value := happened()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.02)
    return value


def write_config(folder: Path, registry: Path, bootstrap: str, topic: str, **changes: Any) -> Path:
    """A configuration with small windows and quick checkpoints; topics are named after ``topic``."""
    folder.mkdir(parents=True, exist_ok=True)
    model = {
        "trusted_origins": ["sandbox"],
        "window_events": 200,
        "window_max_seconds": 1e9,
        "idle_seconds": 600,
        **changes.pop("model", {}),
    }
    kafka = {
        "bootstrap_servers": [bootstrap],
        "inference_topic": topic,
        "feedback_topic": f"{topic}.feedback",
        "trusted_feedback_topic": f"{topic}.trusted",
        "group_id": topic,
        "group_instance_id": "tocsin-0",
        **changes.pop("kafka", {}),
    }
    config = {
        "registry": str(registry),
        "state_dir": str(folder / "state"),
        "http": {"listen": "127.0.0.1:0"},
        "checkpoint_every_seconds": 0.2,
        "schedule": {"new_versions_seconds": 0},  # when that is depends on the clock, and so would the windows
        "kafka": kafka,
        "models": {NAME: model},
        **changes,
    }
    path = folder / "tocsin.yaml"
    path.write_text(json.dumps(config))  # which is YAML, too
    return path


def records(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file that may be being written."""
    whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    return [json.loads(line) for line in whole.splitlines()]


class Daemon:
    """One configuration's process, which may be started again and again. Its logs are kept over all of them."""

    def __init__(self, config: Path, *more: str) -> None:
        self._command = [sys.executable, "-m", "monitor", "run", "--config", str(config), *more]
        self._log = config.parent / "log.ndjson"
        self._started_at = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.state = config.parent / "state"

    def start(self, stdout: Any = subprocess.DEVNULL) -> Self:
        """Start it; returns at once."""
        self._started_at = self._log.stat().st_size if self._log.exists() else 0
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        # a start without compiled modules takes three times as long, and there are many
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=stdout, stderr=log, env=environment)
        return self

    def without_stdout(self) -> None:
        """From now on it is started without any."""
        self._command = ["sh", "-c", 'exec "$@" >&-', "sh", *self._command]

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def kill(self) -> None:
        """As a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float = 60.0) -> int:
        """The exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not end within {seconds} s:\n{self.log()}") from None

    def log(self) -> str:
        """What it has said since the last start."""
        return self._log.read_bytes()[self._started_at :].decode()

    def says(self, text: str, seconds: float = 60.0) -> str:
        """Wait until the log has it; returns the log."""

        def said() -> bool:
            assert text in self.log() or self.process.poll() is None, f"it ended:\n{self.log()}"
            return text in self.log()

        wait_until(said, f"{text!r} in the log", seconds)
        return self.log()

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of what its listener says."""
        line = next(line for line in self.says('"event": "listening"').splitlines() if '"listening"' in line)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{json.loads(line)['port']}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        """The sum of a metric over all its labels."""
        lines = self.get("/metrics")[1].splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def windows(self) -> list[dict[str, Any]]:
        return records(self.state / "windows.ndjson")

    def incidents(self) -> list[dict[str, Any]]:
        return records(self.state / "incidents.ndjson")

    def checkpoints(self) -> int:
        """The number of the newest one; 0 without any."""
        return max((int(p.name.partition("-")[0]) for p in (self.state / "checkpoints").glob("*.state")), default=0)

    def counted(self) -> int:
        """The events of all windows, with repetitions."""
        return sum(w["events"] for w in self.windows())

    def held(self, partition: int = 0) -> list[int]:
        """The offsets of a partition that windows hold, with repetitions, sorted."""
        ranges = [r for w in self.windows() for r in w["offsets"] if r["partition"] == partition]
        return sorted(o for r in ranges for o in range(r["first"], r["last"] + 1))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()


class Labeller(threading.Thread):
    """Answers the requests of `vetting.ndjson` with the truth, once, on the trusted topic; a context manager.

    About rows that it knows nothing of (a retraining has made some of its own) it says nothing. It begins when it is
    ``ready``.
    """

    def __init__(
        self,
        state: Path,
        bootstrap: str,
        topic: str,
        truth: Mapping[str, str],
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(daemon=True)
        self._requests = state / "vetting.ndjson"
        self._producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
        self._topic = topic
        self._truth = truth
        self._ready = ready
        self._over = threading.Event()
        self.answered: list[str] = []

    def run(self) -> None:
        while not self._over.wait(0.05):
            if not self._ready():
                continue
            for request in records(self._requests):
                if request["id"] not in self.answered:
                    self._answer(request["id"])

    def _answer(self, ident: str) -> None:
        if ident in self._truth:
            label = {"id": ident, "ts": 1.8e9, "label": self._truth[ident], "origin": "sandbox", "model": NAME}
            self._producer.send(self._topic, msgspec.json.encode(label)).get(30)
        self.answered.append(ident)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        self._producer.close()


def send(bootstrap: str, topic: str, values: Sequence[bytes], partitions: int = 1) -> None:
    """Write messages, in turn to each partition; they are there when this returns."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5, max_request_size=70 * 2**20)
    sent = [producer.send(topic, value, partition=i % partitions) for i, value in enumerate(values)]
    for each in sent:
        each.get(30)
    producer.close()
