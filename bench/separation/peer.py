"""Asks a peer (`separation.peers`), which runs under a Python of its own, for its statistic on an episode."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Final

import numpy as np

from separation.episode import Episode
from separation.stream_baseline import firsts, standardised

_FOLDER: Final = Path(__file__).parent / "peers"
_ROWS: Final = 800


class Peer:
    """``statistic`` as a baseline's: one event of each session, standardised, nulls at the centre, 800 rows at most."""

    def __init__(self, name: str, python: str) -> None:
        script = _FOLDER / f"{name}.py"
        if not script.is_file():
            known = ", ".join(sorted(p.stem for p in _FOLDER.glob("*_*.py") if not p.stem.startswith("_")))
            raise SystemExit(f"--peer {name}: there is no such peer; known: {known}")
        self._process = subprocess.Popen(
            [python, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def statistic(self, episode: Episode, rng: np.random.Generator) -> float:
        """Raises `RuntimeError` where the peer has ended."""
        known, seen = firsts(episode.world.reference).x, firsts(episode.events).x
        pair = [np.nan_to_num(standardised(known, rng.permutation(x)[:_ROWS])) for x in (known, seen)]
        assert self._process.stdin is not None  # noqa: S101 - opened above: it tells mypy
        assert self._process.stdout is not None  # noqa: S101 - likewise
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pair.npz"
            np.savez(path, known=pair[0].astype(np.float32), seen=pair[1].astype(np.float32))
            self._process.stdin.write(f"{path}\n")
            self._process.stdin.flush()
            for line in self._process.stdout:
                if line.startswith("answer "):
                    return float(line.split()[1])
        raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}: run it by hand to see why")
