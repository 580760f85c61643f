"""The step machine: takes findings, answers and sightings, and does one step at a time, never waiting for any."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from detectors.evidence import State
from rollback.audit.log import START, AuditError, AuditLog, read_records
from rollback.response.cases import ACTS, Case, Tries, advance, answerable
from rollback.response.charge import Charge
from rollback.response.desk import Answer, Desk
from rollback.response.maintenance import over_at
from rollback.response.policy import Finding, Mode, decide, follow, withdrawn
from rollback.response.record import intent, moved, opened, recall
from rollback.response.work import Work
from rollback.response.worker import Worker

AHEAD_SECONDS: Final = 300.0
"""A signed answer may be dated so much later than our clock says."""
SHARED: Final = "shared"
"""Kind of record: an incident whose cases are those of another one."""
OVER: Final = frozenset({"served", "declined", "withdrawn", "rejected"})


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
        self._work = Work(charges, worker, folder, clock)
        self._audit = audit
        self._path = path
        self._clock = clock
        records = list(read_records(path))
        self._cases = recall(records)
        self._also: dict[str, str] = {}
        self._holding = ""
        self._news = dict.fromkeys(case.incident for case in self._cases.values())
        for record in records:
            if record.kind == SHARED:
                self._also[record.body["incident"]] = record.body["with"]
        begun = {str(r.body["key"]) for r in records if r.kind == "intent" and r.body.get("phase") == "swap"}
        for case in list(self._cases.values()):
            self._hold_back(case, begun)
            self._follow(case)

    @property
    def cases(self) -> Mapping[str, Case]:
        """Every case by its key, over and open."""
        return self._cases

    @property
    def holding(self) -> str:
        """Why no step is begun, as the last `step` found; empty where nothing is held."""
        return self._holding

    def waiting(self, model: str) -> int:
        """How many cases of a model wait for a person."""
        return sum(c.model == model and c.phase in {"approval", "halted"} for c in self._cases.values())

    def checkpoint(self) -> str:
        """The signed checkpoint of the audit log; empty where there is none."""
        return self._audit.note

    def of(self, incident: str) -> list[Case]:
        """The cases of an incident, in the order in which they were opened."""
        names = {incident, self._also.get(incident, incident)}
        return [case for case in self._cases.values() if case.incident in names]

    def consider(self, finding: Finding) -> None:
        """Decide about a finding; the same finding is decided once."""
        charge = self._charges.get(finding.model)
        if charge is None:
            return
        for gone in withdrawn(finding, self._cases, charge.policy):
            said = f"incident {finding.incident} is {finding.family} now (confidence {finding.confidence:.3f})"
            self._move(gone, "outcome", "withdraw", said)
        case = decide(finding, charge.standing(), self._cases, self._mode, charge.policy, self._clock())
        if case is not None:
            self._open(case)
        elif not self.of(finding.incident):
            self._share(finding)

    def _share(self, finding: Finding) -> None:
        """After a crash windows may be cut otherwise, and the incident that a case is about has another name."""
        about = (finding.model, "rollback", finding.version)
        same = [c for c in self._cases.values() if (c.model, c.kind, c.expected) == about]
        going_on = [c.incident for c in same if c.phase not in OVER]
        if going_on and self._also.get(finding.incident) != going_on[-1]:
            self._audit.append(SHARED, {"incident": finding.incident, "with": going_on[-1]})
            self._also[finding.incident] = going_on[-1]

    def seen(self, model: str, version: str, at: float) -> None:
        """Events that ``version`` served came in, the last one from ``at``: proof of what serves."""
        for case in self._moves(model):
            if version == case.target and case.phase == "done" and at > case.since:
                self._move(case, "sighting", "seen", f"events of version {version} come in")
            elif version in self._replaced(case) and at > case.since + self._charges[model].grace_seconds:
                self._move(case, "sighting", "stale", f"version {version} still serves, by its events")

    def probed(self, model: str, version: str, problem: str, at: float) -> None:
        """By a probe that began ``at``, an endpoint does not serve ``version``, which the pointer named then."""
        for case in self._moves(model):
            if case.target == version and at > case.since:
                self._move(case, "sighting", "stale", problem)

    def step(self) -> list[str]:
        """Take one result, and begin one thing; returns the incidents about which there is news. Never blocks.

        In mode observe nothing is taken further, also of what an earlier mode began.
        """
        if self._mode != "observe":
            self._take_answers()
            held = self._on_hold()
            self._take_result()
            if not held:
                self._begin_next()  # in the same turn: a step a turn, though turns are long where no events come
        news = list(self._news)
        self._news.clear()
        return news + [name for name, other in self._also.items() if other in news]

    def state(self) -> State:
        """For the checkpoint: how far the audit log had come."""
        return {"audit_head": self._audit.head, "also": dict(self._also)}

    def restore(self, state: State) -> None:
        """Check that the log still holds what it held at the checkpoint. Raises `AuditError`."""
        self._also = dict(state.get("also", {}))
        head = state["audit_head"]
        if head != START and all(record.hash != head for record in read_records(self._path)):
            raise AuditError(
                f"{self._path}: the record with hash {head}, which the checkpoint names, is missing: the end of the "
                "log was cut off or it was replaced. Find out who did it; put the log back, or move state_dir away"
            )

    def close(self) -> None:
        """End what runs; a restart goes on with it."""
        self._work.close()

    def _moves(self, model: str) -> Iterator[Case]:
        """The newest finished move of the pointer that names what serves now."""
        serving = self._charges[model].pointers().serving if model in self._charges else None
        done = [
            c
            for c in self._cases.values()
            if c.model == model and c.kind != "retraining" and c.phase in {"done", "served"} and c.target == serving
        ]
        yield from done[-1:]

    def _replaced(self, case: Case) -> set[str]:
        """What must not serve any more: what this move replaced, and what those before it did."""
        moves = (c for c in self._cases.values() if c.model == case.model and c.kind != "retraining")
        return {c.expected for c in moves if c.phase in {"done", "served"}} - {case.target}

    def _take_answers(self) -> None:
        for answer in self._desk.answers():
            case = self._cases.get(answer.key)
            if case is None:
                self._ignore(answer, "there is no such case")
            elif why := self._objection(case, answer):
                self._ignore(answer, why)
            else:
                self._answer(case, answer)
            self._desk.taken(answer)

    def _objection(self, case: Case, answer: Answer) -> str:
        """Why an answer is not taken; a signed one is dated, and for this log."""
        if not answerable(case, answer.decision, self._clock()):
            return f"the case is {case.phase}"
        if answer.given_at > self._clock() + AHEAD_SECONDS:
            return "it was given in the future"
        if 0.0 < answer.given_at <= dict(case.answered).get(answer.by, 0.0):
            return f"it is no newer than one of {answer.by} that was taken"
        if answer.given_at and answer.log != self._audit.origin:
            return f"it is for {answer.log or 'no log'}, and this is {self._audit.origin}"
        return ""

    def _answer(self, case: Case, answer: Answer) -> None:
        """What a person decides. To go on where something halted is as much to decide as to begin."""
        if answer.given_at:
            answered = {**dict(case.answered), answer.by: answer.given_at}
            case = replace(case, answered=tuple(answered.items()))
        if answer.decision != "decline":
            before = case.approved_by
            approvers = tuple(dict.fromkeys((*before, answer.by)))
            vouched = answer.decision == "approve" and answer.known_good and (not before or case.known_good)
            again = answer.decision == "again"
            case = replace(case, approved_by=approvers, known_good=case.known_good if again else vouched)
            if len(approvers) < self._approvals(case) and answer.by in before:
                self._ignore(answer, f"{answer.by} has done so already")
                return
            if len(approvers) < self._approvals(case):
                said = f"{_said(answer)}; somebody else must do so too"
                partly = replace(case, detail=said)
                self._audit.append("answer", moved(partly, answer.decision, by=answer.by))
                self._keep(partly)
                return
        if answer.decision == "again" and case.kind == "promotion" and case.model in self._charges:
            # the person has seen what serves by now
            case = replace(case, expected=self._charges[case.model].pointers().serving or "")
        self._move(case, "answer", answer.decision, _said(answer), by=answer.by)

    def _approvals(self, case: Case) -> int:
        return self._charges[case.model].policy.approvals if case.model in self._charges else 1

    def _ignore(self, answer: Answer, why: str) -> None:
        self._audit.append("ignored", {"key": answer.key, "answer": _said(answer), "why": why})

    def _on_hold(self) -> bool:
        """Whether no step may be begun; that everything was held or goes on is kept."""
        why = self._desk.held()
        if bool(why) != bool(self._holding):
            self._audit.append("hold" if why else "resume", {"why": why or self._holding})
        self._holding = why
        return bool(why)

    def _take_result(self) -> None:
        """What came of a step that has ended, if one has."""
        for case in self._working():
            if case.phase == "train" and self._holding and not self._work.training(case):
                continue  # it would be begun by being looked at
            result = self._work.result(case)
            if result is not None:
                at = replace(case, target=result.candidate or case.target)
                self._move(at, "outcome", result.event, result.detail, step=case.phase)
                return

    def _begin_next(self) -> None:
        now = self._clock()
        working = self._working()
        moving = {c.model for c in working if c.phase != "train" and self._work.under_way(c)}
        for case in working:
            if self._maintained(case, now):
                continue
            # one move of a model at a time: what an older one still tells the servers must not come after ours
            begun = self._work.under_way(case) if case.phase == "train" else case.model in moving
            # a clock that was set back is before the phase began: nobody waits for it to catch up
            if not begun and (case.due <= now or now < case.since):
                self._begin(case)
                return

    def _maintained(self, case: Case, now: float) -> bool:
        """Whether it would be begun in a maintenance window, and nobody has approved that."""
        settings = self._charges[case.model].policy
        return not case.approved and case.phase in {"verify", "swap"} and over_at(settings.maintenance, now) is not None

    def _begin(self, case: Case) -> None:
        if case.phase in ACTS:
            self._audit.append("intent", intent(case))
        self._work.begin(case)

    def _hold_back(self, case: Case, begun: set[str]) -> None:
        """What mode act has planned, and not ``begun`` to swap, waits for approval in mode propose."""
        waits = case.phase in {"verify", "swap"} and case.key not in begun
        if self._mode == "propose" and waits and not case.approved:
            held = replace(case, phase="approval", detail="mode is propose now: it waits for approval")
            self._audit.append("held", moved(held, "held"))
            self._cases[case.key] = held

    def _working(self) -> list[Case]:
        return [case for case in self._cases.values() if case.working and case.model in self._charges]

    def _open(self, case: Case) -> None:
        self._audit.append("plan", opened(case))
        self._keep(case)

    def _move(self, case: Case, kind: str, event: str, detail: str, **more: str) -> None:
        tries = self._charges[case.model].tries if case.model in self._charges else Tries()
        now = self._clock()
        after = advance(case, event, now, detail, tries)  # type: ignore[arg-type]  # others mean nothing to it
        if after is case:
            return
        if after.phase == "halted":
            after = replace(after, approved_by=())  # who goes on with it decides anew
        self._audit.append(kind, moved(after, event, **more))
        self._keep(after)
        self._follow(after)

    def _keep(self, case: Case) -> None:
        self._cases[case.key] = case
        self._news[case.incident] = None

    def _follow(self, case: Case) -> None:
        charge = self._charges.get(case.model)
        if charge is None or self._mode == "observe":
            return
        follower = follow(case, charge.pointers(), self._mode, charge.policy, self._clock())
        if follower is not None and follower.key not in self._cases:
            self._withdraw_earlier(follower)
            self._open(follower)

    def _withdraw_earlier(self, promotion: Case) -> None:
        """Of an incident that was retrained for again the last candidate alone waits for approval."""
        for other in list(self._cases.values()):
            if (other.kind, other.incident, other.phase) == (promotion.kind, promotion.incident, "approval"):
                said = f"candidate {promotion.target} was made in its place"
                self._move(other, "outcome", "withdraw", said)


def _said(answer: Answer) -> str:
    return f"{answer.decision} by {answer.by}" + (f": {answer.reason}" if answer.reason else "")
