"""What a retraining would run on. torch is imported by a child process only: the watcher never does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

from monitor.doctor.check import Result, ok, problem, warning
from monitor.settings.config import Config

SUBJECT = "retraining"
SECONDS: Final = 120.0
"""Importing torch from a cold disk takes long."""

AskTorch = Callable[[], dict[str, Any]]


def check_gpu(config: Config, ask: AskTorch | None = None) -> Iterator[Result]:
    """Whether torch is there, and the devices that it sees. ``ask`` returns what `gpu_facts.facts` does."""
    wanted = [name for name, model in config.models.items() if model.retrain.enabled]
    if not wanted:
        yield ok(SUBJECT, "no model is to be retrained (models.NAME.retrain.enabled)")
        return
    found = (ask or ask_torch)()
    if found["torch"] is None:
        advice = "pip install 'tocsin[retrain]', or set models.NAME.retrain.enabled: false"
        yield warning(
            SUBJECT, f"torch cannot be imported: a poisoned version is not retrained ({found['why']})", advice
        )
        return
    for device in found["devices"]:
        free, total = device["free_bytes"] / 2**30, device["total_bytes"] / 2**30
        yield ok(SUBJECT, f"torch {found['torch']} sees {device['name']}, {free:.0f} of {total:.0f} GiB free")
    needing = [name for name in wanted if config.model(name).retrain.device == "cuda"]
    if not found["devices"] and needing:
        advice = "see that the driver and a torch with CUDA are installed, or set retrain.device: auto"
        yield problem(SUBJECT, f"there is no CUDA device, and {', '.join(needing)} must have one", advice)
    elif not found["devices"]:
        yield ok(SUBJECT, f"retraining runs on the CPU: torch {found['torch']} sees no CUDA device")


def ask_torch() -> dict[str, Any]:
    """Raises `RuntimeError` where the child does not answer."""
    command = [sys.executable, "-m", "monitor.doctor.gpu_facts"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)  # noqa: S603 - our own
    if done.returncode != 0:
        raise RuntimeError(f"asking torch for its devices ended with exit code {done.returncode}: {done.stderr[-500:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
