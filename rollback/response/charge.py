"""One model in the responder's charge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rollback.registry.moves import MOVED, SERVING
from rollback.registry.registry import Buffer, Pointers, RegistryError
from rollback.response.cases import Tries
from rollback.response.policy import PolicySettings, Standing
from rollback.response.steps import Target
from rollback.train.trainer import Trainer


@dataclass(frozen=True, slots=True)
class Charge:
    """A model, who serves and who retrains it, and when something is done about it.

    ``buffer`` finds a version's training buffer. An event of a replaced version counts as proof that it still serves
    when it is from more than ``grace_seconds`` after the move.
    """

    target: Target
    trainer: Trainer
    buffer: Callable[[str], Buffer | None]
    policy: PolicySettings = field(default_factory=PolicySettings)
    tries: Tries = field(default_factory=Tries)
    grace_seconds: float = 300.0

    def standing(self) -> Standing:
        """`pointers`, and since when what serves was made to."""
        now = self.pointers()
        try:
            history = self.target.registry.history()
        except RegistryError:
            history = ()
        made = [move.at for move in history if SERVING in MOVED.get(move.action, ()) and move.version == now.serving]
        return Standing(now, made[-1] if made else None)

    def pointers(self) -> Pointers:
        """Where they are; nowhere while they cannot be read: then nothing is decided, and the watch goes on."""
        try:
            return self.target.registry.pointers()
        except RegistryError:
            return Pointers(None, None)
