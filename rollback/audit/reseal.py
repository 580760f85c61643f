"""A log whose signing key is not to be believed any more goes on with another one, and says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rollback.audit.checkpoint import Checkpoint
from rollback.audit.log import AuditError, AuditLog, checkpoint_of
from rollback.audit.verification import Verified, verify
from rollback.signing.keys import Keys, PublicKey, SigningKey

RESEALED: Final = "audit.resealed"


@dataclass(frozen=True, slots=True)
class Change:
    """The key that has signed until now, the one that signs from now on, who changed it and why."""

    old: PublicKey
    new: SigningKey
    by: str
    reason: str

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError("a change of keys needs a reason, which is kept")


def reseal(path: Path, change: Change, clock: Callable[[], float], kept: Sequence[Checkpoint] = ()) -> Verified:
    """Verify the whole log with the old key, append a record of kind `RESEALED`, and sign the checkpoint anew.

    ``kept`` are checkpoints that were kept elsewhere, which the log must fit: who has the old key may have written it
    anew. The record holds both key ids and the last checkpoint of the old key, so that years later everything before
    it can still be checked with that one. After a crash in between the old checkpoint stands, and it can be done again.
    Returns what was found before. Raises `AuditError`, also while another process has the log open.
    """
    file, new = checkpoint_of(path), change.new.public.key_id
    if new == change.old.key_id:
        raise AuditError(f"{path}: key {new} signs it already; name the key of before as the old one")
    try:
        note = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AuditError(f"{file}: cannot be read: {error}; it shows what the old key has signed") from error
    believed = Keys({change.old.key_id: PublicKey(change.old.raw)})
    log = AuditLog(path, clock, believed)
    try:
        found = verify(path, keys=believed, kept=kept)
        about = {"old_key": change.old.key_id, "new_key": new, "by": change.by, "reason": change.reason}
        log.append(RESEALED, {**about, "checkpoint": note})
        log.seal(change.new)
    finally:
        log.close()
    return found
