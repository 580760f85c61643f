"""Where a training stands: the network, its optimiser, the best epoch so far and the random numbers to come."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch

from rollback.train.adam import Adam
from rollback.train.checkpoint import Arrays
from rollback.train.network import Network


class Standing:
    """``epoch`` epochs are done; ``best`` are the network's tensors after ``best_epoch``."""

    def __init__(self, network: Network, adam: Adam) -> None:
        self._network, self._adam = network, adam
        self.epoch = self.best_epoch = 0
        self.loss = self.best_loss = float("inf")
        self.best = copy.deepcopy(network.state_dict())

    def note(self, loss: float) -> None:
        """An epoch is over, with this loss on what is held out."""
        self.epoch += 1
        self.loss = loss
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, self.epoch
            self.best = copy.deepcopy(self._network.state_dict())

    def state(self) -> tuple[Arrays, dict[str, float]]:
        """All that is needed to go on as if nothing had happened."""
        arrays = {f"now.{name}": tensor.cpu().numpy() for name, tensor in self._network.state_dict().items()}
        arrays |= {f"best.{name}": tensor.cpu().numpy() for name, tensor in self.best.items()}
        for i, (mean, square) in enumerate(zip(self._adam.mean, self._adam.square, strict=True)):
            arrays |= {f"mean.{i}": mean.cpu().numpy(), f"square.{i}": square.cpu().numpy()}
        arrays["luck"] = torch.get_rng_state().numpy()
        numbers = {"epoch": self.epoch, "steps": self._adam.steps, "best_epoch": self.best_epoch}
        losses = {"loss": self.loss, "best_loss": self.best_loss}
        return arrays, numbers | {name: value for name, value in losses.items() if np.isfinite(value)}

    def restore(self, arrays: Arrays, numbers: Mapping[str, float]) -> None:
        """Inverse of `state`."""
        place = self._network.mean.device
        tensors = {name: torch.tensor(value).to(place) for name, value in arrays.items() if name != "luck"}
        self._network.load_state_dict({name: tensors[f"now.{name}"] for name in self.best})
        self.best = {name: tensors[f"best.{name}"] for name in self.best}
        for i in range(len(self._adam.mean)):
            self._adam.mean[i], self._adam.square[i] = tensors[f"mean.{i}"], tensors[f"square.{i}"]
        self._adam.steps = int(numbers["steps"])
        self.epoch, self.best_epoch = int(numbers["epoch"]), int(numbers["best_epoch"])
        self.loss, self.best_loss = numbers.get("loss", float("inf")), numbers.get("best_loss", float("inf"))
        torch.set_rng_state(torch.from_numpy(arrays["luck"].copy()))
