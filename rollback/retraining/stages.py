"""How far a retraining is: the stage that it is in and how long each one took, in its folder for whoever watches."""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

Stage = Literal["reading", "repairing", "screening", "training", "judging", "adding"]
STAGES: Final[tuple[Stage, ...]] = get_args(Stage)
FILE: Final = "stages.json"


class Stages(msgspec.Struct, frozen=True):
    """``begun``: each stage and when it began, in their order; ``ended``: when the last was over; since the epoch.

    One that was cut off has no ``ended``: whether somebody still works there is not said here.
    """

    begun: tuple[tuple[Stage, float], ...] = ()
    ended: float | None = None

    def entered(self, stage: Stage, at: float) -> Stages:
        """The same, and ``stage`` begins."""
        return Stages((*self.begun, (stage, at)))

    def over(self, at: float) -> Stages:
        """The same, and all is done."""
        return Stages(self.begun, at)

    @property
    def under_way(self) -> Stage | None:
        """The stage that has begun and is not over."""
        return self.begun[-1][0] if self.begun and self.ended is None else None

    def seconds(self, now: float) -> dict[Stage, float]:
        """How long each stage took; the one under way: until ``now``. A clock that was put back makes none negative.

        >>> Stages((("reading", 10.0), ("repairing", 12.0))).seconds(15.0)
        {'reading': 2.0, 'repairing': 3.0}
        """
        ends = [at for _, at in self.begun[1:]] + [now if self.ended is None else self.ended]
        return {stage: max(0.0, end - at) for (stage, at), end in zip(self.begun, ends, strict=False)}
