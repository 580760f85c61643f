"""Rows moved against the network, within what the domain allows (Madry et al. 2018, arXiv 1706.06083)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from rollback.train.harden.domain import Domain
from rollback.train.harden.options import Pgd, Trades
from rollback.train.network import Network

Losses: TypeAlias = Callable[[Tensor], Tensor]
"""logits[n,k] -> what the adversary wants to be high, [n]."""


def worst_rows(network: Network, x: Tensor, wanted: Losses, how: Pgd | Trades, domain: Domain, luck: Tensor) -> Tensor:
    """The rows x[n,d] with their numbers moved by projected gradient ascent on ``wanted``.

    It starts at a random place: ``luck`` [n, numeric columns] is uniform in [-1, 1]. Rounding to whole numbers comes
    last, so that small steps add up.
    """
    if not network.numeric or not len(x):
        return x
    start = network.standard(x).detach()
    low, high = start - how.epsilon, start + how.epsilon
    z = start + how.epsilon * luck
    step = 2.5 * how.epsilon / how.steps
    for _ in range(how.steps):
        z = z.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(wanted(network.classify(z, x)).sum(), [z])
        z = torch.minimum(torch.maximum(z.detach() + step * gradient.sign(), low), high)
    moved = x.clone()
    moved[:, network.numeric] = domain.within(x[:, network.numeric], network.raw(z.detach()))
    return moved


def pgd_losses(network: Network, x: Tensor, y: Tensor, how: Pgd, domain: Domain, luck: Tensor) -> Tensor:
    """The cross-entropy [n] where it is worst."""

    def wanted(logits: Tensor) -> Tensor:
        return functional.cross_entropy(logits, y, reduction="none")

    return wanted(network(worst_rows(network, x, wanted, how, domain, luck)))


def trades_losses(network: Network, x: Tensor, y: Tensor, how: Trades, domain: Domain, luck: Tensor) -> Tensor:
    """The loss [n] of TRADES."""
    clean = network(x)
    target = functional.log_softmax(clean.detach(), dim=1)

    def away(logits: Tensor) -> Tensor:
        return _divergence(target, functional.log_softmax(logits, dim=1))

    moved = network(worst_rows(network, x, away, how, domain, luck))
    apart = _divergence(functional.log_softmax(clean, dim=1), functional.log_softmax(moved, dim=1))
    return functional.cross_entropy(clean, y, reduction="none") + how.beta * apart


def _divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) [n] of logarithms of probabilities."""
    return (p.exp() * (p - q)).sum(dim=1)
