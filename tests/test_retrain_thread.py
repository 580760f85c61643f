"""A retraining in a thread of the daemon: its time, its end, and what it leaves."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import UNSET
from small_registry import NAME, make_small
from test_retrain_child import INCIDENT as TOLD
from test_retrain_child import Clock

from monitor.charges import trainer as configured
from monitor.settings.config import Config
from rollback.registry.registry import Buffer
from rollback.retraining.out import CANDIDATE, GATE
from rollback.sanitise.rows import Progress
from rollback.train.child import INCIDENT, ChildTrainer, Limits
from rollback.train.thread import Retrain, ThreadTrainer
from rollback.train.trainer import Order, Retrained, Trainer


def order(folder: Path, key: str = "key", buffer: Buffer | None = None) -> Order:
    kept = buffer or Buffer(folder / "rows.csv", "label")
    return Order(key, NAME, "2", kept, msgspec.json.encode(TOLD), folder / key)


def threaded(do: Retrain, clock: Clock | None = None, **limits: Any) -> ThreadTrainer:
    return ThreadTrainer(do, clock=clock or time.monotonic, now=clock or time.time, limits=Limits(**limits))


def wait(trainer: Trainer, key: str = "key") -> Retrained:
    deadline = time.monotonic() + 240
    while (result := trainer.poll(key)) is None:
        assert time.monotonic() < deadline, "nothing came of the order"
        time.sleep(0.005)
    return result


def passed(order: Order, version: str) -> None:
    """Leave what a retraining leaves whose candidate has passed."""
    (order.out / GATE).write_text('{"passed": true, "result": "passed", "checks": []}')
    (order.out / CANDIDATE).write_text(f'{{"version": "{version}"}}')


def endless(order: Order, progress: Progress) -> None:
    del order
    while True:
        progress("training", 0.5)
        time.sleep(0.001)


def test_a_retraining_that_takes_too_long_ends_at_its_next_step_and_the_next_order_begins(tmp_path: Path) -> None:
    clock, ended = Clock(), threading.Event()

    def do(order: Order, progress: Progress) -> None:
        if order.key == "second":
            passed(order, "4")
            return
        try:
            endless(order, progress)
        finally:
            ended.set()

    trainer = threaded(do, clock, timeout_seconds=100)
    trainer.start(order(tmp_path))
    trainer.start(order(tmp_path, "second"))
    clock.now = 99.0
    assert trainer.poll("key") is None
    clock.now = 100.0
    late = wait(trainer)
    assert (late.result, late.candidate) == ("failed", None)
    assert "took longer than 100 s (restarts included); what serves was not touched" in late.detail
    assert ended.wait(10)


def test_the_time_limit_counts_from_the_first_start_across_restarts(tmp_path: Path) -> None:
    clock = Clock()
    first = threaded(endless, clock, timeout_seconds=100)
    first.start(order(tmp_path))
    first.close()
    clock.now = 150.0
    second = threaded(endless, clock, timeout_seconds=100)
    second.start(order(tmp_path))
    assert "took longer than 100 s" in wait(second).detail


def test_what_comes_after_the_end_of_its_time_changes_no_result(tmp_path: Path) -> None:
    clock, go, done = Clock(), threading.Event(), threading.Event()

    def deaf(order: Order, progress: Progress) -> None:
        del progress
        go.wait(10)
        passed(order, "3")
        done.set()

    trainer = threaded(deaf, clock, timeout_seconds=1)
    trainer.start(order(tmp_path))
    clock.now = 1.0
    late = wait(trainer)
    go.set()
    assert done.wait(10)
    time.sleep(0.05)
    assert trainer.poll("key") == late


def test_one_order_is_done_at_a_time(tmp_path: Path) -> None:
    at_work, most = [], []

    def do(order: Order, progress: Progress) -> None:
        del progress
        at_work.append(order.key)
        most.append(len(at_work))
        time.sleep(0.02)
        at_work.remove(order.key)
        passed(order, order.key)

    trainer = threaded(do)
    for key in "abcd":
        trainer.start(order(tmp_path, key))
    assert [wait(trainer, key).candidate for key in "abcd"] == list("abcd")
    assert max(most) == 1


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (MemoryError("8 GiB"), "the retraining ran out of memory: 8 GiB; what serves was not touched"),
        (ValueError("no rows"), "the retraining failed: ValueError: no rows; what serves was not touched"),
    ],
)
def test_whatever_is_raised_is_a_failed_order(tmp_path: Path, raised: Exception, said: str) -> None:
    def do(order: Order, progress: Progress) -> None:
        raise raised

    trainer = threaded(do)
    trainer.start(order(tmp_path))
    assert wait(trainer) == Retrained("failed", None, said)


def test_an_order_without_a_candidate_has_failed(tmp_path: Path) -> None:
    trainer = threaded(lambda *_: None)
    trainer.start(order(tmp_path))
    assert wait(trainer) == Retrained("failed", None, "the retraining left no candidate; what serves was not touched")


def test_a_folder_that_cannot_be_made_is_a_failed_order(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("in the way")
    trainer = threaded(endless)
    trainer.start(order(tmp_path))
    assert "the retraining cannot start" in wait(trainer).detail


def test_the_thread_is_nice_and_the_process_is_not(tmp_path: Path) -> None:
    before, seen = os.getpriority(os.PRIO_PROCESS, 0), []

    def do(order: Order, progress: Progress) -> None:
        del progress
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        passed(order, "3")

    trainer = threaded(do, nice=max(7, before))
    trainer.start(order(tmp_path))
    wait(trainer)
    assert seen == [max(7, before)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def configuration(root: Path, **retrain: Any) -> Config:
    kafka = {"bootstrap_servers": ["localhost:9092"], "inference_topic": "events"}
    return Config.model_validate(
        {"registry": str(root), "state_dir": str(root.parent / "state"), "kafka": kafka,
         "models": {NAME: {"retrain": retrain}}}
    )  # fmt: skip


def test_the_configuration_says_which_trainer(tmp_path: Path) -> None:
    assert isinstance(configured(configuration(tmp_path / "r"), NAME, {}), ChildTrainer)
    assert isinstance(configured(configuration(tmp_path / "r", trainer="thread"), NAME, {}), ThreadTrainer)


def test_the_child_is_told_which_class_the_configuration_calls_benign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {told}\n')
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    trainer = configured(configuration(tmp_path / "r", benign="normal"), NAME, {})
    trainer.start(order(tmp_path))
    wait(trainer)
    trainer.close()
    arguments = told.read_text().splitlines()
    assert arguments[arguments.index("--benign") + 1] == "normal"


def test_the_daemon_s_own_thread_makes_a_candidate_that_does_not_serve(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")
    pytest.importorskip("pyarrow", reason="the outputs are Parquet: pip install 'tocsin[data]'")
    small = make_small(tmp_path)
    trainer = configured(configuration(small.root / "registry", trainer="thread", benign="attack"), NAME, {})
    asked = order(tmp_path, buffer=Buffer(small.buffer, "label", "source", "session"))
    trainer.start(asked)
    made = wait(trainer)
    assert made.candidate == "2", made.detail
    assert (asked.out / INCIDENT).exists()
    assert list(small.registry.versions()) == ["1", "2"]
    assert small.registry.pointers().serving == "1"
    assert [small.registry.load(version).manifest.benign for version in ("1", "2")] == [UNSET, "attack"]
    trainer.start(asked)
    assert wait(trainer) == made
    trainer.close()
