"""The stage of the demonstration: a log, a model server whose answers are written to it, a Tocsin that watches."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Protocol, Self

import msgspec
import numpy as np
import yaml
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from monitor.assemble import Surroundings, assemble
from monitor.charges import charges, open_responder
from monitor.demo.server.server import ModelServer
from monitor.demo.supply import Samples
from monitor.loop import Loop, LoopSettings, Parts
from monitor.messages import Incident, VettingRequest
from monitor.oracle import Elsewhere
from monitor.response import ANSWERS, RETRAININGS
from monitor.settings.config import Config, load_config
from monitor.sources.source import Listener, Role, Source
from monitor.state.checkpoint import CheckpointStore
from monitor.state.settlement import Checkpoints, Stateful
from monitor.watching.health import Health
from monitor.watching.http import Listener as HttpListener
from monitor.watching.metrics import Metrics
from monitor.watching.process_metrics import gpus_of_this_machine, watch_process
from monitor.watching.response_board import ResponseBoard
from monitor.watching.response_metrics import ResponseMetrics
from rollback.audit.log import FILE_NAME, AuditLog, read_records
from rollback.manifest import Manifest
from rollback.registry.file import FileRegistry
from rollback.reload.v2_client import V2Client
from rollback.response.cases import Case, Phase
from rollback.response.desk import Answer, FolderDesk
from rollback.signing.keys import Keys
from rollback.tables.table import Table, encode

MODEL = "nids"
ORIGIN = "sandbox"
HASH_KEY = b"the same story for the same seed"
TEMPO: Final = 0.05
"""How fast the story's time goes by while nothing comes in: a retraining must not overtake the traffic."""
MOVING: Final[frozenset[Phase]] = frozenset({"verify", "swap", "reload", "confirm"})
"""While the pointer or the server is being moved, no traffic comes: in the story this takes no time."""


NAMES: Final = {"approve": "approval", "seen": "events", "stale": "events"}
"""What the demonstration calls an event of a case."""


class Medium(Protocol):
    """The log between model server and Tocsin: in this process, or a Kafka broker."""

    def send(self, role: Role, values: Sequence[bytes]) -> None:
        """Append messages; they are there when this returns."""

    def connect(self, listener: Listener) -> Source:
        """A source that reads everything from the start."""

    def close(self) -> None:
        """Free what is held."""


class StageError(Exception):
    """The demonstration cannot go on; the message says why."""


class Stage:
    """Everything that runs during the demonstration, in one process; a context manager."""

    def __init__(self, out: Path, medium: Medium, listen: str | None = None) -> None:
        self.out = out
        self._medium = medium
        self._listen = listen
        self._now = 0.0
        self._known_at = time.monotonic()
        self._stack = ExitStack()
        self._sent = 0
        self._truth: dict[str, str] = {}
        self._read: dict[str, int] = {}
        self.registry = FileRegistry(out / "registry", MODEL, Keys.trial(out / "registry", make=True), self._clock)
        self.state = out / "state"
        self.config = out / "tocsin.yaml"
        self._manifests: dict[str, Manifest] = {}

    def _clock(self) -> float:
        """The story's time: that of its last event, and from then on a little, so that what waits comes to be due."""
        return self._now + TEMPO * (time.monotonic() - self._known_at)

    def __enter__(self) -> Self:
        self._stack.callback(self._medium.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def watch(self) -> None:
        """Start the model server, and a Tocsin that is allowed to act."""
        server = self._stack.enter_context(ModelServer(self.registry, MODEL))
        self._client = V2Client(server.url, MODEL)
        config = self._write_config(server.url)
        store = self._stack.enter_context(CheckpointStore(self.state / "checkpoints"))
        audit = AuditLog(self.state / FILE_NAME, self._clock, Keys.trial(self.state, make=True))
        self._stack.callback(audit.close)
        collector = CollectorRegistry()
        metrics = Metrics(collector, "demo", time.time)
        watch_process(collector, gpus_of_this_machine())
        registries = {MODEL: self.registry}
        self._desk = FolderDesk(self.state / ANSWERS)
        charged = charges(config, registries, os.environ)
        self.responder = open_responder(config, "act", charged, audit, self._clock)
        self._stack.callback(self.responder.close)
        retrainings = self.state / RETRAININGS
        self._board = ResponseBoard(ResponseMetrics(collector), self.responder, audit, retrainings, [MODEL], time.time)
        around = Surroundings(registries, self.state, store, metrics, self.responder, HASH_KEY, seed=0)
        parts = assemble(config, around)
        parts.watches[MODEL].open()
        metrics.features(MODEL, parts.watches[MODEL].feature_names())
        kept: dict[str, Stateful] = {"response": self.responder, **parts.kept()}
        checkpoints = Checkpoints(store, kept, parts.outputs, metrics.checkpointed)
        self._parts = parts
        self._loop = Loop(
            Parts(
                self._medium.connect, parts.intake, parts.watches, parts.teller, checkpoints, Elsewhere(), self._clock
            ),
            LoopSettings(poll_seconds=0.05),
        )
        self._stack.callback(self._loop.close)
        self._stack.callback(self._loop.settle)
        if self._listen is not None:
            health = Health(time.monotonic, assigned=True, loaded=True)
            self._stack.enter_context(HttpListener(self._listen, collector, health))

    def _write_config(self, server: str) -> Config:
        """The configuration that this Tocsin runs with, as a file: the other commands take it, too."""
        written = {
            "mode": "act",
            "state_dir": "state",
            "registry": "registry",
            "models": {
                MODEL: {
                    "trusted_origins": [ORIGIN],
                    "window_max_seconds": 1e9,
                    "serving": {"endpoints": [server]},
                    "response": {"retry_seconds": TEMPO},
                }
            },
        }
        self.config.write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
        return load_config(self.config, {})

    def serve(self, samples: Samples, features: Mapping[str, NDArray[Any]]) -> tuple[str, NDArray[np.str_]]:
        """Ask the model server about the samples, log its answers as events, let Tocsin read them and do what follows.

        Returns the version that served and the classes that it decided for.
        """
        (version,) = self._client.versions()
        manifest = self.manifest(version)
        x = encode(Table("events", features, np.arange(len(samples))), manifest.features)
        answered, scores = self._client.infer(manifest.schema, x)
        self._now, self._known_at = max(self._clock(), float(samples.ts[-1])), time.monotonic()
        self.know(samples)
        self._send("inference", samples.events(features, scores, MODEL, answered or version))
        self.until(lambda: not any(case.phase in MOVING for case in self.responder.cases.values()))
        return version, np.array(manifest.classes)[scores.argmax(axis=1)]

    def begin(self, at: float) -> None:
        """The story begins at this time (seconds since the epoch): what is done before the first event has a date."""
        self._now, self._known_at = at, time.monotonic()

    def know(self, samples: Samples) -> None:
        """What the sandbox would say of these samples, in the stream or in a training buffer."""
        self._truth.update(zip(samples.id.tolist(), samples.label.tolist(), strict=True))

    def release(self, version: str, reason: str) -> None:
        """What a release process does: move the pointer, and make the server follow."""
        pointers = self.registry.pointers()
        self.registry.promote(version, expected=pointers.serving, known_good=False, by="release", reason=reason)
        self._client.load(version)

    def manifest(self, version: str) -> Manifest:
        """What the registry says of a version."""
        if version not in self._manifests:
            self._manifests[version] = self.registry.load(version).manifest
        return self._manifests[version]

    def until(self, happened: Callable[[], bool]) -> None:
        """Let Tocsin go on until then."""
        while not happened():
            self._loop.turn()
            self._board.look()
        self._flush()

    def case(self, kind: str) -> Case | None:
        """The last case of that kind."""
        return next((c for c in reversed(list(self.responder.cases.values())) if c.kind == kind), None)

    def steps(self, key: str) -> list[tuple[str, str]]:
        """What was done for a case, step by step, from the audit log: the step and what came of it."""
        bodies = [r.body for r in read_records(self.state / FILE_NAME) if r.kind in {"answer", "outcome", "sighting"}]
        told = [(b.get("step") or b["event"], b["case"]["detail"]) for b in bodies if b["case"]["key"] == key]
        return [(NAMES.get(step, step), detail) for step, detail in told]

    def answers(self, answer: Answer) -> None:
        """Decide about a case, as `tocsin response` does."""
        self._desk.give(answer)

    def answer(self) -> int:
        """The sandbox answers every open request that it can with the truth; returns how many it answered.

        Rows that a retraining has made itself (counterexamples, rows without an id) it does not know.
        """
        requests = self._new("vetting", VettingRequest)
        answers = [
            {"id": r.id, "ts": self._now, "label": self._truth[r.id], "origin": ORIGIN, "model": MODEL}
            for r in requests
            if r.id in self._truth
        ]
        self._send("trusted", [msgspec.json.encode(a) for a in answers])
        return len(answers)

    def incidents(self) -> list[Incident]:
        """What Tocsin has said since the last call."""
        return self._new("incidents", Incident)

    def windows(self) -> int:
        """Windows judged so far."""
        return self._parts.teller.windows

    def _send(self, role: Role, values: Sequence[bytes]) -> None:
        self._medium.send(role, values)
        self._sent += len(values)
        while sum(self._parts.intake.positions.values()) < self._sent:
            self._loop.turn()
        if unread := self._parts.quarantine.by_reason:
            raise StageError(f"events of the demonstration could not be read: {unread}; see state/quarantine.ndjson")
        self._flush()

    def _flush(self) -> None:
        for output in self._parts.outputs.values():
            output.flush()

    def _new(self, output: str, kind: Callable[..., Any]) -> list[Any]:
        path = self.out / "state" / f"{output}.ndjson"
        with path.open("rb") as file:
            file.seek(self._read.get(output, 0))
            content = file.read()
        self._read[output] = self._read.get(output, 0) + len(content)
        return [msgspec.json.decode(line, type=kind) for line in content.splitlines()]
