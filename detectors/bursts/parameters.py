"""What the detectors of evasion and of probing are set by alike."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BurstParameters:
    """How sessions vote, and how to ask.

    ``quantiles`` of what the reference's sessions show are thresholds of votes, ``level`` is the confidence of their
    null rates; ``sources`` have bets of their own, shrunk with ``prior`` sessions. Labels asked for: ``asked`` at most,
    ``batch`` in a window, of the ``pool`` highest events. Both models are wrong about a crafted event with
    ``wrong_crafted``, about an honest one with ``wrong_honest``. A reference needs ``fewest`` sessions.
    """

    quantiles: tuple[float, ...]
    level: float = 0.95
    sources: int = 24
    prior: float = 60.0
    asked: int = 16
    batch: int = 4
    pool: int = 64
    wrong_crafted: float = 0.8
    wrong_honest: float = 0.3
    fewest: int = 200

    def __post_init__(self) -> None:
        if not self.quantiles or not all(0 < q < 1 for q in self.quantiles) or not 0 < self.level < 1:
            raise ValueError(f"quantiles and level lie in (0, 1), got {self.quantiles} and {self.level}")
        if not 0 < self.wrong_honest < self.wrong_crafted < 1:
            raise ValueError("need 0 < wrong_honest < wrong_crafted < 1: it shows by what models are wrong about")
        counts = (self.sources, self.asked, self.batch, self.pool, self.fewest)
        if min(counts) < 1 or self.prior < 0:
            raise ValueError(f"counts must be at least 1 and prior not negative, got {counts} and {self.prior}")
