"""How responses and the audit log stand, as Prometheus sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from monitor.watching.response_board import ResponseBoard
from monitor.watching.response_metrics import PHASES, ResponseMetrics
from rollback.audit.log import FILE_NAME, AuditLog, checkpoint_of
from rollback.gates.check import at_most
from rollback.response.cases import TABLE, Case
from rollback.response.work import results_of
from rollback.retraining.out import GATE, Gate
from rollback.retraining.stages import FILE as STAGES
from rollback.retraining.stages import STAGES as NAMES
from rollback.retraining.stages import Stages
from rollback.signing.keys import Keys

CASE = Case("k", "rollback", "uid", "nids", "2", "1", "poisoned", "approval", since=100.0)
RETRAINING = replace(CASE, key="r", kind="retraining", target="", phase="train", since=100.0)


@dataclass
class Standing:
    cases: dict[str, Case] = field(default_factory=dict)
    holding: str = ""


class Board:
    def __init__(self, folder: Path) -> None:
        self.registry = CollectorRegistry()
        self.standing = Standing()
        self.audit = AuditLog(folder / FILE_NAME, lambda: 5.0, Keys.trial(folder / "keys", make=True))
        self.folder = folder / "retraining"
        metrics = ResponseMetrics(self.registry)
        self._board = ResponseBoard(metrics, self.standing, self.audit, self.folder, ["nids"], lambda: 160.0)

    def see(self, case: Case) -> None:
        self.standing.cases[case.key] = case
        self._board.look()

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"tocsin_{name}", labels)

    def phase(self, action: str, phase: str) -> float | None:
        return self.value("responses", model="nids", action=action, phase=phase)

    def stages(self) -> tuple[str | None, dict[str, float]]:
        """The stage under way, and the seconds of all that have some."""
        self._board.look()
        by_stage = {stage: {"model": "nids", "stage": stage} for stage in NAMES}
        now = [stage for stage, which in by_stage.items() if self.value("retraining_stage", **which)]
        took = {stage: self.value("retraining_stage_seconds", **which) for stage, which in by_stage.items()}
        return (now[0] if now else None), {stage: seconds for stage, seconds in took.items() if seconds}

    def say(self, stages: Stages) -> None:
        out = self.folder / results_of(RETRAINING.key)
        out.mkdir(parents=True, exist_ok=True)
        (out / STAGES).write_bytes(msgspec.json.encode(stages))

    def gate(self, result: str, *checks: tuple[str, float]) -> None:
        out = self.folder / results_of(RETRAINING.key)
        out.mkdir(parents=True, exist_ok=True)
        found = tuple(at_most(name, value, 1.0, None) for name, value in checks)
        gate = Gate(all(check.passed for check in found), result, found)  # type: ignore[arg-type]  # one of three
        (out / GATE).write_bytes(msgspec.json.encode(gate))


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    made = Board(tmp_path)
    yield made
    made.audit.close()


def test_every_phase_that_there_is_can_be_shown() -> None:
    for action in PHASES:
        assert {*PHASES["rollback"], *PHASES["retraining"]} == {phase for phase, _ in TABLE} | set(TABLE.values()), (
            action
        )


def test_a_phase_is_shown_from_the_start_and_follows_the_case(board: Board) -> None:
    assert board.phase("rollback", "halted") == 0.0
    board.see(CASE)
    board.see(replace(CASE, phase="swap"))
    assert (board.phase("rollback", "approval"), board.phase("rollback", "swap")) == (0.0, 1.0)


def test_a_rollback_is_timed_from_its_first_step_and_once(board: Board) -> None:
    for phase, since in (("approval", 100.0), ("verify", 500.0), ("reload", 502.0), ("done", 540.0), ("served", 560.0)):
        board.see(replace(CASE, phase=phase, since=since))  # type: ignore[arg-type]  # phases
    which = {"model": "nids", "action": "rollback"}
    assert board.value("response_duration_seconds_count", **which) == 1.0
    assert board.value("response_duration_seconds_sum", **which) == 40.0


def test_what_halted_is_not_timed_while_it_waits_for_a_person(board: Board) -> None:
    for phase, since in (("verify", 100.0), ("halted", 110.0), ("verify", 5000.0), ("swap", 5001.0), ("done", 5030.0)):
        board.see(replace(CASE, phase=phase, since=since))  # type: ignore[arg-type]  # phases
    assert board.value("response_duration_seconds_sum", model="nids", action="rollback") == 30.0


def test_a_case_that_was_over_before_is_not_timed(board: Board) -> None:
    board.see(replace(CASE, phase="served"))
    assert board.value("response_duration_seconds_count", model="nids", action="rollback") == 0.0
    assert board.phase("rollback", "served") == 1.0


def test_the_gate_of_the_latest_candidate_is_shown_by_requirement(board: Board) -> None:
    board.gate("rejected", ("recall_loss.attack", 0.5), ("recall_loss.benign", 2.0), ("slice_flips", 0.0))
    board.see(RETRAINING)
    board.see(replace(RETRAINING, phase="rejected"))
    assert board.value("gate_requirement_passed", model="nids", requirement="recall_loss") == 0.0
    assert board.value("gate_requirement_passed", model="nids", requirement="slice_flips") == 1.0
    board.gate("passed", ("recall_loss.attack", 0.5))
    board.see(replace(RETRAINING, phase="train"))
    board.see(replace(RETRAINING, phase="made"))
    assert board.value("gate_requirement_passed", model="nids", requirement="recall_loss") == 1.0
    assert board.value("gate_requirement_passed", model="nids", requirement="slice_flips") is None


def test_a_gate_that_cannot_be_read_ends_nothing(board: Board) -> None:
    board.gate("passed", ("slice_flips", 0.0))
    (board.folder / results_of(RETRAINING.key) / GATE).write_text("{")
    board.see(replace(RETRAINING, phase="made"))
    assert board.phase("retraining", "made") == 1.0


def test_the_stage_of_a_retraining_is_shown_while_it_goes_on_and_how_long_each_took_for_ever(board: Board) -> None:
    board.see(RETRAINING)
    assert board.stages() == (None, {})
    board.say(Stages((("reading", 100.0), ("screening", 110.0))))
    assert board.stages() == ("screening", {"reading": 10.0, "screening": 50.0})
    board.say(Stages((("reading", 100.0), ("screening", 110.0), ("training", 130.0)), 155.0))
    board.see(replace(RETRAINING, phase="made"))
    assert board.stages() == (None, {"reading": 10.0, "screening": 20.0, "training": 25.0})


def test_the_stages_of_the_last_retraining_are_shown_after_a_start_too(board: Board) -> None:
    board.say(Stages((("reading", 100.0), ("screening", 110.0)), 130.0))
    board.see(replace(RETRAINING, phase="made", since=131.0))
    assert board.stages() == (None, {"reading": 10.0, "screening": 20.0})


def test_one_that_was_cut_off_before_a_start_took_no_longer_than_until_then(board: Board) -> None:
    board.say(Stages((("reading", 100.0), ("screening", 110.0))))
    board.see(replace(RETRAINING, phase="halted", since=125.0))
    assert board.stages() == (None, {"reading": 10.0, "screening": 15.0})


def test_a_retraining_that_was_cut_off_is_in_no_stage_any_more(board: Board) -> None:
    board.say(Stages((("reading", 100.0), ("screening", 110.0))))
    board.see(RETRAINING)
    board.see(replace(RETRAINING, phase="halted"))
    assert board.stages() == (None, {"reading": 10.0, "screening": 50.0})


@pytest.mark.parametrize(
    "content",
    ['{"begun": [["dancing", 1.0]]}', '{"x": ' + "[" * 200_000, '{"begun": [["reading", 1e999]]}', " " * 20_000_000],
    ids=["other", "deep", "infinite", "large"],
)
def test_stages_that_cannot_be_read_end_nothing(board: Board, content: str) -> None:
    board.say(Stages())
    (board.folder / results_of(RETRAINING.key) / STAGES).write_text(content)
    board.see(RETRAINING)
    assert board.stages() == (None, {})


def test_a_model_that_is_configured_no_longer_makes_no_series(board: Board) -> None:
    board.see(replace(CASE, model="gone"))
    assert board.value("responses", model="gone", action="rollback", phase="approval") is None


def test_the_kill_switch_is_seen(board: Board) -> None:
    board.standing.holding = "by an operator"
    board.see(CASE)
    assert board.value("responses_held") == 1.0


def test_the_audit_log_is_seen_to_advance_and_to_be_signed(board: Board) -> None:
    for number in range(3):
        board.audit.append("test", {"number": number})
    board.see(CASE)
    assert (board.value("audit_records"), board.value("audit_signed_records")) == (3.0, 3.0)
    assert board.value("audit_size_bytes") == board.audit.path.stat().st_size
    assert board.value("audit_checkpoint_timestamp_seconds") == checkpoint_of(board.audit.path).stat().st_mtime


def test_an_audit_log_that_is_gone_ends_nothing_and_is_seen_to_grow_no_more(board: Board) -> None:
    board.audit.append("test", {})
    board.audit.path.unlink()
    board.see(CASE)
    assert (board.value("audit_records"), board.value("audit_size_bytes")) == (1.0, 0.0)


def test_a_log_without_a_key_has_no_signed_records(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / FILE_NAME, lambda: 5.0)
    audit.append("test", {})
    audit.close()
    registry = CollectorRegistry()
    ResponseBoard(ResponseMetrics(registry), Standing(), audit, tmp_path, [], lambda: 160.0).look()
    assert registry.get_sample_value("tocsin_audit_records") == 1.0
    assert registry.get_sample_value("tocsin_audit_signed_records") == 0.0
    assert registry.get_sample_value("tocsin_audit_checkpoint_timestamp_seconds") == 0.0
