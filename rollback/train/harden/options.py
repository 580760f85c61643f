"""The hardening options of the network, as a recipe file says them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pgd:
    """Adversarial training: every row is learned where it is worst within ``epsilon``.

    ``epsilon`` is in standard deviations of asinh(x), for every number by itself (the L-infinity norm); ``steps`` of
    length 2.5 epsilon / steps each are taken. Categories are not moved.
    """

    epsilon: float = 0.25
    steps: int = 5

    def __post_init__(self) -> None:
        if self.epsilon <= 0 or self.steps < 1:
            raise ValueError(f"epsilon must be above 0 and steps at least 1, got {self.epsilon:g} and {self.steps}")


@dataclass(frozen=True, slots=True)
class Trades:
    """TRADES (Zhang et al. 2019, arXiv 1901.08573): cross-entropy(x, y) + beta max KL(p(x) || p(x')).

    Units are those of `Pgd`; ``beta`` says what robustness is worth against accuracy.
    """

    epsilon: float = 0.25
    steps: int = 5
    beta: float = 3.0

    def __post_init__(self) -> None:
        if self.epsilon <= 0 or self.steps < 1 or self.beta < 0:
            raise ValueError("epsilon must be above 0, steps at least 1, beta at least 0")


@dataclass(frozen=True, slots=True)
class Smoothing:
    """Numbers are learned with Gaussian noise: ``sigma`` standard deviations of asinh(x). Categories have none.

    The certificate is made afterwards, by `tocsin certify`, with the same sigma.
    """

    sigma: float = 0.25

    def __post_init__(self) -> None:
        if self.sigma <= 0:
            raise ValueError(f"sigma must be above 0, got {self.sigma:g}")


@dataclass(frozen=True, slots=True)
class Privacy:
    """(epsilon + statistics, delta) differential privacy for any one row added or removed.

    ``epsilon`` and ``delta`` are for the gradients, each cut off at the norm ``clip``; ``statistics`` is the epsilon of
    mean, spread and label distribution. The noise is drawn from the system's entropy, so that no run is like another;
    ``repeatable`` draws it from the seed instead, which everybody can read in the manifest: for measurements alone,
    it protects nothing.
    """

    epsilon: float = 3.0
    delta: float = 1e-5
    clip: float = 1.0
    statistics: float = 1.0
    repeatable: bool = False

    def __post_init__(self) -> None:
        if min(self.epsilon, self.clip, self.statistics) <= 0 or not 0 < self.delta < 1:
            raise ValueError("epsilon, clip and statistics must be above 0, and delta between 0 and 1")

    def seed(self, seed: int) -> int:
        """What the training's random numbers start from."""
        return seed if self.repeatable else secrets.randbits(63)
