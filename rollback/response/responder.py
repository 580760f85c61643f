"""The step machine: takes findings, answers and sightings, and does one step at a time, never waiting for any."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from detectors.evidence import State
from rollback.audit import START, AuditError, AuditLog, read_records
from rollback.registry.registry import Buffer, RegistryError
from rollback.response.cases import ACTS, TABLE, Case, Tries, advance
from rollback.response.desk import Answer, Desk
from rollback.response.policy import Finding, Mode, PolicySettings, decide, follow
from rollback.response.record import intent, moved, opened, recall
from rollback.response.steps import Result, Target, perform
from rollback.response.worker import Worker
from rollback.train.trainer import Order, Retrained, Trainer

EVENTS: Final = {"passed": "ok", "rejected": "rejected", "vetting": "doubted", "failed": "retry"}
"""What a retraining's result means to its case."""


@dataclass(frozen=True, slots=True)
class Charge:
    """One model in the responder's charge.

    ``buffer`` finds a version's training buffer. An event of a replaced version counts as proof that it still serves
    when it is from more than ``grace_seconds`` after the move.
    """

    target: Target
    trainer: Trainer
    buffer: Callable[[str], Buffer | None]
    policy: PolicySettings = field(default_factory=PolicySettings)
    tries: Tries = field(default_factory=Tries)
    grace_seconds: float = 300.0


class Responder:
    """What is done about findings. One thread, except what the worker does.

    ``audit`` is the memory: it is read from ``path`` at the start, and written before anything is done. ``folder`` is
    where retrainings leave their results; ``clock`` gives seconds since the epoch.
    """

    def __init__(
        self,
        mode: Mode,
        charges: Mapping[str, Charge],
        desk: Desk,
        worker: Worker,
        audit: AuditLog,
        path: Path,
        folder: Path,
        clock: Callable[[], float],
    ) -> None:
        self._mode = mode
        self._charges = charges
        self._desk = desk
        self._worker = worker
        self._audit = audit
        self._path = path
        self._folder = folder
        self._clock = clock
        self._cases = recall(read_records(path))
        self._training: set[str] = set()
        self._news = dict.fromkeys(case.incident for case in self._cases.values())
        for case in list(self._cases.values()):
            self._follow(case)

    @property
    def cases(self) -> Mapping[str, Case]:
        """Every case by its key, over and open."""
        return self._cases

    def waiting(self, model: str) -> int:
        """How many cases of a model wait for a person."""
        return sum(c.model == model and c.phase in {"approval", "halted"} for c in self._cases.values())

    def of(self, incident: str) -> list[Case]:
        """The cases of an incident, in the order in which they were opened."""
        return [case for case in self._cases.values() if case.incident == incident]

    def consider(self, finding: Finding) -> None:
        """Decide about a finding; the same finding is decided once."""
        charge = self._charges.get(finding.model)
        if charge is None:
            return
        pointers = charge.target.registry.pointers()
        case = decide(finding, pointers, self._cases, self._mode, charge.policy, self._clock())
        if case is not None:
            self._open(case)

    def seen(self, model: str, version: str, at: float) -> None:
        """Events that ``version`` served came in, the last one from ``at``: proof of what serves."""
        for case in self._moves(model):
            if version == case.target and case.phase == "done" and at > case.since:
                self._move(case, "sighting", "seen", f"events of version {version} come in")
            elif version == case.expected and at > case.since + self._charges[model].grace_seconds:
                self._move(case, "sighting", "stale", f"version {version} still serves, by its events")

    def probed(self, model: str, version: str, problem: str, at: float) -> None:
        """By a probe that began ``at``, an endpoint does not serve ``version``, which the pointer named then."""
        for case in self._moves(model):
            if case.target == version and at > case.since:
                self._move(case, "sighting", "stale", problem)

    def step(self) -> list[str]:
        """Take one thing further; returns the incidents about which there is news. Never blocks.

        In mode observe nothing is taken further, also of what an earlier mode began.
        """
        if self._mode != "observe":
            self._take_answers()
            if not self._take_result() and not self._desk.held():
                self._begin_next()
        news = list(self._news)
        self._news.clear()
        return news

    def state(self) -> State:
        """For the checkpoint: how far the audit log had come."""
        return {"audit_head": self._audit.head}

    def restore(self, state: State) -> None:
        """Check that the log still holds what it held at the checkpoint. Raises `AuditError`."""
        head = state["audit_head"]
        if head != START and all(record.hash != head for record in read_records(self._path)):
            raise AuditError(
                f"{self._path}: the record with hash {head}, which the checkpoint names, is missing: the end of the "
                "log was cut off or it was replaced. Find out who did it; put the log back, or move state_dir away"
            )

    def close(self) -> None:
        """End what runs; a restart goes on with it."""
        for trainer in {id(c.trainer): c.trainer for c in self._charges.values()}.values():
            trainer.close()

    def _moves(self, model: str) -> Iterator[Case]:
        """The newest finished move of the pointer that names what serves now."""
        serving = self._charges[model].target.registry.pointers().serving if model in self._charges else None
        done = [
            c
            for c in self._cases.values()
            if c.model == model and c.kind != "retraining" and c.phase in {"done", "served"} and c.target == serving
        ]
        yield from done[-1:]

    def _take_answers(self) -> None:
        for answer in self._desk.answers():
            case = self._cases.get(answer.key)
            if case is not None:
                self._answer(case, answer)
            self._desk.taken(answer)

    def _answer(self, case: Case, answer: Answer) -> None:
        said = f"{answer.decision} by {answer.by}" + (f": {answer.reason}" if answer.reason else "")
        if (case.phase, answer.decision) in TABLE:
            case = replace(case, known_good=answer.known_good)
            self._move(case, "answer", answer.decision, said, by=answer.by)
        else:
            self._audit.append("ignored", {"key": case.key, "answer": said, "why": f"the case is {case.phase}"})

    def _take_result(self) -> bool:
        """Whether a step has ended."""
        for case in self._working():
            result = self._trained(case) if case.phase == "train" else self._worker.poll(case.key)
            if result is not None:
                at = replace(case, target=result.candidate or case.target)
                self._move(at, "outcome", result.event, result.detail, step=case.phase)
                return True
        return False

    def _begin_next(self) -> None:
        now = self._clock()
        for case in self._working():
            begun = case.key in self._training if case.phase == "train" else self._worker.busy(case.key)
            if not begun and case.due <= now:
                self._begin(case)
                return

    def _begin(self, case: Case) -> None:
        charge = self._charges[case.model]
        if case.phase == "train":
            self._train(case, charge)
            return
        if case.phase in ACTS:
            self._audit.append("intent", intent(case))
        self._worker.submit(case.key, partial(perform, case, charge.target))

    def _train(self, case: Case, charge: Charge) -> None:
        try:
            buffer = charge.buffer(case.expected)
        except (RegistryError, OSError) as error:
            self._move(case, "outcome", "refused", str(error), step="train")
            return
        if buffer is None:
            why = f"no training buffer of version {case.expected} is known: give it with registry add --buffer"
            self._move(case, "outcome", "refused", why, step="train")
            return
        self._audit.append("intent", intent(case))
        self._training.add(case.key)
        message = case.message.encode()
        charge.trainer.start(Order(case.key, case.model, case.expected, buffer, message, self._out(case)))

    def _trained(self, case: Case) -> Result | None:
        if case.key not in self._training:
            return None
        made: Retrained | None = self._charges[case.model].trainer.poll(case.key)
        if made is None:
            return None
        self._training.discard(case.key)
        return Result(EVENTS[made.result], made.detail, made.candidate)  # type: ignore[arg-type]  # all are events

    def _out(self, case: Case) -> Path:
        return self._folder / hashlib.sha256(case.key.encode()).hexdigest()[:16]

    def _working(self) -> list[Case]:
        return [case for case in self._cases.values() if case.working and case.model in self._charges]

    def _open(self, case: Case) -> None:
        self._audit.append("plan", opened(case))
        self._cases[case.key] = case
        self._news[case.incident] = None

    def _move(self, case: Case, kind: str, event: str, detail: str, **more: str) -> None:
        tries = self._charges[case.model].tries if case.model in self._charges else Tries()
        now = self._clock()
        after = advance(case, event, now, detail, tries)  # type: ignore[arg-type]  # others mean nothing to it
        if after is case:
            return
        self._audit.append(kind, moved(after, event, **more))
        self._cases[case.key] = after
        self._news[case.incident] = None
        self._follow(after)

    def _follow(self, case: Case) -> None:
        charge = self._charges.get(case.model)
        if charge is None or self._mode == "observe":
            return
        serving = charge.target.registry.pointers().serving
        follower = follow(case, serving, charge.policy, self._clock())
        if follower is not None and follower.key not in self._cases:
            self._open(follower)
