"""Other people's defences, run in an environment of their own: `retraining_peers.py` is fed a file of arrays."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from detectors.batch import Bools
from rollback.redteam.surrogate import Encoding
from rollback.sanitise.rows import Rows

SCRIPT = Path(__file__).parent.parent / "retraining_peers.py"


def removed_by_peers(python: Path, base: Rows, new: Rows, count: int, seed: int) -> dict[str, Bools]:
    """Name of a defence -> the ``count`` new rows bool[n] that it suspects most; it sees base and new rows alike.

    Raises `RuntimeError` with what the other environment said where that fails.
    """
    encode = Encoding.fitted(base.schema, base.x)
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder) / "given.npz", Path(folder) / "answer.npz"
        x, y = np.concatenate([base.x, new.x]), np.concatenate([base.y, new.y])
        fresh = np.arange(len(x)) >= len(base)
        np.savez(given, x=encode(x), y=y, classes=len(base.schema.classes), fresh=fresh, seed=seed)
        done = subprocess.run([python, SCRIPT, given, answer], capture_output=True, check=False, text=True)
        if done.returncode:
            raise RuntimeError(f"{python} {SCRIPT.name}: {done.stderr[-2000:]}")
        removed = {}
        with np.load(answer) as suspicion:
            for name in suspicion.files:
                worst = np.argsort(-suspicion[name], kind="stable")[:count]
                removed[name] = np.isin(np.arange(len(new)), worst)
    return removed
