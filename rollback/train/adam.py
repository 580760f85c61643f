"""Adam, written out: torch's own loads torch's compiler on its first step, which can take longer than the training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Adam:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2).

    ``steps``, ``mean`` and ``square`` are its state.
    """

    def __init__(self, parameters: list[Tensor], rate: float, decay: float) -> None:
        self.parameters = parameters
        self._rate = rate
        self._decay = decay
        self.steps = 0
        self.mean = [torch.zeros_like(p) for p in parameters]
        self.square = [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Move the parameters against their gradients."""
        self.steps += 1
        bias1, bias2 = 1 - 0.9**self.steps, 1 - 0.999**self.steps
        for p, g, mean, square in zip(self.parameters, gradients, self.mean, self.square, strict=True):
            p.mul_(1 - self._rate * self._decay)
            mean.lerp_(g, 0.1)
            square.mul_(0.999).addcmul_(g, g, value=0.001)
            p.addcdiv_(mean / bias1, (square / bias2).sqrt().add_(1e-8), value=-self._rate)
