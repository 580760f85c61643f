"""A full story in one process that can be ended, with kill -9, before each single thing that it leaves behind.

`python crash_story.py FOLDER` reads orders from stdin, one a line: a name and steps (0: none). Each is played in a
process forked for it, in a copy of FOLDER/stage: from the verdict to the promotion, ended before the first step, begun
again as if after a crash, ended before the second step of that, and so on, and at last to its end. For each it prints
one line of JSON: how many steps were counted in the last process and what it all came to.

Counted is every call of Python code in this thread that writes, truncates, renames, removes, links or waits for the
disk: nothing has to say that it is a step. Not seen: the inside of a write (a torn line has tests of its own), SQLite,
other threads (steps are done in this one here). What is outside (who serves, the log of events, the labeller) keeps its
own files, by calls that do not count; it does not crash. The trainer is one that has its candidate at once.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry

from monitor.assemble import Assembly, Surroundings, assemble
from monitor.loop import Loop, LoopSettings, Parts
from monitor.oracle import Elsewhere
from monitor.settings.config import Config, ModelConfig
from monitor.sources.memory import MemoryLog, MemorySource
from monitor.sources.source import Committed, Partition
from monitor.state.checkpoint import CheckpointStore
from monitor.state.settlement import Checkpoints, Stateful
from monitor.watching.metrics import Metrics
from rollback.audit.log import FILE_NAME, AuditLog, read_records
from rollback.audit.verification import verify
from rollback.canary.canaries import Canaries
from rollback.durable import replace_file
from rollback.manifest import Draft
from rollback.registry.file import FileRegistry
from rollback.reload.reloader import Observation
from rollback.response.cases import Tries
from rollback.response.charge import Charge
from rollback.response.desk import Answer, FolderDesk
from rollback.response.policy import PolicySettings
from rollback.response.record import read_cases
from rollback.response.responder import Responder
from rollback.response.steps import ACTOR, Target
from rollback.response.worker import Inline
from rollback.signing.keys import Keys
from rollback.train.trainer import Order, Retrained

NAME: Final = "nids"
ROLES: Final[Mapping[str, Any]] = {"events": "inference", "vetted": "trusted"}
STEPS: Final = frozenset(
    {"fsync", "rename", "replace", "unlink", "symlink", "link", "mkdir", "rmdir", "truncate", "ftruncate", "utime"}
)
WRITERS: Final = ("BufferedWriter", "BufferedRandom", "FileIO", "TextIOWrapper")
MOST_TURNS: Final = 3000
START: Final = 2.0e9
AGE: Final = 1.0e6
"""Seconds between two blocks of events."""


class Steps:
    """Counts what is left behind, and ends the process before the step ``last`` (0: never)."""

    def __init__(self, last: int) -> None:
        self.count = 0
        self._last = last
        self._outside = 0

    @contextmanager
    def outside(self) -> Any:
        """What is done within does not count."""
        self._outside += 1
        try:
            yield
        finally:
            self._outside -= 1

    def see(self, _: FrameType, event: str, function: Any) -> None:
        """A profile function (`sys.setprofile`): hears of each call of a built-in function before it is made."""
        if event != "c_call" or self._outside or not _leaves(function):
            return
        self.count += 1
        if self.count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


def _leaves(function: Any) -> bool:
    name = function.__name__
    if name in STEPS:
        return getattr(function, "__self__", None) is sys.modules["posix"]
    return name in {"write", "truncate"} and type(getattr(function, "__self__", None)).__name__ in WRITERS


class Outside:
    """What does not crash: the log of events and commits, the model server, the labeller, an operator who approves."""

    def __init__(self, folder: Path, steps: Steps) -> None:
        self._folder = folder
        self._steps = steps
        self._truth = json.loads((folder / "truth.json").read_bytes())
        self._sent = folder / "sent"
        self._sent.mkdir(exist_ok=True)
        self.log = MemoryLog(ROLES)
        for path in sorted(self._sent.glob("*.ndjson")):
            self._put(path)
        if (folder / "commits.json").exists():
            found = json.loads((folder / "commits.json").read_bytes())
            self.log.committed = {Partition(t, n): Committed(o, m) for t, n, o, m in found}

    def send(self, topic: str, name: str, content: bytes) -> None:
        """Log messages once, under a name that says where they are in the order."""
        with self._steps.outside():
            path = self._sent / f"{len(list(self._sent.iterdir())):04d}.{topic}.{name}.ndjson"
            replace_file(path, content)
            self._put(path)

    def has(self, name: str) -> bool:
        return any(self._sent.glob(f"*.{name}.ndjson"))

    def _put(self, path: Path) -> None:
        self.log.extend(path.name.split(".")[1], path.read_bytes().splitlines())

    def commit(self, offsets: Mapping[Partition, int], metadata: str) -> None:
        with self._steps.outside():
            known = self.log.committed | {p: Committed(offset, metadata) for p, offset in offsets.items()}
            self.log.committed = known
            rows = [[p.topic, p.number, c.offset, c.metadata] for p, c in known.items()]
            replace_file(self._folder / "commits.json", json.dumps(rows).encode())

    def time(self) -> float:
        """Later than every event that was sent, and earlier than those that were not."""
        return START + AGE * sum(self.has(version) for version in ("2", "1", "3"))

    def serving(self) -> str:
        return (self._folder / "serving").read_text()

    def serve(self, version: str) -> None:
        with self._steps.outside():
            with (self._folder / "told").open("a") as file:
                file.write(f"{version}\n")
            replace_file(self._folder / "serving", version.encode())

    def events(self, version: str) -> bytes:
        return (self._folder / f"events{version}.ndjson").read_bytes()

    def answer(self, state: Path) -> None:
        """The labeller answers what is asked, and was not answered."""
        path = state / "vetting.ndjson"
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
            asked = json.loads(line) if line.endswith(b"\n") else {"id": ""}
            name = f"answer-{asked['id']}"
            if asked["id"] in self._truth and not self.has(name):
                answer = {"id": asked["id"], "label": self._truth[asked["id"]], "ts": 2e9, "origin": "sandbox"}
                self.send("vetted", name, json.dumps(answer | {"model": NAME}).encode() + b"\n")


class Source(MemorySource):
    """Commits outlive the process."""

    def __init__(self, outside: Outside, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._outside = outside

    def commit(self, offsets: Mapping[Partition, int], metadata: str) -> None:
        self._outside.commit(offsets, metadata)


class Server:
    """A model server, seen as one endpoint: it serves what it was told last."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    def start(self, expected: str | None, target: str) -> None:  # noqa: ARG002 - the seam's signature
        self._outside.serve(target)

    def observe(self, version: str, canaries: Canaries | None) -> tuple[Observation, ...]:  # noqa: ARG002 - the seam's
        serves = self._outside.serving()
        return (Observation("server", serves, 1.0, "" if serves == version else f"version {serves} answers"),)


class Quick:
    """A trainer that has been through with it when it is asked: the good version once more, as the candidate."""

    def __init__(self, registry: FileRegistry) -> None:
        self._registry = registry

    def start(self, order: Order) -> None:
        if self._candidate(order.key) is None:
            good = self._registry.load("1")
            files = {n: c for n, c in good.files.items() if n not in {"manifest.json", "attestation.json"}}
            manifest = good.manifest
            draft = Draft(
                classes=manifest.classes,
                features=manifest.features,
                onnx=manifest.onnx,
                parent="1",
                lineage={"order": order.key},
            )
            self._registry.add(draft, files, by=ACTOR, reason="retrained")

    def poll(self, key: str) -> Retrained | None:
        found = self._candidate(key)
        return Retrained("passed", found, "passed the gate") if found else Retrained("failed", None, "cut off")

    def close(self) -> None:
        """Nothing runs."""

    def _candidate(self, key: str) -> str | None:
        for version in self._registry.versions():
            if self._registry.load(version).manifest.lineage.get("order") == key:
                return version
        return None


def play(folder: Path, last: int) -> int:
    """The story in ``folder``, from where it stands to its end; returns how many steps were counted."""
    steps = Steps(last)
    outside = Outside(folder, steps)
    state = folder / "state"
    sys.setprofile(steps.see)
    try:
        with CheckpointStore(state / "checkpoints") as store:
            _live(folder, outside, store)
    finally:
        sys.setprofile(None)
    return steps.count


def _live(folder: Path, outside: Outside, store: CheckpointStore) -> None:
    state, ticks = folder / "state", iter(range(10**9))
    clock: Callable[[], float] = lambda: outside.time() + next(ticks)  # noqa: E731 - it goes on by being looked at
    keys = Keys.trial(folder / "registry", make=True)
    registry = FileRegistry(folder / "registry", NAME, keys, clock)
    audit = AuditLog(state / FILE_NAME, clock, Keys.trial(state, make=True))
    desk = FolderDesk(state / "answers")
    charge = Charge(
        Target(registry, Server(outside)), Quick(registry), registry.buffer, PolicySettings(), Tries(retry_seconds=1.0)
    )
    responder = Responder("act", {NAME: charge}, desk, Inline(), audit, state / FILE_NAME, state / "retraining", clock)
    metrics = Metrics(CollectorRegistry(), "test", clock)
    around = Surroundings({NAME: registry}, state, store, metrics, responder, b"k" * 32, seed=1)
    model = ModelConfig(window_events=200, window_max_seconds=1e12, idle_seconds=5.0, trusted_origins=["sandbox"])
    parts = assemble(Config(models={NAME: model}), around)
    parts.watches[NAME].open()
    kept: dict[str, Stateful] = {"response": responder, **parts.kept()}
    saved = Checkpoints(store, kept, parts.outputs, metrics.checkpointed)
    made = Parts(
        lambda listener: Source(outside, outside.log, listener, ends=True),
        parts.intake, parts.watches, parts.teller, saved, Elsewhere(), clock,
    )  # fmt: skip
    loop = Loop(made, LoopSettings(max_messages=200, poll_seconds=0.0, settle_seconds=0.0))
    for _ in range(MOST_TURNS):
        loop.turn()
        if _go_on(outside, responder, desk, state, parts):
            break
    else:
        raise AssertionError(f"no end: {[(c.key, c.phase, c.detail) for c in responder.cases.values()]}")
    loop.settle()
    loop.close()
    audit.append("stop", {})
    audit.close()
    for output in parts.outputs.values():
        output.close()


def _go_on(outside: Outside, responder: Responder, desk: FolderDesk, state: Path, parts: Assembly) -> bool:
    """What the world does next; whether the story is over."""
    for output in parts.outputs.values():
        output.flush()
    if not outside.has("2"):
        outside.send("events", "2", outside.events("2"))
    outside.answer(state)
    phases = {case.kind: case for case in responder.cases.values()}
    promotion = phases.get("promotion")
    if "rollback" in phases and phases["rollback"].phase == "done" and not outside.has("1"):
        outside.send("events", "1", outside.events("1"))
    if promotion is not None and promotion.phase == "approval" and not outside.has("approval"):
        desk.give(Answer(promotion.key, "approve", "ann"))
    if promotion is not None and promotion.phase == "done" and not outside.has("3"):
        outside.send("events", "3", outside.events("3"))
    read = sum(parts.intake.positions.values()) == sum(len(m) for m in outside.log.messages.values())
    return promotion is not None and promotion.phase == "served" and read


def told(folder: Path) -> dict[str, Any]:
    """What it came to; the audit log and the registry are verified."""
    state = folder / "state"
    registry = FileRegistry(folder / "registry", NAME, Keys.trial(folder / "registry"), lambda: 0.0)
    windows = [json.loads(line) for line in (state / "windows.ndjson").read_bytes().splitlines()]
    incidents = [json.loads(line) for line in (state / "incidents.ndjson").read_bytes().splitlines()]
    offsets = Counter(
        o for w in windows for r in w["offsets"] for o in range(r["first"], r["last"] + 1) if r["topic"] == "events"
    )
    last = {i["version"]: i for i in incidents}
    plans = Counter(r.body["case"]["kind"] for r in read_records(state / FILE_NAME) if r.kind == "plan")
    for version in registry.versions():
        registry.verify(version)
    return {
        "events": [len(offsets), sorted(set(offsets.values()))],
        "verdicts": [[w["version"], w["verdict"]["family"]] for w in windows if w["events"]],
        "incident": [last["2"][name] for name in ("uid", "family", "hypothesis", "status", "activity")],
        "actions": [[a["action"], a["target"], a["result"]] for a in last["2"]["action"]],
        "plans": dict(sorted(plans.items())),
        "moves": [[m.action, m.version, m.previous] for m in registry.history()],
        "versions": list(registry.versions()),
        "pointers": asdict(registry.pointers()),
        "phases": {case.kind: case.phase for case in read_cases(state / FILE_NAME).values()},
        "serving": (folder / "serving").read_text(),
        "told": [version for version, _ in itertools.groupby((folder / "told").read_text().split())],
        "records": verify(state / FILE_NAME, keys=Keys.trial(state)).records > 0,
    }


def _forked(what: Callable[[], Any], out: Path) -> int:
    """Do it in a process of its own, which writes what it returns; its exit status (-9: killed)."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            out.write_text(json.dumps(what()))
            code = 0
        except BaseException as error:  # noqa: BLE001 - told to the parent
            out.write_text(json.dumps({"error": f"{type(error).__name__}: {error}"}))
        os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    root = Path(sys.argv[1])
    for line in sys.stdin:
        name, *kills = line.split()
        folder, out = root / name, root / f"{name}.json"
        shutil.copytree(root / "stage", folder, symlinks=True)
        wanted = [int(kill) for kill in kills if int(kill)]
        codes = [_forked(lambda folder=folder, step=step: play(folder, step), out) for step in wanted]
        codes.append(_forked(lambda folder=folder: play(folder, 0), out))
        counted = json.loads(out.read_text())
        code = _forked(lambda folder=folder: told(folder), out)
        result = {"name": name, "codes": codes, "counted": counted, "told": json.loads(out.read_text()), "code": code}
        print(json.dumps(result), flush=True)  # noqa: T201 - the answer to an order
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
