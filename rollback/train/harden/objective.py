"""What the loop makes small: the loss of each row, plain or hardened."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rollback.train.harden.adversary import pgd_losses, trades_losses
from rollback.train.harden.domain import Domain
from rollback.train.harden.options import Pgd, Smoothing, Trades
from rollback.train.network import Network


@dataclass(frozen=True, slots=True)
class Objective:
    """At most one of ``pgd`` and ``trades``; ``smoothing`` goes with neither."""

    domain: Domain | None = None
    pgd: Pgd | None = None
    trades: Trades | None = None
    smoothing: Smoothing | None = None

    def draw(self, rows: int, numeric: int) -> Tensor:
        """The random numbers that the losses of so many rows need: [rows, numeric], empty for none."""
        if self.smoothing is not None:
            return torch.randn(rows, numeric)
        if self.pgd is not None or self.trades is not None:
            return torch.rand(rows, numeric) * 2 - 1
        return torch.empty(rows, 0)

    def losses(self, network: Network, x: Tensor, y: Tensor, luck: Tensor) -> Tensor:
        """The loss [n] of each row."""
        if self.pgd is not None and self.domain is not None:
            return pgd_losses(network, x, y, self.pgd, self.domain, luck)
        if self.trades is not None and self.domain is not None:
            return trades_losses(network, x, y, self.trades, self.domain, luck)
        z = network.standard(x)
        if self.smoothing is not None:
            z = z + self.smoothing.sigma * luck
        return functional.cross_entropy(network.classify(z, x), y, reduction="none")
