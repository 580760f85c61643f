"""Trains one network in several processes on this machine (see `rollback.train.team`).

torch's own launcher, torchrun, is started as a module of this very interpreter: a program found by its name could be
anybody's. What the processes are to do lies in a private folder, in which launcher and processes find each other too:
torchrun's usual rendezvous listens on every network interface and unpickles what it is sent. Gradients go by loopback.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from safetensors.numpy import load

from rollback.durable import read_plain
from rollback.train.recipe import Device, Progress, RecipeError, TrainingRows, Weights

WORKER: Final = "rollback.train.worker"
COLUMNS: Final = ("x", "y", "session", "weight", "trusted")
POLL_SECONDS: Final = 0.2
END_SECONDS: Final = 30.0
LAST_BYTES: Final = 2000
LARGEST: Final = 2**32
LOOPBACK: Final = "lo"
ALONE: Final = {
    "PYTHONSAFEPATH": "1",
    "OMP_NUM_THREADS": "1",
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    "GLOO_SOCKET_IFNAME": LOOPBACK,
    "NCCL_SOCKET_IFNAME": LOOPBACK,
}
"""Nothing is served to other machines: no store of torchrun's over TCP, and gradients over loopback alone."""
ALWAYS: Final = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "PYTHONPATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")


def fit_together(
    rows: TrainingRows,
    *,
    seed: int,
    device: Device,
    devices: int,
    parameters: Mapping[str, Any],
    progress: Progress,
    checkpoints: Path | None,
) -> tuple[Weights, dict[str, float]]:
    """The network's tensors and figures of the loop of the recipe ``mlp``, run in so many processes.

    Raises `RecipeError`.
    """
    with tempfile.TemporaryDirectory(prefix="tocsin-train-") as name:
        folder = Path(name)
        given = {c: getattr(rows, c) for c in COLUMNS if getattr(rows, c) is not None}
        np.savez(folder / "rows.npz", allow_pickle=False, **given)
        asked = {
            "schema": asdict(rows.schema),
            "bounds": {feature: msgspec.to_builtins(own) for feature, own in rows.bounds.items()},
            "seed": seed,
            "device": device,
            "parameters": dict(parameters),
            "checkpoints": None if checkpoints is None else str(checkpoints.absolute()),
        }
        (folder / "request.json").write_bytes(msgspec.json.encode(asked))
        _run(folder, devices, progress)
        weights = load(read_plain(folder / "weights.safetensors", LARGEST))
        figures = msgspec.json.decode((folder / "figures.json").read_bytes(), type=dict[str, float])
    return weights, {**figures, "devices": float(devices)}


def command(folder: Path, devices: int) -> list[str]:
    """How the processes are started; nothing is looked up on the PATH or in the working directory."""
    launcher = [sys.executable, "-P", "-m", "torch.distributed.run", "--nnodes=1", f"--nproc-per-node={devices}"]
    meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint={folder / 'launcher'}", "--rdzv-conf=store_type=file"]
    return [*launcher, *meeting, "--rdzv-id=tocsin", "--local-addr=127.0.0.1", "--module", WORKER, str(folder)]


def _run(folder: Path, devices: int, progress: Progress) -> None:
    """Start the processes, tell how they get on, and end them all whatever happens."""
    environ = {name: os.environ[name] for name in ALWAYS if name in os.environ}
    environ |= ALONE
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, no shell
            command(folder, devices),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environ,
        )
    told = 0
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)
            told = _tell(folder, told, progress)
            if process.returncode is not None:
                break
    finally:
        _end(process)
    if process.returncode != 0 or not (folder / "figures.json").exists():
        said = (folder / "log").read_bytes()[-LAST_BYTES:].decode("utf-8", "replace").strip().splitlines()
        errors = [line for line in said if "Error" in line] or said[-3:]
        raise RecipeError(
            f"training in {devices} processes failed (exit code {process.returncode}): {' | '.join(errors)}"
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """The launcher ends its processes when it is asked to end; they end by themselves where it is killed."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def _tell(folder: Path, told: int, progress: Progress) -> int:
    """Pass on the lines of progress behind the first ``told``; how many there are now."""
    path = folder / "progress"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    for line in lines[told:]:
        done, most, loss = line.split()
        progress(int(done), int(most), float(loss))
    return len(lines)
