"""Differential privacy: what a model tells about any single row is bounded, and the bound is written down.

Gradients get Gaussian noise (DP-SGD, Abadi et al. 2016, arXiv 1607.00133); Opacus gives the gradients of single rows
and the accounting (Renyi differential privacy). What else the model takes from the rows, the mean and spread of its
numbers and the distribution of labels, gets Laplace noise (Dwork et al. 2006).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from detectors.batch import Floats
from rollback.train.harden.objective import Objective
from rollback.train.harden.options import Privacy
from rollback.train.network import Network, drop_cells
from rollback.train.recipe import RecipeError, TrainingRows

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from opacus.accountants import RDPAccountant
    from opacus.accountants.utils import get_noise_multiplier
    from opacus.grad_sample import GradSampleModule

WIDEST: Final = float(np.arcsinh(1e9))
"""Where no bounds are said, mean and spread are those of numbers cut off at 1e9: bounds must not come from the rows."""
LABEL_SHARE: Final = 0.1
"""So much of ``statistics`` is spent on the distribution of labels."""
ACCOUNTANT: Final = "rdp"


@dataclass(frozen=True, slots=True)
class Statistics:
    """``mean`` and ``scale`` of asinh of each number, and the share of each class: all with noise."""

    mean: Floats
    scale: Floats
    share: Floats


def require_usable(rows: TrainingRows, how: Privacy) -> None:
    """Raises `RecipeError` where the bound would not hold, or say nothing."""
    if how.delta >= 1 / len(rows):
        raise RecipeError(
            f"privacy: delta {how.delta:g} must be below 1 / rows = {1 / len(rows):.2g}, or it says nothing"
        )
    if rows.weight is not None and (rows.weight.min() < 0 or rows.weight.max() > 1):
        raise RecipeError("privacy: rows must weigh between 0 and 1: a heavier one would be protected less")


def private_statistics(rows: TrainingRows, how: Privacy, rng: np.random.Generator) -> Statistics:
    """By the Laplace mechanism; one row changes the counts of labels by 2, a mean over n rows by its range / n.

    Missing numbers count as the middle of the range. The number of rows, vocabularies and classes are taken as public.
    """
    n, k = len(rows), len(rows.schema.classes)
    counts = np.bincount(rows.y, minlength=k) + rng.laplace(0, 2 / (LABEL_SHARE * how.statistics), k)
    share = np.maximum(counts, 0.5)
    columns = [j for j, f in enumerate(rows.schema.features) if f.kind != "categorical"]
    low, high = _said_range(rows, columns)
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, 1e-6)
    centred = np.clip(np.nan_to_num(np.arcsinh(rows.x[:, columns]) - middle, nan=0.0), -half, half)
    epsilon = (1 - LABEL_SHARE) * how.statistics / max(2 * len(columns), 1)
    shift = centred.mean(axis=0) + rng.laplace(0, 2 * half / (n * epsilon))
    square_noise = half**2 / (n * epsilon)
    square = (centred**2).mean(axis=0) + rng.laplace(0, square_noise)
    shift = np.clip(shift, -half, half)
    variance = np.maximum(square - shift**2, np.minimum(square_noise, half**2))
    return Statistics(middle + shift, np.sqrt(variance), share / share.sum())


def _said_range(rows: TrainingRows, columns: list[int]) -> tuple[Floats, Floats]:
    """The range of asinh of each number: that of its bounds, where somebody has said both."""
    low, high = np.full(len(columns), -WIDEST), np.full(len(columns), WIDEST)
    for i, j in enumerate(columns):
        own = rows.bounds.get(rows.schema.features[j].name)
        if own is not None and own.low is not None and own.high is not None:
            low[i], high[i] = np.arcsinh(own.low), np.arcsinh(own.high)
    return low, high


class PrivateSteps:
    """Batches and gradients of DP-SGD: Poisson sampling, one clipped gradient a row, Gaussian noise on their sum."""

    def __init__(
        self,
        network: Network,
        objective: Objective,
        columns: tuple[Tensor, Tensor, Tensor],
        how: Privacy,
        *,
        batch: int,
        epochs: int,
        drop: float,
    ) -> None:
        self._network, self._objective, self._how, self._drop = network, objective, how, drop
        self._x, self._y, self._weight = columns
        self._rate = min(1.0, batch / len(self._x))
        self._steps = max(1, round(1 / self._rate))
        self.noise = _noise_multiplier(how, self._rate, self._steps * epochs)
        self._per_row = GradSampleModule(network, loss_reduction="sum")
        self._parameters = list(network.parameters())

    def batches(self) -> Iterator[Tensor]:
        """Each row is in each batch with the same probability."""
        for _ in range(self._steps):
            yield torch.nonzero(torch.rand(len(self._x)) < self._rate)[:, 0].to(self._x.device)

    def gradients(self, part: Tensor) -> Sequence[Tensor]:
        """The noisy mean gradient of a batch."""
        total = [torch.zeros_like(p) for p in self._parameters]
        if len(part):
            self._per_row.zero_grad()
            x = drop_cells(self._x[part], self._network, self._drop)
            luck = self._objective.draw(len(part), len(self._network.numeric)).to(x.device)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns of inputs without gradients, which rows are
                torch.autograd.backward(self._objective.losses(self._network, x, self._y[part], luck).sum())
            single = [p.grad_sample.detach() for p in self._parameters]  # type: ignore[attr-defined]  # set by Opacus
            norms = torch.stack([g.flatten(1).norm(dim=1) for g in single]).norm(dim=0)
            count = (self._how.clip / (norms + 1e-6)).clamp(max=1.0) * self._weight[part]
            total = [torch.tensordot(count, g, dims=1) for g in single]
            self._per_row.zero_grad()
        deviation = self.noise * self._how.clip
        expected = self._rate * len(self._x)
        return [(g + deviation * torch.randn(g.shape).to(g.device)) / expected for g in total]

    def spent(self, epochs: int) -> dict[str, float]:
        """The accounting, for the manifest."""
        accountant = RDPAccountant()
        accountant.history = [(self.noise, self._rate, self._steps * epochs)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of orders that would give a tighter bound
            epsilon = accountant.get_epsilon(delta=self._how.delta)
        return {
            "privacy_epsilon": float(epsilon) + self._how.statistics,
            "privacy_epsilon_gradients": float(epsilon),
            "privacy_epsilon_statistics": self._how.statistics,
            "privacy_delta": self._how.delta,
            "privacy_noise_multiplier": self.noise,
            "privacy_sample_rate": self._rate,
            "privacy_steps": float(self._steps * epochs),
            "privacy_holds": float(not self._how.repeatable),
        }

    def close(self) -> None:
        """Take Opacus's hooks off the network."""
        self._per_row.remove_hooks()


def _noise_multiplier(how: Privacy, rate: float, steps: int) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        try:
            found = get_noise_multiplier(
                target_epsilon=how.epsilon,
                target_delta=how.delta,
                sample_rate=rate,
                steps=steps,
                accountant=ACCOUNTANT,
                epsilon_tolerance=0.01 * how.epsilon,
            )
        except ValueError as error:
            raise RecipeError(f"privacy: epsilon {how.epsilon:g} is not to be had in {steps} steps: {error}") from error
    return float(found)
