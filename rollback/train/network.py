"""A small neural network for tables, and how it is made repeatable.

Numbers are compressed by asinh (like the log-modulus sign(x) log(1 + |x|), but exact in float32 for small values) and
standardised; a missing number becomes the mean, and an indicator says so. Categories are embedded; each table has a
row for values that the vocabulary does not hold and one for missing ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from detectors.batch import Floats
from detectors.schema import UNSEEN, Schema
from rollback.train.onnx_graph import CLIP, embedding_size
from rollback.train.recipe import Device, RecipeError


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
        return self.classify(self.standard(x), x)

    def standard(self, x: Tensor) -> Tensor:
        """The numeric columns in standard deviations of asinh; NaN where missing."""
        return (x[:, self.numeric].asinh() - self.mean) / self.scale

    def raw(self, z: Tensor) -> Tensor:
        """Inverse of `standard`."""
        return (z * self.scale + self.mean).sinh()

    def classify(self, z: Tensor, x: Tensor) -> Tensor:
        """The logits for numbers as `standard` gives them, with the categories of ``x``."""
        missing = z.isnan()
        parts = [torch.where(missing, 0.0, z.clamp(-CLIP, CLIP)), missing.float()]
        for j, known, embedding in zip(self.categorical, self.vocabularies, self.embeddings, strict=True):
            parts.append(embedding(embedding_rows(x[:, j], known)))
        h = torch.cat(parts, dim=1)
        for layer in self.layers[:-1]:
            h = functional.relu(layer(h))
        logits: Tensor = self.layers[-1](h)
        return logits.float()

    def probabilities(self, x: Floats) -> Floats:
        """What it says of rows x[n,d]."""
        place = self.mean.device
        with torch.no_grad():
            logits = self(torch.tensor(np.asarray(x), dtype=torch.float32, device=place))
        answer: Floats = functional.softmax(logits.double(), dim=1).cpu().numpy()
        return answer


def embedding_rows(codes: Tensor, known: int) -> Tensor:
    """Rows of an embedding table: the ``known`` categories, then unseen, then missing."""
    unseen = (codes < 0) | (codes >= known)
    rows = torch.where(codes.isnan(), known + 1.0, torch.where(unseen, float(known), codes))
    return rows.long()


def drop_cells(x: Tensor, network: Network, share: float) -> Tensor:
    """A copy in which some cells are missing and some categories unseen."""
    luck = torch.rand(x.shape).to(x.device)
    x = torch.where(luck < share, torch.nan, x)
    unseen = (luck > 1 - share)[:, network.categorical]
    x[:, network.categorical] = torch.where(unseen, UNSEEN, x[:, network.categorical])
    return x


def place_of(device: Device, rank: int = 0) -> torch.device:
    """The device to train on; ``auto`` takes a GPU where there is one, the one of that ``rank``."""
    there_is_one = torch.cuda.is_available()
    if device == "cuda" and not there_is_one:
        raise RecipeError("--device cuda: torch sees no CUDA device here; use --device cpu")
    if not there_is_one or device == "cpu":
        return torch.device("cpu")
    if rank >= torch.cuda.device_count():
        raise RecipeError(f"devices: {rank + 1} are asked for, torch sees {torch.cuda.device_count()} CUDA devices")
    return torch.device("cuda", rank)


@contextmanager
def repeatable(seed: int, threads: int, *, deterministic: bool) -> Iterator[None]:
    """Fix torch's randomness, threads and order of sums, and put back what was there before.

    With ``deterministic`` torch refuses what has no fixed order (`torch.use_deterministic_algorithms`).
    """
    before, was = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else sums on a GPU have no fixed order
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            torch.use_deterministic_algorithms(was)
