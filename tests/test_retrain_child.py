"""The child process of a retraining: limits, deaths, and what is left after them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from small_registry import NAME, TRIGGER, Small, make_small

from rollback.registry.registry import Buffer
from rollback.train.child import LOG, ChildTrainer, Limits
from rollback.train.death import cause
from rollback.train.trainer import Order, Retrained

INCIDENT = {
    "schema": "tocsin.incident.v1", "uid": "u1", "activity": "create", "status": "confirmed", "model": NAME,
    "version": "2", "last_known_good": "1", "opened_at": 0.0, "at": 1.0, "family": "poisoning",
    "hypothesis": "backdoor", "confidence": 0.9, "family_confidence": 0.9, "severity": 9, "summary": "s",
    "window": {"index": 1, "first_id": "a", "last_id": "b"},
    "implicated": {"features": dict(TRIGGER.features), "labels": ["benign"]},
}  # fmt: skip


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def started() -> Iterator[list[ChildTrainer]]:
    trainers: list[ChildTrainer] = []
    yield trainers
    for trainer in trainers:
        trainer.close()


def order(folder: Path, buffer: Buffer | None = None, incident: dict[str, Any] = INCIDENT) -> Order:
    kept = buffer or Buffer(folder / "rows.csv", "label")
    return Order("key", NAME, "2", kept, msgspec.json.encode(incident), folder / "out")


def python(started: list[ChildTrainer], code: str, clock: Any = time.monotonic, **limits: Any) -> ChildTrainer:
    """A trainer whose command is a line of Python."""
    allowed = Limits(**{"timeout_seconds": 100, "memory_bytes": 2**30, **limits})
    command = [sys.executable, "-c", code]
    trainer = ChildTrainer(command, Path("registry"), clock=clock, now=clock, environ={}, limits=allowed)
    started.append(trainer)
    return trainer


def wait(trainer: ChildTrainer, seconds: float = 240) -> Retrained:
    deadline = time.monotonic() + seconds
    while (result := trainer.poll("key")) is None:
        assert time.monotonic() < deadline, "nothing came of the order"
        time.sleep(0.02)
    return result


def children(name: str) -> list[int]:
    """Processes whose command line holds ``name``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if name in (entry / "cmdline").read_text():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_the_child_gets_the_contract_s_options(started: list[ChildTrainer], tmp_path: Path) -> None:
    trainer = python(started, "import sys; print(*sys.argv[1:], flush=True); sys.exit('the end')")
    trainer.start(order(tmp_path, Buffer(tmp_path / "rows.csv", "class", "feed", "flow")))
    assert wait(trainer).detail.endswith("the end")
    out = tmp_path / "out"
    said = (out / LOG).read_text().splitlines()[0]
    assert said == (
        f"retrain --registry registry --name nids --buffer {tmp_path}/rows.csv --label class --source feed "
        f"--session flow --incident {out}/incident.json --out {out}"
    )
    assert msgspec.json.decode((out / "incident.json").read_bytes()) == INCIDENT


def test_a_training_store_has_columns_of_its_own(started: list[ChildTrainer], tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    trainer = python(started, "import sys; sys.exit(' '.join(sys.argv[1:]))")
    trainer.start(order(tmp_path, Buffer(tmp_path / "store", "class", "feed", "flow")))
    assert f"--buffer {tmp_path}/store --incident" in wait(trainer).detail


def test_a_killed_child_has_failed_and_that_is_said(started: list[ChildTrainer], tmp_path: Path) -> None:
    trainer = python(started, "import os; os.kill(os.getpid(), 9)")
    trainer.start(order(tmp_path))
    made = wait(trainer)
    assert (made.result, made.candidate) == ("failed", None)
    assert "ended by SIGKILL: perhaps the system was out of memory" in made.detail
    assert "what serves was not touched" in made.detail


def test_a_child_that_takes_more_memory_than_it_may_fails_with_its_last_words(
    started: list[ChildTrainer], tmp_path: Path
) -> None:
    trainer = python(started, "import time; time.sleep(1); x = bytearray(2**29)", memory_bytes=2**28)
    trainer.start(order(tmp_path))
    made = wait(trainer)
    assert made.result == "failed"
    assert "ran out of memory: it may use 256 MiB (retrain.memory_mib)" in made.detail
    assert "MemoryError" in made.detail


@pytest.mark.parametrize(
    "said",
    [
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "SystemError: error return without exception set",
        "SystemError: <built-in function f> returned NULL without setting an exception",
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8.00 GiB for an array with shape (1, 2)",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB",
        "onnxruntime.capi.onnxruntime_pybind11_state.Fail: bfc_arena.cc:376 Failed to allocate memory for requested",
        "OSError: [Errno 12] Cannot allocate memory",
        "ImportError: libx.so: failed to map segment from shared object",
        "tocsin: MemoryError: no details (set TOCSIN_DEBUG=1 for the traceback)",
    ],
)
@pytest.mark.parametrize("code", [1, 134, -signal.SIGABRT])
def test_want_of_memory_is_called_so_whatever_form_it_takes(tmp_path: Path, said: str, code: int) -> None:
    log = tmp_path / LOG
    log.write_text(f"Traceback\n{said}\n")
    assert cause(code, log, 0, 2**30).startswith("ran out of memory: it may use 1024 MiB (retrain.memory_mib)")
    assert "memory" not in cause(1, log, log.stat().st_size, 2**30)  # an earlier attempt's words are not this one's


@pytest.mark.parametrize("code", [-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGKILL])
def test_a_death_without_words_may_be_want_of_memory(tmp_path: Path, code: int) -> None:
    assert "perhaps" in cause(code, tmp_path / "none", 0, 2**30)
    assert "memory" in cause(code, tmp_path / "none", 0, 2**30)


def test_another_failure_is_not_called_want_of_memory(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text("ValueError: no\n")
    assert cause(1, tmp_path / LOG, 0, 2**30) == "ended with exit code 1"
    assert cause(-signal.SIGTERM, tmp_path / LOG, 0, 2**30) == "was ended by SIGTERM"


def test_the_answer_names_the_decisions_it_was_made_by_and_what_waits(
    started: list[ChildTrainer], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code = f"""
import json, pathlib, sys
out = pathlib.Path({str(out)!r})
(out / "gate.json").write_text(json.dumps({{"passed": False, "result": "vetting", "checks": []}}))
(out / "candidate.json").write_text(json.dumps({{"version": "4", "decisions": "ab12", "reviews": "cd34"}}))
sys.exit(3)
"""
    trainer = python(started, code)
    trainer.start(order(tmp_path))
    made = wait(trainer)
    assert (made.result, made.candidate) == ("vetting", "4")
    assert made.detail == (
        "0 of 0 checks passed; by decisions of SHA-256 ab12, review log at cd34; rows wait for a person "
        f"(tocsin review list; {out}/vetting.ndjson), then tocsin response again"
    )


def test_what_a_child_has_started_ends_with_it(started: list[ChildTrainer], tmp_path: Path) -> None:
    mark = f"tocsin-left-{tmp_path.name}"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)', '{mark}'])"
    trainer = python(started, code)
    trainer.start(order(tmp_path))
    assert wait(trainer).result == "failed"
    deadline = time.monotonic() + 10
    while children(mark):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_time_limit_counts_from_the_first_start_across_restarts(
    started: list[ChildTrainer], tmp_path: Path
) -> None:
    clock = Clock()
    first = python(started, "import time; time.sleep(99)", clock)
    first.start(order(tmp_path))
    clock.now = 60.0
    first.close()
    second = python(started, "import time; time.sleep(99)", clock)
    second.start(order(tmp_path))
    clock.now = 99.0
    assert second.poll("key") is None
    clock.now = 100.0
    late = second.poll("key")
    assert late is not None
    assert "took longer than 100 s (restarts included)" in late.detail

    second.start(order(tmp_path))  # tried again: it has its whole time
    clock.now = 199.0
    assert second.poll("key") is None


def test_an_order_whose_time_went_by_while_nobody_was_there_is_not_begun_again(
    started: list[ChildTrainer], tmp_path: Path
) -> None:
    clock = Clock()
    first = python(started, "import time; time.sleep(99)", clock)
    first.start(order(tmp_path))
    first.close()
    clock.now = 500.0
    (tmp_path / "out" / LOG).unlink()
    second = python(started, "import time; time.sleep(99)", clock)
    second.start(order(tmp_path))
    late = second.poll("key")
    assert late is not None
    assert (late.result, (tmp_path / "out" / LOG).exists()) == ("failed", False)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"at": 1e9}'])
def test_a_start_that_cannot_be_read_or_lies_ahead_gives_the_whole_time(
    started: list[ChildTrainer], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "started.json").write_bytes(content)
    clock = Clock()
    trainer = python(started, "import time; time.sleep(99)", clock)
    trainer.start(order(tmp_path))
    clock.now = 99.0
    assert trainer.poll("key") is None
    clock.now = 100.0
    assert trainer.poll("key") is not None


def test_a_child_that_takes_too_long_is_ended_with_all_that_it_started(
    started: list[ChildTrainer], tmp_path: Path
) -> None:
    mark = f"tocsin-mark-{tmp_path.name}"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(99)', '{mark}'])"
    clock = Clock()
    trainer = python(started, code, clock)
    trainer.start(order(tmp_path))
    deadline = time.monotonic() + 60
    while len(children(mark)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert trainer.poll("key") is None
    clock.now = 100.0
    made = trainer.poll("key")
    assert made is not None
    assert (made.result, "took longer than 100 s" in made.detail) == ("failed", True)
    while children(mark):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_child_is_nice_and_has_few_threads(started: list[ChildTrainer], tmp_path: Path) -> None:
    code = "import os, sys, time; time.sleep(1); sys.exit(f\"{os.nice(0)} {os.environ['OMP_NUM_THREADS']}\")"
    trainer = python(started, code, nice=7, threads=2)
    trainer.start(order(tmp_path))
    assert wait(trainer).detail.endswith(f"{min(os.nice(0) + 7, 19) if os.nice(0) == 0 else 7} 2")


def test_a_command_that_does_not_exist_is_a_failed_order(started: list[ChildTrainer], tmp_path: Path) -> None:
    trainer = ChildTrainer(["/no/such/command"], Path("r"), clock=time.monotonic, now=time.time, environ={})
    trainer.start(order(tmp_path))
    made = trainer.poll("key")
    assert made is not None
    assert (made.result, "cannot start" in made.detail) == ("failed", True)


def test_success_without_a_candidate_is_a_failure(started: list[ChildTrainer], tmp_path: Path) -> None:
    trainer = python(started, "pass")
    trainer.start(order(tmp_path))
    made = wait(trainer)
    assert (made.result, "without a candidate" in made.detail) == ("failed", True)


@pytest.mark.parametrize(
    "limits", [{"timeout_seconds": 0.0}, {"memory_bytes": 0}, {"threads": 0}, {"nice": 20}], ids=lambda d: next(iter(d))
)
def test_limits_out_of_range_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"limits must|nice lies"):
        Limits(**limits)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")
    pytest.importorskip("pyarrow", reason="the outputs are Parquet: pip install 'tocsin[data]'")
    return make_small(tmp_path_factory.mktemp("child"))


def test_the_death_of_the_real_command_touches_nothing_and_starting_it_again_works(
    started: list[ChildTrainer], small: Small, tmp_path: Path
) -> None:
    buffer = Buffer(small.buffer, "label", "source", "session")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    trainer = ChildTrainer(
        [sys.executable, "-m", "monitor"], small.root / "registry", clock=time.monotonic, now=time.time, environ=environ
    )
    started.append(trainer)
    before = small.registry.history()
    asked = order(tmp_path, buffer)
    trainer.start(asked)
    deadline = time.monotonic() + 120
    while not (asked.out / "attempt.json").exists():
        assert trainer.poll("key") is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for pid in children(f"--out\0{asked.out}"):
        os.kill(pid, signal.SIGKILL)
    assert wait(trainer).result == "failed"
    assert small.registry.history() == before

    trainer.start(asked)
    made = wait(trainer)
    assert made.result != "failed", made.detail
    assert list(small.registry.versions()) == ["1", made.candidate]
    assert small.registry.pointers().serving == "1"
    trainer.start(asked)
    assert wait(trainer) == made
    assert list(small.registry.versions()) == ["1", made.candidate]


def test_the_real_command_without_memory_says_so_and_touches_nothing(
    started: list[ChildTrainer], small: Small, tmp_path: Path
) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    trainer = ChildTrainer(
        [sys.executable, "-m", "monitor"],
        small.root / "registry",
        clock=time.monotonic,
        now=time.time,
        environ=environ,
        limits=Limits(timeout_seconds=60, memory_bytes=240 * 2**20),
    )
    started.append(trainer)
    before = small.registry.history()
    trainer.start(order(tmp_path, Buffer(small.buffer, "label", "source", "session")))
    made = wait(trainer)
    assert (made.result, made.candidate) == ("failed", None)
    assert "out of memory" in made.detail or "took longer" in made.detail  # a library may wait for ever without it
    assert "what serves was not touched" in made.detail
    assert small.registry.history() == before


LEFT_BEHIND = """
import sys, time
from pathlib import Path
from rollback.retraining.out import Out
with Out(Path(sys.argv[1])).locked():
    print("at work", flush=True)
    time.sleep(300)
"""


def left_behind(folder: Path) -> subprocess.Popen[bytes]:
    """What a parent that was killed leaves: a process at work in the folder."""
    child = subprocess.Popen([sys.executable, "-c", LEFT_BEHIND, str(folder / "out")], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"at work\n"
    return child


def test_a_process_that_an_earlier_parent_left_at_work_is_waited_for_and_then_taken_over(
    started: list[ChildTrainer], tmp_path: Path
) -> None:
    child = left_behind(tmp_path)
    trainer = python(started, "open('out/spawned', 'w')")
    try:
        trainer.start(order(tmp_path))
        assert trainer.poll("key") is None
        assert not (tmp_path / "out" / LOG).exists()  # nobody was started
    finally:
        child.kill()
        child.communicate()
    assert wait(trainer).result == "failed"  # of one that was started then: it knows no such folder
    assert (tmp_path / "out" / LOG).exists()


def test_a_process_that_was_left_behind_is_ended_when_it_is_late_or_the_trainer_closes(
    started: list[ChildTrainer], tmp_path: Path
) -> None:
    for end in ("late", "close"):
        clock, child = Clock(), left_behind(tmp_path)
        trainer = python(started, "pass", clock)
        trainer.start(order(tmp_path))
        if end == "late":
            clock.now = 101.0
            made = trainer.poll("key")
            assert made is not None
            assert "took longer than 100 s (restarts included) and was ended" in made.detail
        else:
            trainer.close()
        assert child.wait(30) == -signal.SIGKILL
        child.communicate()
