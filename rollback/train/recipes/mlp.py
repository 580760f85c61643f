"""A small neural network for tables, as one readable loop.

Numbers are compressed by asinh (like the log-modulus sign(x) log(1 + |x|), but exact in float32 for small values) and
standardised; a missing number becomes the mean, and an indicator says so. Categories are embedded; each table has a
row for values that the vocabulary does not hold and one for missing ones. So that these are trained too, a few cells
are dropped at random. Early stopping watches whole sessions that are held out of the rows given.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from detectors.batch import Floats
from detectors.schema import UNSEEN, Schema
from rollback.canary.canaries import Canaries
from rollback.train.onnx_graph import CLIP, build_model, embedding_size, onnx_spec
from rollback.train.recipe import Device, Progress, RecipeError, Trained, TrainingRows, Weights
from rollback.train.split import hold_out

ANSWERS = 256
"""So many rows are given to the trained network for its own answers."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """``drop`` is the probability that a cell is dropped; ``patience`` counts epochs without a better validation."""

    hidden: tuple[int, ...] = (64, 32)
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch: int = 512
    epochs: int = 40
    patience: int = 6
    drop: float = 0.005
    validation_share: float = 0.1
    threads: int = 1


class Network(nn.Module):
    """x[n,d] as coded columns, float32 -> logits[n,k]. The names of its tensors are those that `onnx_graph` reads."""

    def __init__(self, schema: Schema, mean: Floats, scale: Floats, hidden: tuple[int, ...]) -> None:
        super().__init__()
        kinds = [f.kind == "categorical" for f in schema.features]
        self.numeric = [j for j, categorical in enumerate(kinds) if not categorical]
        self.categorical = [j for j, categorical in enumerate(kinds) if categorical]
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        self.vocabularies = sizes = [len(schema.features[j].vocabulary) for j in self.categorical]
        self.embeddings = nn.ModuleList(nn.Embedding(v + 2, embedding_size(v)) for v in sizes)
        widths = [2 * len(self.numeric) + sum(map(embedding_size, sizes)), *hidden, len(schema.classes)]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """The logits."""
        raw = x[:, self.numeric]
        missing = raw.isnan()
        standard = ((raw.asinh() - self.mean) / self.scale).clamp(-CLIP, CLIP)
        parts = [torch.where(missing, 0.0, standard), missing.float()]
        for j, known, embedding in zip(self.categorical, self.vocabularies, self.embeddings, strict=True):
            parts.append(embedding(embedding_rows(x[:, j], known)))
        h = torch.cat(parts, dim=1)
        for layer in self.layers[:-1]:
            h = functional.relu(layer(h))
        logits: Tensor = self.layers[-1](h)
        return logits


def embedding_rows(codes: Tensor, known: int) -> Tensor:
    """Rows of an embedding table: the ``known`` categories, then unseen, then missing."""
    unseen = (codes < 0) | (codes >= known)
    rows = torch.where(codes.isnan(), known + 1.0, torch.where(unseen, float(known), codes))
    return rows.long()


def train(
    rows: TrainingRows, *, seed: int, device: Device, progress: Progress, parameters: Parameters | None = None
) -> Trained:
    """Train on the rows; see `rollback.train.recipe.Recipe`. On a CPU the same input gives the same weights."""
    p = parameters or Parameters()
    place = _place(device)
    held = hold_out(rows.session, rows.y, int(p.validation_share * len(rows)), np.random.default_rng(seed))
    learn = ~held
    if not held.any():  # so few sessions that none can be spared
        held = learn
    mean, scale = _statistics(rows.schema, rows.x[learn])

    with _repeatable(seed, p.threads):
        network = Network(rows.schema, mean, scale, p.hidden).to(place)
        x, y, weight = _tensors(rows, learn, place)
        x_held, y_held, weight_held = _tensors(rows, held, place)
        adam = Adam(list(network.parameters()), p.learning_rate, p.weight_decay)
        best_loss, best_epoch, best = np.inf, 0, copy.deepcopy(network.state_dict())
        for epoch in range(1, p.epochs + 1):
            network.train()
            for part in torch.split(torch.randperm(len(x)).to(place), p.batch):
                own = None if weight is None else weight[part]
                loss = _loss(network(_drop_cells(x[part], network, p.drop)), y[part], own)
                adam.step(torch.autograd.grad(loss, adam.parameters))
            network.eval()
            with torch.no_grad():
                held_loss = float(_loss(network(x_held), y_held, weight_held))
            progress(epoch, p.epochs, held_loss)
            if held_loss < best_loss:
                best_loss, best_epoch, best = held_loss, epoch, copy.deepcopy(network.state_dict())
            if epoch - best_epoch >= p.patience:
                break
        network.load_state_dict(best)
        answers = _answers(network, rows, place)

    weights: Weights = {name: tensor.cpu().numpy() for name, tensor in network.state_dict().items()}
    figures = {"validation_loss": best_loss, "epochs": float(best_epoch), "validation_rows": float(held.sum())}
    return Trained(build_model(weights, rows.schema), onnx_spec(rows.schema), weights, asdict(p), figures, answers)


class Adam:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2).

    Written out because torch's own loads torch's compiler on its first step, which can take longer than the training.
    """

    def __init__(self, parameters: list[Tensor], rate: float, decay: float) -> None:
        self.parameters = parameters
        self._rate = rate
        self._decay = decay
        self._steps = 0
        self._mean = [torch.zeros_like(p) for p in parameters]
        self._square = [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Move the parameters against their gradients."""
        self._steps += 1
        bias1, bias2 = 1 - 0.9**self._steps, 1 - 0.999**self._steps
        for p, g, mean, square in zip(self.parameters, gradients, self._mean, self._square, strict=True):
            p.mul_(1 - self._rate * self._decay)
            mean.lerp_(g, 0.1)
            square.mul_(0.999).addcmul_(g, g, value=0.001)
            p.addcdiv_(mean / bias1, (square / bias2).sqrt().add_(1e-8), value=-self._rate)


def _statistics(schema: Schema, x: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of asinh of every numeric column; 0 and 1 where nothing varies or all is missing."""
    columns = [j for j, f in enumerate(schema.features) if f.kind != "categorical"]
    values = np.ma.masked_invalid(np.arcsinh(x[:, columns]))
    mean, deviation = values.mean(axis=0).filled(0.0), values.std(axis=0).filled(0.0)
    return mean, np.where(deviation > 0, deviation, 1.0)


def _drop_cells(x: Tensor, network: Network, share: float) -> Tensor:
    """A copy in which some cells are missing and some categories unseen."""
    luck = torch.rand(x.shape).to(x.device)
    x = torch.where(luck < share, torch.nan, x)
    unseen = (luck > 1 - share)[:, network.categorical]
    x[:, network.categorical] = torch.where(unseen, UNSEEN, x[:, network.categorical])
    return x


def _loss(logits: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
    """The mean cross-entropy, weighted where rows have weights."""
    if weight is None:
        return functional.cross_entropy(logits, y)
    # a part of rows that count for nothing has loss 0, not 0 / 0
    return (weight * functional.cross_entropy(logits, y, reduction="none")).sum() / weight.sum().clamp(min=1e-9)


def _answers(network: Network, rows: TrainingRows, place: torch.device) -> Canaries:
    """What the network says of its first rows."""
    x = rows.x[:ANSWERS].copy()
    network.eval()
    with torch.no_grad():
        logits = network(torch.tensor(x, dtype=torch.float32, device=place))
    return Canaries(rows.schema, x, functional.softmax(logits.double(), dim=1).cpu().numpy())


def _tensors(rows: TrainingRows, mask: np.ndarray, place: torch.device) -> tuple[Tensor, Tensor, Tensor | None]:
    x = torch.tensor(rows.x[mask], dtype=torch.float32, device=place)
    y = torch.tensor(rows.y[mask], dtype=torch.int64, device=place)
    if rows.weight is None:
        return x, y, None
    return x, y, torch.tensor(rows.weight[mask], dtype=torch.float32, device=place)


def _place(device: Device) -> torch.device:
    """The device to train on; ``auto`` takes a GPU where there is one."""
    there_is_one = torch.cuda.is_available()
    if device == "cuda" and not there_is_one:
        raise RecipeError("--device cuda: torch sees no CUDA device here; use --device cpu")
    return torch.device("cuda" if there_is_one and device != "cpu" else "cpu")


@contextmanager
def _repeatable(seed: int, threads: int) -> Iterator[None]:
    """Fix torch's randomness and threads, and put back what was there before. What runs here has one order on a CPU."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
