"""The response as the loop sees it, and as incidents tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol

from detectors.evidence import State
from monitor.messages import ActionTaken
from rollback.audit.log import START
from rollback.response.cases import Case, Phase
from rollback.response.policy import Finding

ANSWERS: Final = "answers"
"""Folder below state_dir where people put their decisions (`rollback.response.desk`)."""
RETRAININGS: Final = "retraining"
"""Folder of what retrainings leave, below state_dir."""

RESULTS: Final[Mapping[Phase, Literal["proposed", "done", "declined", "withdrawn", "rejected", "halted"]]] = {
    "approval": "proposed",
    "done": "done",
    "served": "done",
    "made": "done",
    "declined": "declined",
    "withdrawn": "withdrawn",
    "rejected": "rejected",
    "halted": "halted",
}
"""What a phase is called in an incident; every other one is `running`."""


class Responding(Protocol):
    """Decides and acts; `rollback.response.responder.Responder` is the one that does."""

    @property
    def cases(self) -> Mapping[str, Case]:
        """Every case by its key, over and open."""

    @property
    def holding(self) -> str:
        """Why no step is begun; empty where nothing is held."""

    def consider(self, finding: Finding) -> None:
        """Decide about a finding."""

    def seen(self, model: str, version: str, at: float) -> None:
        """Events that ``version`` served came in, the last one from ``at`` (seconds since the epoch)."""

    def probed(self, model: str, version: str, problem: str, at: float) -> None:
        """By a probe that began ``at``, an endpoint does not serve ``version``, which the pointer named then."""

    def step(self) -> Sequence[str]:
        """Take something further, without waiting; the incidents about which there is news."""

    def of(self, incident: str) -> Sequence[Case]:
        """What is being done about an incident."""

    def waiting(self, model: str) -> int:
        """How many of a model's cases wait for a person."""

    def checkpoint(self) -> str:
        """The signed checkpoint of the audit log; empty where there is none."""

    def state(self) -> State:
        """For the checkpoint."""

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""

    def close(self) -> None:
        """End what runs."""


class NoResponse:
    """For `replay` and the role watcher: nothing outside is touched."""

    holding = ""

    @property
    def cases(self) -> Mapping[str, Case]:
        """See `Responding`."""
        return {}

    def consider(self, finding: Finding) -> None:
        """See `Responding`."""

    def seen(self, model: str, version: str, at: float) -> None:
        """See `Responding`."""

    def probed(self, model: str, version: str, problem: str, at: float) -> None:
        """See `Responding`."""

    def step(self) -> Sequence[str]:
        """See `Responding`."""
        return ()

    def of(self, incident: str) -> Sequence[Case]:  # noqa: ARG002 - the seam's signature
        """See `Responding`."""
        return ()

    def waiting(self, model: str) -> int:  # noqa: ARG002 - likewise
        """See `Responding`."""
        return 0

    def checkpoint(self) -> str:
        """See `Responding`."""
        return ""

    def state(self) -> State:
        """See `Responding`: it has read no audit log."""
        return {"audit_head": START}

    def restore(self, state: State) -> None:
        """See `Responding`."""

    def close(self) -> None:
        """See `Responding`."""


def action(case: Case) -> ActionTaken:
    """How a case stands, for its incident."""
    return ActionTaken(case.kind, case.target, case.key, RESULTS.get(case.phase, "running"), case.detail)


def remedied(cases: Sequence[Case]) -> bool:
    """Whether a retrained version serves, or the good one and nothing more is to come, as events show."""
    served = {case.kind for case in cases if case.phase == "served"}
    over = all(case.phase in {"served", "declined", "withdrawn", "rejected"} for case in cases)
    return "promotion" in served or ("rollback" in served and over)
