"""A responder between a registry, servers, a trainer and a desk in memory: what a test of the response plays on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from rollback.audit.log import FILE_NAME, AuditLog, read_records
from rollback.bundle import CANARIES
from rollback.canary.canaries import Canaries
from rollback.manifest import Draft, FeatureSpec
from rollback.registry.memory import MemoryRegistry
from rollback.registry.moves import MOVED
from rollback.registry.registry import Buffer
from rollback.reload.memory import Behaviour, MemoryReloader
from rollback.response.cases import Case, Tries
from rollback.response.charge import Charge
from rollback.response.desk import MemoryDesk
from rollback.response.policy import Finding, Mode, PolicySettings
from rollback.response.responder import Responder
from rollback.response.steps import ACTOR, Target
from rollback.response.worker import Inline, Job, Worker
from rollback.signing.keys import Keys, new_signing_key
from rollback.train.memory import MemoryTrainer
from rollback.train.trainer import Retrained

POISONED = Finding("i1", "nids", "2", "poisoning", "confirmed", 0.99, '{"uid": "i1"}')
ROLLBACK, RETRAINING, PROMOTION = "i1/rollback/2/1", "i1/retraining/2", "i1/promotion/3"
BUFFER = Buffer(Path("buffer.csv"), "label")
DRAFT = Draft(classes=("attack", "benign"), features=(FeatureSpec("bytes"),))
PASSED = Retrained("passed", "3", "passed the gate")


class Theatre:
    """What outlives a crash of the responder: registry, servers, trainer, desk and audit log."""

    def __init__(
        self,
        folder: Path,
        *endpoints: Behaviour,
        mode: Mode = "act",
        policy: PolicySettings | None = None,
        buffer: Buffer | None = BUFFER,
        worker: Callable[[], Worker] = Inline,
    ) -> None:
        self.now = 1000.0
        self.folder = folder
        self.mode = mode
        self._worker = worker
        self.registry = MemoryRegistry("nids", Keys.of(new_signing_key()), lambda: self.now)
        canaries = Canaries(DRAFT.manifest("", "", "").schema, np.array([[1.0]]), np.array([[0.3, 0.7]]))
        for _ in range(3):
            self.registry.add(DRAFT, {CANARIES: canaries.to_npz()}, by="test", reason="test")
        self.registry.promote("2", expected="1", known_good=False, by="release", reason="retrain")
        servers = endpoints or (Behaviour(),)
        self.servers = MemoryReloader({f"server {i}": b for i, b in enumerate(servers)}, "2")
        self.trainer = MemoryTrainer()
        self._result: Retrained | None = None
        self.desk = MemoryDesk()
        self.charge = Charge(
            Target(self.registry, self.servers),
            self.trainer,
            lambda _: buffer,
            policy or PolicySettings(),
            Tries(attempts=3, retry_seconds=5.0),
            grace_seconds=60.0,
        )
        self.path = folder / FILE_NAME
        self._log: AuditLog | None = None
        self.start()

    def start(self) -> Responder:
        """Begin, also after a crash: whatever was in memory is gone."""
        self.close()
        self._log = AuditLog(self.path, lambda: self.now)
        self.responder = Responder(
            self.mode,
            {"nids": self.charge},
            self.desk,
            self._worker(),
            self._log,
            self.path,
            self.folder,
            lambda: self.now,
        )
        return self.responder

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    def release(self, version: str, *, known_good: bool = False) -> None:
        """Somebody else makes a new version serve."""
        self.registry.add(DRAFT, {}, by="release", reason="new", version=version)
        serving = self.registry.pointers().serving
        self.registry.promote(version, expected=serving, known_good=known_good, by="release", reason="new")

    def run(self, turns: int = 40) -> None:
        for _ in range(turns):
            self.step()

    def will(self, result: Retrained) -> None:
        """What is going to become of every retraining."""
        self._result = result

    def step(self) -> None:
        """A turn of the loop, and what goes on elsewhere meanwhile."""
        self.now += 1.0
        self.responder.step()
        self.train()

    def train(self) -> None:
        """Let the retrainings that run come to the end that `will` has said."""
        for order in self.trainer.orders:
            with suppress(KeyError):  # it does not run
                if self._result is not None:
                    self.trainer.finish(order.key, self._result)

    def phase(self, key: str) -> str | None:
        case = self.case(key)
        return case.phase if case else None

    def case(self, key: str) -> Case | None:
        return self.responder.cases.get(key)

    def kinds(self, kind: str) -> list[str]:
        """The phases of the audit's records of a kind."""
        bodies = [r.body for r in read_records(self.path) if r.kind == kind]
        return [body.get("phase") or body.get("step") or body["case"]["kind"] for body in bodies]

    def moves(self) -> list[tuple[str, str | None]]:
        """Of the pointers, by the response."""
        return [(m.version, m.previous) for m in self.registry.history() if m.by == ACTOR and m.action in MOVED]


class SlowWorker(Inline):
    """Does a job at once, unless its key begins as ``stuck`` says: then not before `release`."""

    def __init__(self) -> None:
        super().__init__()
        self.stuck: str | None = None
        self.waiting: dict[str, Job] = {}

    def submit(self, key: str, job: Job) -> None:
        """See `Worker`."""
        if self.stuck is not None and key.startswith(self.stuck):
            self.waiting.setdefault(key, job)
        else:
            super().submit(key, job)

    def busy(self, key: str) -> bool:
        """See `Worker`."""
        return key in self.waiting or super().busy(key)

    def release(self) -> None:
        """Do what has waited."""
        self.stuck = None
        while self.waiting:
            super().submit(*self.waiting.popitem())


def tamper(registry: MemoryRegistry, version: str) -> None:
    """Change a byte of what was signed."""
    registry._bundles[version]["manifest.json"] += b" "


def mend(registry: MemoryRegistry, version: str) -> None:
    """Take back what `tamper` did."""
    registry._bundles[version]["manifest.json"] = registry._bundles[version]["manifest.json"][:-1]
