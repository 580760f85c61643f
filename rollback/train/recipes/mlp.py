"""A small neural network for tables (`rollback.train.network`), as one readable loop.

So that the rows of embeddings for unseen and missing values are trained too, a few cells are dropped at random. Early
stopping watches whole sessions that are held out: trusted ones alone, where rows say which are trusted. Every training
is from scratch: going on from an earlier model was measured to keep what poison had taught it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from detectors.batch import Bools
from rollback.train.adam import Adam
from rollback.train.checkpoint import Checkpoint, digest_of
from rollback.train.dense import numeric_statistics
from rollback.train.graph import onnx_spec
from rollback.train.harden.domain import domain_of
from rollback.train.harden.objective import Objective
from rollback.train.harden.options import Pgd, Privacy, Smoothing, Trades
from rollback.train.launch import fit_together
from rollback.train.network import Network, drop_cells, place_of, repeatable
from rollback.train.onnx_graph import build_model
from rollback.train.recipe import Device, Progress, RecipeError, Trained, TrainingRows, Weights, answers_of
from rollback.train.split import hold_out_trusted
from rollback.train.standing import Standing
from rollback.train.team import LONE, Team

__all__ = ["Adam", "Fitted", "Network", "Parameters", "fit", "train"]


@dataclass(frozen=True, slots=True)
class Parameters:
    """``drop`` is the probability that a cell is dropped; ``patience`` counts epochs without a better validation.

    ``precision`` mixed computes layers in bfloat16, auto where there is a GPU; ``devices`` processes train together;
    ``deterministic`` refuses what has no fixed order. The last four harden; at most one of ``pgd``, ``trades`` and
    ``smoothing``.
    """

    hidden: tuple[int, ...] = (64, 32)
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch: int = 512
    epochs: int = 40
    patience: int = 6
    drop: float = 0.005
    validation_share: float = 0.1
    threads: int = 1
    precision: Literal["auto", "full", "mixed"] = "auto"
    deterministic: bool = True
    devices: int = 1
    pgd: Pgd | None = None
    trades: Trades | None = None
    smoothing: Smoothing | None = None
    privacy: Privacy | None = None

    def __post_init__(self) -> None:
        if (
            min(self.batch, self.patience, self.threads, self.devices) < 1
            or self.epochs < 0
            or min(self.hidden, default=1) < 1
        ):
            raise ValueError("batch, patience, threads, devices and hidden must be at least 1, epochs at least 0")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise ValueError("learning_rate must be above 0, weight_decay at least 0")
        if not 0 <= self.drop < 1 / 2 or not 0 <= self.validation_share < 1:
            raise ValueError("drop lies between 0 and 0.5, validation_share between 0 and 1")
        if sum(option is not None for option in (self.pgd, self.trades, self.smoothing)) > 1:
            raise ValueError("pgd, trades and smoothing: at most one of them")
        if self.privacy is not None and (self.pgd or self.trades or self.devices > 1):
            raise ValueError("privacy goes with neither pgd, trades nor several devices")


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a training leaves: the network's tensors by name, and figures."""

    weights: Weights
    figures: dict[str, float]


class Steps(Protocol):
    """How an epoch goes: batches of row numbers, and the gradients that each gives."""

    def batches(self) -> Iterator[Tensor]:
        """The batches of one epoch."""

    def gradients(self, part: Tensor) -> Sequence[Tensor]:
        """The gradients of all parameters for one batch."""


def train(
    rows: TrainingRows,
    *,
    seed: int,
    device: Device,
    progress: Progress,
    parameters: Parameters | None = None,
    checkpoints: Path | None = None,
) -> Trained:
    """Train on the rows; see `rollback.train.recipe.Recipe`. On a CPU the same input gives the same weights."""
    p = parameters or Parameters()
    if p.devices > 1:
        together = fit_together(
            rows,
            seed=seed,
            device=device,
            devices=p.devices,
            parameters=asdict(p),
            progress=progress,
            checkpoints=checkpoints,
        )
        fitted = Fitted(*together)
    else:
        fitted = fit(rows, seed=seed, device=device, progress=progress, parameters=p, checkpoints=checkpoints)
    own = network_of(rows, fitted.weights, p, place_of(device)).probabilities
    answers = answers_of(own, rows)
    model = build_model(fitted.weights, rows.schema)
    return Trained(model, onnx_spec(rows.schema), fitted.weights, asdict(p), fitted.figures, answers, own)


def network_of(rows: TrainingRows, weights: Weights, p: Parameters, place: torch.device) -> Network:
    """The network with these tensors, as it answers."""
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and replaced
        mean, scale = weights["mean"].astype(np.float64), weights["scale"].astype(np.float64)
        network = Network(rows.schema, mean, scale, p.hidden)
    network.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    return network.to(place).eval()


def fit(
    rows: TrainingRows,
    *,
    seed: int,
    device: Device,
    progress: Progress,
    parameters: Parameters,
    checkpoints: Path | None = None,
    team: Team = LONE,
) -> Fitted:
    """The loop. ``team`` says which of several processes this is."""
    p = parameters
    if p.privacy is not None:
        return _fit_privately(rows, seed, device, progress, p)
    place = place_of(device, team.rank)
    held = hold_out_trusted(rows.session, rows.y, rows.trusted, p.validation_share, np.random.default_rng(seed))
    learn = ~held
    if not held.any():  # so few sessions that none can be spared
        held = learn if rows.trusted is None or not rows.trusted.any() else rows.trusted
    mean, scale = numeric_statistics(rows.schema, rows.x[learn])
    kept = None if checkpoints is None else Checkpoint(checkpoints, digest_of(rows, seed, p, str(place)))

    with repeatable(seed, p.threads, deterministic=p.deterministic):
        network = Network(rows.schema, mean, scale, p.hidden).to(place)
        mixed = p.precision == "mixed" or (p.precision == "auto" and place.type == "cuda")
        steps = PlainSteps(network, objective_of(rows, p), _tensors(rows, learn, place), p, team, mixed=mixed)
        x_held, y_held, weight_held = _tensors(rows, held, place)
        adam = Adam(list(network.parameters()), p.learning_rate, p.weight_decay)
        standing = Standing(network, adam)
        if kept is not None and (found := kept.load()) is not None:
            standing.restore(*found)
        while standing.epoch < p.epochs and standing.epoch - standing.best_epoch < p.patience:
            network.train()
            for part in steps.batches():
                adam.step(steps.gradients(part))
            network.eval()
            with torch.no_grad():
                losses = functional.cross_entropy(network(x_held), y_held, reduction="none")
                standing.note(_mean(losses, weight_held, weight_held))
            if kept is not None and team.rank == 0:
                kept.save(*standing.state())
            progress(standing.epoch, p.epochs, standing.loss)
    if kept is not None and team.rank == 0:
        kept.done()
    if standing.epoch and not standing.best_epoch:
        raise RecipeError("mlp: the loss was no number after any epoch: lower learning_rate")
    weights: Weights = {name: tensor.cpu().numpy() for name, tensor in standing.best.items()}
    figures = {"epochs": float(standing.best_epoch), "validation_rows": float(held.sum())}
    if np.isfinite(standing.best_loss):
        figures["validation_loss"] = standing.best_loss
    return Fitted(weights, figures)


def _fit_privately(rows: TrainingRows, seed: int, device: Device, progress: Progress, p: Parameters) -> Fitted:
    """All epochs on all rows: stopping early would tell something about the rows that were watched."""
    try:
        from rollback.train.harden import privacy  # noqa: PLC0415 - an extra of its own
    except ImportError as error:
        raise RecipeError(f'privacy needs Opacus: pip install "tocsin[privacy]" ({error})') from error
    how = p.privacy or Privacy()
    privacy.require_usable(rows, how)
    place, secret = place_of(device), how.seed(seed)
    known = privacy.private_statistics(rows, how, np.random.default_rng(secret))
    with repeatable(secret, p.threads, deterministic=p.deterministic):
        network = Network(rows.schema, known.mean, known.scale, p.hidden).to(place)
        with torch.no_grad():
            network.state_dict()[f"layers.{len(p.hidden)}.bias"].copy_(torch.tensor(np.log(known.share)))
        columns = _tensors(rows, np.ones(len(rows), dtype=np.bool_), place)
        steps = privacy.PrivateSteps(
            network, objective_of(rows, p), columns, how, batch=p.batch, epochs=p.epochs, drop=p.drop
        )
        adam = Adam(list(network.parameters()), p.learning_rate, p.weight_decay)
        for epoch in range(1, p.epochs + 1):
            for part in steps.batches():
                adam.step(steps.gradients(part))
            progress(epoch, p.epochs, float("nan"))
        steps.close()
    weights: Weights = {name: tensor.detach().cpu().numpy() for name, tensor in network.state_dict().items()}
    if not all(np.isfinite(value).all() for value in weights.values()):
        raise RecipeError("mlp: the weights are no numbers after the training: lower learning_rate")
    shares = {f"private_share.{name}": float(v) for name, v in zip(rows.schema.classes, known.share, strict=True)}
    return Fitted(weights, {"epochs": float(p.epochs), **steps.spent(p.epochs), **shares})


class PlainSteps:
    """Batches in random order, and the gradient of the weighted mean loss."""

    def __init__(
        self,
        network: Network,
        objective: Objective,
        columns: tuple[Tensor, Tensor, Tensor],
        p: Parameters,
        team: Team,
        *,
        mixed: bool,
    ) -> None:
        self._network, self._objective, self._p, self._team, self._mixed = network, objective, p, team, mixed
        self._x, self._y, self._weight = columns
        self._parameters = list(network.parameters())

    def batches(self) -> Iterator[Tensor]:
        """See `Steps`."""
        yield from torch.split(torch.randperm(len(self._x)).to(self._x.device), self._p.batch)

    def gradients(self, part: Tensor) -> Sequence[Tensor]:
        """See `Steps`."""
        x = drop_cells(self._x[part], self._network, self._p.drop)
        luck = self._objective.draw(len(part), len(self._network.numeric)).to(x.device)
        mine = self._team.share(len(part))
        weight = self._weight[part]
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self._mixed):
            losses = self._objective.losses(self._network, x[mine], self._y[part][mine], luck[mine])
        loss = _sum(losses, weight[mine]) / weight.sum().clamp(min=1e-9)  # a part that counts for nothing: 0, not 0 / 0
        return self._team.add(torch.autograd.grad(loss, self._parameters))


def objective_of(rows: TrainingRows, p: Parameters) -> Objective:
    """The loss that the parameters ask for, in the domain of the rows."""
    domain = None if p.pgd is None and p.trades is None else domain_of(rows)
    return Objective(domain, p.pgd, p.trades, p.smoothing)


def _sum(losses: Tensor, weight: Tensor) -> Tensor:
    return (weight * losses).sum()


def _mean(losses: Tensor, weight: Tensor, of: Tensor) -> float:
    return float(_sum(losses, weight) / of.sum().clamp(min=1e-9))


def _tensors(rows: TrainingRows, mask: Bools, place: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Features, classes and weights of some rows."""
    x = torch.tensor(rows.x[mask], dtype=torch.float32, device=place)
    y = torch.tensor(rows.y[mask], dtype=torch.int64, device=place)
    weight = np.ones(len(x)) if rows.weight is None else rows.weight[mask]
    return x, y, torch.tensor(weight, dtype=torch.float32, device=place)
