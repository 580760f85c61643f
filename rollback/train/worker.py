"""One of the processes that train together: torchrun starts it with the folder of `rollback.train.launch`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import msgspec
from safetensors.numpy import save
from torch import cuda, distributed

from detectors.schema import Schema
from rollback.archive import read_archive
from rollback.durable import write_new
from rollback.manifest import Bounds
from rollback.train.launch import COLUMNS
from rollback.train.recipe import Progress, TrainingRows
from rollback.train.recipes.mlp import Parameters, fit
from rollback.train.team import Team


def work(folder: Path, team: Team) -> None:
    """Train; the first process leaves weights and figures in the folder."""
    asked = msgspec.json.decode((folder / "request.json").read_bytes())
    on_gpu = cuda.is_available() and asked["device"] != "cpu"
    meet = f"file://{folder}/meet"
    distributed.init_process_group("nccl" if on_gpu else "gloo", init_method=meet, rank=team.rank, world_size=team.size)
    fitted = fit(
        _rows((folder / "rows.npz").read_bytes(), asked),
        seed=asked["seed"],
        device=asked["device"],
        progress=_progress(folder, team),
        parameters=msgspec.convert(asked["parameters"], Parameters),
        checkpoints=None if asked["checkpoints"] is None else Path(asked["checkpoints"]),
        team=team,
    )
    if team.rank == 0:
        write_new(folder / "weights.safetensors", save(fitted.weights))
        write_new(folder / "figures.json", msgspec.json.encode(fitted.figures))
    distributed.destroy_process_group()


def _rows(content: bytes, asked: dict[str, Any]) -> TrainingRows:
    columns = read_archive(content, COLUMNS[:3], COLUMNS[3:])
    schema = msgspec.convert(asked["schema"], Schema)
    bounds = {name: msgspec.convert(own, Bounds) for name, own in asked["bounds"].items()}
    return TrainingRows(schema, **{name: column.copy() for name, column in columns.items()}, bounds=bounds)


def _progress(folder: Path, team: Team) -> Progress:
    """One line an epoch, by the first process; each ends where the launcher is gone."""
    launcher = os.getppid()

    def told(done: int, most: int, loss: float) -> None:
        if os.getppid() != launcher:
            sys.exit("the launcher is gone")
        if team.rank == 0:
            with (folder / "progress").open("a", encoding="utf-8") as file:
                file.write(f"{done} {most} {loss}\n")

    return told


if __name__ == "__main__":
    work(Path(sys.argv[1]), Team(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])))
