"""Where a training stands after an epoch, so that one that was cut off goes on: arrays and numbers, never pickle.

The folder is the caller's alone (mode 0700): what lies in it becomes the model. A checkpoint carries the digest of all
that decides the training, so that one of other rows, parameters or seed is never gone on from.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rollback.durable import read_plain, replace_file
from rollback.train.recipe import RecipeError, TrainingRows

LARGEST: Final = 2**32
ABOUT: Final = "about"
Arrays = dict[str, NDArray[Any]]


def digest_of(rows: TrainingRows, seed: int, parameters: Any, place: str) -> str:
    """Names a training: the same rows and options, the same digest."""
    found = hashlib.sha256()
    for name in ("x", "y", "session", "weight", "trusted"):
        column = getattr(rows, name)
        found.update(f"{name} {None if column is None else (column.dtype.str, column.shape)}".encode())
        found.update(b"" if column is None else np.ascontiguousarray(column).tobytes())
    asked = [asdict(rows.schema), {k: msgspec.to_builtins(v) for k, v in rows.bounds.items()}, seed, asdict(parameters)]
    found.update(msgspec.json.encode([*asked, place], order="sorted"))
    return found.hexdigest()


class Checkpoint:
    """The state of one training in ``folder``, which is made where it is missing. Raises `RecipeError`."""

    def __init__(self, folder: Path, digest: str) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = folder.lstat()
        except OSError as error:
            raise RecipeError(f"{folder}: checkpoints cannot be kept there: {error.strerror}") from error
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise RecipeError(f"{folder}: others may read or write there; checkpoints want a folder of mode 0700")
        self._path = folder / f"{digest}.safetensors"
        self._digest = digest

    def save(self, arrays: Arrays, numbers: Mapping[str, float]) -> None:
        """Replace what was kept before."""
        about = msgspec.json.encode({"digest": self._digest, "numbers": numbers})
        replace_file(self._path, save({**arrays, ABOUT: np.frombuffer(about, dtype=np.uint8)}))

    def load(self) -> tuple[Arrays, dict[str, float]] | None:
        """What was kept last, None where nothing was."""
        try:
            arrays = load(read_plain(self._path, LARGEST))
            about = msgspec.json.decode(arrays.pop(ABOUT).tobytes())
            digest, numbers = about["digest"], about["numbers"]
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, msgspec.DecodeError, KeyError, TypeError) as error:
            raise RecipeError(f"{self._path}: is no checkpoint: {error}; delete it to begin anew") from error
        if digest != self._digest:
            raise RecipeError(f"{self._path}: is the checkpoint of another training; delete it to begin anew")
        return arrays, numbers

    def done(self) -> None:
        """The training is over: nothing is kept."""
        self._path.unlink(missing_ok=True)
