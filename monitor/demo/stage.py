"""The stage of the demonstration: a log, a model server that writes to it, and a Tocsin that watches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import msgspec
import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from detectors.batch import Scorer
from monitor.assemble import Surroundings, assemble
from monitor.demo.supply import Samples
from monitor.loop import Loop, LoopSettings, Parts
from monitor.messages import Incident, VettingRequest
from monitor.oracle import Elsewhere
from monitor.response import Response
from monitor.settings.config import Config, ModelConfig
from monitor.sources.source import Listener, Role, Source
from monitor.state.checkpoint import CheckpointStore
from monitor.state.settlement import Checkpoints, Stateful
from monitor.watching.metrics import Metrics
from rollback.audit import FILE_NAME, AuditLog
from rollback.keys import Keys
from rollback.registry.file import FileRegistry
from rollback.table import Table, encode

MODEL = "nids"
ORIGIN = "sandbox"
HASH_KEY = b"the same story for the same seed"


class Medium(Protocol):
    """The log between model server and Tocsin: in this process, or a Kafka broker."""

    def send(self, role: Role, values: Sequence[bytes]) -> None:
        """Append messages; they are there when this returns."""

    def connect(self, listener: Listener) -> Source:
        """A source that reads everything from the start."""

    def close(self) -> None:
        """Free what is held."""


@dataclass(frozen=True, slots=True)
class Served:
    """What the model server answered: which version, and how well. ``triggered`` marks rows with the trigger."""

    version: str
    wrong: float
    fooled: float | None


class StageError(Exception):
    """The demonstration cannot go on; the message says why."""


class Stage:
    """Everything that runs during the demonstration, in one process; a context manager."""

    def __init__(self, out: Path, medium: Medium) -> None:
        self.out = out
        self._medium = medium
        self._now = 0.0
        self._stack = ExitStack()
        self._sent = 0
        self._truth: dict[str, str] = {}
        self._read: dict[str, int] = {}
        self.registry = FileRegistry(out / "registry", MODEL, Keys.trial(out / "registry", make=True), self._clock)
        self._scorers: dict[str, tuple[Scorer, Any]] = {}

    def _clock(self) -> float:
        return self._now

    def __enter__(self) -> Self:
        self._stack.callback(self._medium.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def watch(self) -> None:
        """Start Tocsin, allowed to act."""
        state = self.out / "state"
        store = self._stack.enter_context(CheckpointStore(state / "checkpoints"))
        audit = AuditLog(state / FILE_NAME, self._clock)
        self._stack.callback(audit.close)
        metrics = Metrics(CollectorRegistry(), "demo", self._clock)
        respond = Response("act", {MODEL: self.registry}, audit, state / FILE_NAME)
        config = Config(mode="act", models={MODEL: ModelConfig(trusted_origins=[ORIGIN], window_max_seconds=1e9)})
        around = Surroundings({MODEL: self.registry}, state, store, metrics, respond, HASH_KEY, seed=0)
        parts = assemble(config, around)
        parts.watches[MODEL].open()
        kept: dict[str, Stateful] = {"intake": parts.intake, "watches": parts, "teller": parts.teller}
        checkpoints = Checkpoints(store, kept, parts.outputs, metrics.checkpointed)
        self._parts = parts
        self._loop = Loop(
            Parts(
                self._medium.connect, parts.intake, parts.watches, parts.teller, checkpoints, Elsewhere(), self._clock
            ),
            LoopSettings(poll_seconds=0.2),
        )
        self._stack.callback(self._loop.close)
        self._stack.callback(self._loop.settle)

    def serve(self, samples: Samples, features: Mapping[str, NDArray[Any]]) -> tuple[str, NDArray[np.str_]]:
        """Score with whatever version the pointer names, write the events, let Tocsin read them.

        Returns the version that served and the classes that it decided for.
        """
        version = self.registry.pointers().serving or ""
        if version not in self._scorers:
            bundle = self.registry.load(version)
            scorer = bundle.scorer()
            if scorer is None:
                raise ValueError(f"version {version} has no model")
            self._scorers[version] = (scorer, bundle.manifest)
        scorer, manifest = self._scorers[version]
        x = encode(Table("events", features, np.arange(len(samples))), manifest.features)
        scores = scorer(x)
        self._now = max(self._now, float(samples.ts[-1]))
        self._truth.update(zip(samples.id.tolist(), samples.label.tolist(), strict=True))
        self._send("inference", samples.events(features, scores, MODEL, version))
        return version, np.array(manifest.classes)[scores.argmax(axis=1)]

    def answer(self) -> int:
        """The sandbox answers every open request with the truth; returns how many there were."""
        requests = self._new("vetting", VettingRequest)
        answers = [
            {"id": r.id, "ts": self._now, "label": self._truth[r.id], "origin": ORIGIN, "model": MODEL}
            for r in requests
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
        for output in self._parts.outputs.values():
            output.flush()

    def _new(self, output: str, kind: Callable[..., Any]) -> list[Any]:
        path = self.out / "state" / f"{output}.ndjson"
        with path.open("rb") as file:
            file.seek(self._read.get(output, 0))
            content = file.read()
        self._read[output] = self._read.get(output, 0) + len(content)
        return [msgspec.json.decode(line, type=kind) for line in content.splitlines()]
