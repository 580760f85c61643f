"""Several processes that train one network: each takes its share of every batch, and gradients are added up.

All hold all rows, draw the same random numbers and take the same steps: what they train is what one process trains,
up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True, slots=True)
class Team:
    """Process ``rank`` of ``size``."""

    rank: int = 0
    size: int = 1

    def share(self, rows: int) -> slice:
        """This process's part of a batch of so many rows.

        >>> [Team(rank, 3).share(8) for rank in range(3)]
        [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
        """
        return slice(self.rank * rows // self.size, (self.rank + 1) * rows // self.size)

    def add(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """The sum over all processes, the same in each."""
        if self.size == 1:
            return gradients
        flat = torch.cat([g.reshape(-1) for g in gradients])
        distributed.all_reduce(flat)
        parts = torch.split(flat, [g.numel() for g in gradients])
        return [part.view_as(g) for part, g in zip(parts, gradients, strict=True)]


LONE = Team()
