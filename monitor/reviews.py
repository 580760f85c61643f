"""What persons have decided about held slices and candidates: audited, signed, felt by the suppliers' reputation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from rollback.audit.log import FILE_NAME, AuditLog
from rollback.bundle import Bundle
from rollback.registry.registry import Registry
from rollback.retraining.decisions import Decided, read_decisions, write_decisions
from rollback.retraining.evidence import HELD, Evidence, HeldSlice
from rollback.signing.keys import Keys
from rollback.trust.reputation import Outcome, Reputation
from rollback.trust.sealed import read_reputation, write_reputation

Decision = Literal["accept", "reject"]
FOLDER: Final = "reviews"
DECISIONS: Final = "decisions.json"
REPUTATION: Final = "reputation.json"
_EVIDENCE: Final = msgspec.json.Decoder(Evidence)


class ReviewError(Exception):
    """There is nothing to review or decide under that name; the message says what there is."""


@dataclass(frozen=True, slots=True)
class Reviews:
    """The folder of a model's reviews, beside its versions. ``keys`` sign and check, ``clock`` dates decisions."""

    folder: Path
    keys: Keys | None
    clock: Callable[[], float]

    @property
    def decisions_file(self) -> Path:
        """For `tocsin retrain --decisions`."""
        return self.folder / DECISIONS

    @property
    def reputation_file(self) -> Path:
        """For `tocsin retrain --reputation`."""
        return self.folder / REPUTATION

    def decisions(self) -> tuple[Decided, ...]:
        """All, oldest first. Raises `rollback.trust.sealed.SealedFileError`."""
        return read_decisions(self.decisions_file, self.keys) if self.decisions_file.exists() else ()

    def reputation(self) -> Reputation:
        """What is known of suppliers. Raises `rollback.trust.sealed.SealedFileError`."""
        return read_reputation(self.reputation_file, self.keys) if self.reputation_file.exists() else Reputation()

    def decide_slice(self, candidate: str, piece: HeldSlice, decision: Decision, by: str, reason: str) -> Decided:
        """Record a decision: first in the audit log, then where retraining reads it, then in the reputation.

        Decided again, the last decision counts. Raises `rollback.audit.log.AuditError` and
        `rollback.trust.sealed.SealedFileError`.
        """
        at = self.clock()
        decided = Decided(f"{candidate}/{piece.number}", decision, piece.members, by, at, reason)
        with self._audit() as log:
            before = self.decisions()
            log.append("review", msgspec.to_builtins(decided))
            kept = tuple(each for each in before if each.key != decided.key)
            write_decisions(self.decisions_file, (*kept, decided), self.keys)
            self._learn(slice_outcomes(piece, decided))
        return decided

    def decide_candidate(self, candidate: str, found: Evidence, decision: Decision, by: str, reason: str) -> None:
        """Record a decision about a whole candidate; what a labeller answered for it counts for the suppliers."""
        key = f"{candidate}/answers"
        with self._audit() as log:
            log.append("review", {"key": candidate, "decision": decision, "by": by, "reason": reason})
            self._learn(tuple(msgspec.structs.replace(outcome, ref=key) for outcome in found.answered))

    def _learn(self, outcomes: tuple[Outcome, ...]) -> None:
        if outcomes:
            write_reputation(self.reputation_file, self.reputation().learned(outcomes), self.keys)

    @contextmanager
    def _audit(self) -> Iterator[AuditLog]:
        self.folder.mkdir(parents=True, exist_ok=True)
        signs = self.keys if self.keys is not None and self.keys.signing is not None else None
        log = AuditLog(self.folder / FILE_NAME, self.clock, signs)
        try:
            yield log
        finally:
            log.close()


def slice_outcomes(piece: HeldSlice, decided: Decided) -> tuple[Outcome, ...]:
    """A decision about a slice is an outcome for everybody who supplied rows of it, at the time of the decision.

    The times of the rows are the suppliers' own word: an outcome of long ago would have faded when it is written.
    """
    why = f"slice {decided.key}: {decided.decision}ed by {decided.by}"
    found = []
    for kind, counts in (("source", piece.sources), ("origin", piece.origins)):
        for name, sessions in counts.items():
            good, bad = (sessions, 0) if decided.decision == "accept" else (0, sessions)
            if name != "-":
                found.append(Outcome(kind, name, decided.at, good, bad, decided.key, why))  # type: ignore[arg-type]  # one of two
    return tuple(found)


def read_evidence(bundle: Bundle) -> Evidence | None:
    """What was held back when a version was made; None where it was not made by a retraining. Raises `ReviewError`."""
    if HELD not in bundle.files:
        return None
    try:
        return _EVIDENCE.decode(bundle.files[HELD])
    except msgspec.DecodeError as error:
        raise ReviewError(f"{bundle.where(HELD)}: cannot be read: {error}") from error


def held_slice(registry: Registry, key: str) -> tuple[Bundle, Evidence, HeldSlice | None]:
    """What ``CANDIDATE`` or ``CANDIDATE/SLICE`` names. Raises `ReviewError` and what `Registry.load` does."""
    candidate, _, number = key.partition("/")
    bundle = registry.load(candidate)
    found = read_evidence(bundle)
    if found is None:
        raise ReviewError(f"version {candidate} was made by no retraining that holds anything back")
    if not number:
        return bundle, found, None
    piece = next((each for each in found.slices if str(each.number) == number), None)
    if piece is None:
        there = ", ".join(f"{candidate}/{each.number}" for each in found.slices) or "none"
        raise ReviewError(f"{key}: there is no such held slice of version {candidate}; there are: {there}")
    return bundle, found, piece
