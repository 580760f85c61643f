"""What `label_agreement` can be set to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parameters:
    """How many sources, origins, sessions and starts are told apart, how much is asked, what an answer weighs.

    ``sources``, ``origins``: slots. ``size``: labelled sessions that are remembered; ``starts``: points in time from
    which flips may have begun. Untrusted labels carry ``untrusted`` of the weight. ``asked``, ``batch``: labels asked
    for in one question, and in one window. A claim is false with ``false_poisoned`` or ``false_honest``. ``claims``
    are kept; ``memory`` sessions are remembered as having voted. ``fewest`` labelled events must the reference have.
    Where no model scores the reference, the served one is taken at its word, but for errors at ``unscored_error``.
    """

    sources: int = 24
    origins: int = 8
    size: int = 4096
    starts: int = 16
    untrusted: float = 0.7
    asked: int = 16
    batch: int = 8
    false_poisoned: float = 0.9
    false_honest: float = 0.1
    claims: int = 512
    memory: int = 20_000
    fewest: int = 100
    unscored_error: float = 0.03

    def __post_init__(self) -> None:
        for name in ("untrusted", "unscored_error"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in (0, 1), got {getattr(self, name)}")
        if not 0 < self.false_honest < self.false_poisoned < 1:
            raise ValueError("need 0 < false_honest < false_poisoned < 1: poisoners lie more often")
        names = ("sources", "origins", "size", "starts", "asked", "batch", "claims", "memory", "fewest")
        if wrong := [name for name in names if getattr(self, name) < 1]:
            raise ValueError(f"counts must be at least 1: {', '.join(wrong)}")
