"""What every trainer does alike; each implementation of the seam is found, and must be here."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import rollback.train as package
from rollback.registry.registry import Buffer
from rollback.sanitise.rows import Progress
from rollback.train.child import ChildTrainer, Limits
from rollback.train.memory import MemoryTrainer
from rollback.train.thread import ThreadTrainer
from rollback.train.trainer import Order, Retrained, Trainer

METHODS = ("start", "poll", "close")
COMMAND = """
import json, pathlib, sys, time
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
while not (out / "answer").exists():
    time.sleep(0.01)
result, version = (out / "answer").read_text().split()
if result == "failed":
    sys.exit("no luck today")
gate = {"passed": result == "passed", "result": result, "checks": []}
(out / "gate.json").write_text(json.dumps(gate))
(out / "candidate.json").write_text(json.dumps({"version": version}))
sys.exit({"passed": 0, "rejected": 1, "vetting": 3}[result])
"""


@dataclass
class Rig:
    """A trainer, and how its work is brought to an end: (order, result, version)."""

    trainer: Trainer
    end: Callable[[Order, str, str | None], None]


def memory() -> Rig:
    trainer = MemoryTrainer()

    def end(order: Order, result: str, version: str | None) -> None:
        trainer.finish(order.key, Retrained(result, version, "said so"))  # type: ignore[arg-type]  # a result's name

    return Rig(trainer, end)


def child(folder: Path) -> Rig:
    script = folder / "command.py"
    script.write_text(COMMAND)
    limits = Limits(timeout_seconds=100, memory_bytes=2**30)
    trainer = ChildTrainer(
        [sys.executable, str(script)],
        folder / "registry",
        clock=time.monotonic,
        now=time.time,
        environ={},
        limits=limits,
    )
    return Rig(trainer, answer)


def answer(order: Order, result: str, version: str | None) -> None:
    """Written at once: whoever waits for the file finds all of it."""
    partial = order.out / "answer.part"
    partial.write_text(f"{result} {version}")
    partial.rename(order.out / "answer")


def thread() -> Rig:
    def retrain(order: Order, progress: Progress) -> None:
        while not (order.out / "answer").exists():
            progress("waiting", 0.5)
            time.sleep(0.001)
        result, version = (order.out / "answer").read_text().split()
        if result == "failed":
            raise ValueError("no luck today")
        gate = {"passed": result == "passed", "result": result, "checks": []}
        (order.out / "gate.json").write_text(json.dumps(gate))
        (order.out / "candidate.json").write_text(json.dumps({"version": version}))

    return Rig(ThreadTrainer(retrain, clock=time.monotonic, now=time.time), answer)


RIGS: dict[type, Callable[[Path], Rig]] = {
    MemoryTrainer: lambda _: memory(),
    ChildTrainer: child,
    ThreadTrainer: lambda _: thread(),
}


def implementations() -> set[type]:
    """Every class in the package that has the seam's methods."""
    found = set()
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(info.name)
        for _, item in inspect.getmembers(module, inspect.isclass):
            if item is not Trainer and all(hasattr(item, name) for name in METHODS):
                found.add(item)
    return found


def test_every_trainer_is_under_this_contract() -> None:
    assert implementations() == set(RIGS)


@pytest.fixture(params=list(RIGS), ids=lambda kind: kind.__name__)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    made = RIGS[request.param](tmp_path)
    yield made
    made.trainer.close()


def order(folder: Path, key: str = "retrain:1") -> Order:
    return Order(
        key, "nids", "2", Buffer(folder / "rows.csv", "label", "source"), b"{}", folder / key.replace(":", "-")
    )


def wait(trainer: Trainer, key: str) -> Retrained:
    deadline = time.monotonic() + 60
    while (result := trainer.poll(key)) is None:
        assert time.monotonic() < deadline, "nothing came of the order"
        time.sleep(0.01)
    return result


def test_an_order_runs_until_its_result_is_there(rig: Rig, tmp_path: Path) -> None:
    rig.trainer.start(order(tmp_path))
    assert rig.trainer.poll("retrain:1") is None
    rig.end(order(tmp_path), "passed", "3")
    made = wait(rig.trainer, "retrain:1")
    assert (made.result, made.candidate) == ("passed", "3")
    assert rig.trainer.poll("retrain:1") == made


@pytest.mark.parametrize("result", ["rejected", "vetting"])
def test_a_candidate_that_may_not_serve_is_named(rig: Rig, tmp_path: Path, result: str) -> None:
    rig.trainer.start(order(tmp_path))
    rig.end(order(tmp_path), result, "3")
    made = wait(rig.trainer, "retrain:1")
    assert (made.result, made.candidate) == (result, "3")


def test_a_failure_has_no_candidate_and_can_be_ordered_again(rig: Rig, tmp_path: Path) -> None:
    rig.trainer.start(order(tmp_path))
    rig.end(order(tmp_path), "failed", None)
    failed = wait(rig.trainer, "retrain:1")
    assert (failed.result, failed.candidate) == ("failed", None)
    assert failed.detail
    (order(tmp_path).out / "answer").unlink(missing_ok=True)
    rig.trainer.start(order(tmp_path))
    assert rig.trainer.poll("retrain:1") is None
    rig.end(order(tmp_path), "passed", "3")
    assert wait(rig.trainer, "retrain:1").result == "passed"


def test_starting_what_runs_is_harmless(rig: Rig, tmp_path: Path) -> None:
    rig.trainer.start(order(tmp_path))
    rig.trainer.start(order(tmp_path))
    rig.end(order(tmp_path), "passed", "3")
    assert wait(rig.trainer, "retrain:1").candidate == "3"


def test_orders_are_told_apart_by_their_keys(rig: Rig, tmp_path: Path) -> None:
    rig.trainer.start(order(tmp_path, "a"))
    rig.trainer.start(order(tmp_path, "b"))
    assert (rig.trainer.poll("a"), rig.trainer.poll("b")) == (None, None)
    rig.end(order(tmp_path, "b"), "passed", "4")
    if not isinstance(rig.trainer, ThreadTrainer):  # whose second order waits for the first
        assert wait(rig.trainer, "b").candidate == "4"
    assert rig.trainer.poll("a") is None
    rig.end(order(tmp_path, "a"), "passed", "3")
    assert (wait(rig.trainer, "a").candidate, wait(rig.trainer, "b").candidate) == ("3", "4")


def test_an_order_that_was_never_started_is_not_known(rig: Rig) -> None:
    with pytest.raises(KeyError):
        rig.trainer.poll("never")


def test_what_was_closed_has_failed_and_can_be_started_again(rig: Rig, tmp_path: Path) -> None:
    rig.trainer.start(order(tmp_path))
    rig.trainer.close()
    closed = rig.trainer.poll("retrain:1")
    assert closed is not None
    assert closed.result == "failed"
    rig.trainer.start(order(tmp_path))
    rig.end(order(tmp_path), "passed", "3")
    assert wait(rig.trainer, "retrain:1").candidate == "3"


def test_the_memory_trainer_remembers_each_order_once(tmp_path: Path) -> None:
    trainer = MemoryTrainer()
    trainer.start(order(tmp_path))
    trainer.start(order(tmp_path))
    assert [known.key for known in trainer.orders] == ["retrain:1"]
    assert json.loads(trainer.orders[0].incident) == {}
