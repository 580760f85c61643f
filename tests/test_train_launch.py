"""Several processes train what one process trains."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recipe_rows import fit, make_rows, small

from rollback.train.recipe import RecipeError
from rollback.train.team import Team

pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")
launch = pytest.importorskip("rollback.train.launch")


@pytest.mark.slow
def test_two_processes_train_the_same_network_as_one_and_serve_nothing_to_other_machines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = replace(make_rows(), weight=np.linspace(0.1, 1.0, 300))
    option = {"pgd": {"epsilon": 0.3, "steps": 1}}
    alone = fit(small("mlp", **option), rows)
    heard: list[int] = []
    open_to_others: set[str] = set()
    tell = launch._tell  # called again and again while the processes run

    def look(*given: Any) -> int:
        open_to_others.update(_listening_beyond_loopback())
        return int(tell(*given))

    monkeypatch.setattr(launch, "_tell", look)
    together = small("mlp", devices=2, **option).train(
        rows, seed=3, device="cpu", progress=lambda done, *_: heard.append(done)
    )
    assert heard == [1, 2, 3, 4]
    assert not open_to_others
    assert together.figures["devices"] == 2
    for name, value in alone.weights.items():
        np.testing.assert_allclose(together.weights[name], value, atol=1e-4)
    np.testing.assert_allclose(together.own(rows.x), alone.own(rows.x), atol=1e-4)


def _listening_beyond_loopback() -> set[str]:
    """Addresses, as the system writes them, on which processes that this one has started listen for others."""
    sockets = {f"socket:[{row[9]}]": row[1] for table in ("tcp", "tcp6") for row in _listening(table)}
    loopback = ("0100007F:", "00000000000000000000000001000000:", "0000000000000000FFFF00000100007F:")
    found = set()
    for process in _started(os.getpid()):
        with suppress(OSError):  # it may have ended
            for link in Path(f"/proc/{process}/fd").iterdir():
                with suppress(OSError):
                    address = sockets.get(str(link.readlink()), loopback[0])
                    found |= set() if address.startswith(loopback) else {address}
    return found


def _listening(table: str) -> list[list[str]]:
    rows = [line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    return [row for row in rows if row[3] == "0A"]


def _started(parent: int) -> list[int]:
    found = []
    for children in Path(f"/proc/{parent}/task").glob("*/children"):
        with suppress(OSError):
            own = [int(child) for child in children.read_text().split()]
            found += own + [each for child in own for each in _started(child)]
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("rows", [0, 1, 2, 32])
def test_shares_of_a_batch_are_all_of_it_and_no_row_twice(rows: int, size: int) -> None:
    shares = [list(range(rows))[Team(rank, size).share(rows)] for rank in range(size)]
    assert list(chain(*shares)) == list(range(rows))


def test_nothing_is_started_by_a_name_that_somebody_else_could_have_taken(tmp_path: Path) -> None:
    command = launch.command(tmp_path, 2)
    assert command[:4] == [sys.executable, "-P", "-m", "torch.distributed.run"]
    assert "--standalone" not in command  # a rendezvous that others could speak to
    assert f"--rdzv-endpoint={tmp_path / 'launcher'}" in command
    assert command[-2:] == ["rollback.train.worker", str(tmp_path)]


def test_processes_that_fail_are_said_to_have_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; sys.exit('RuntimeError: no luck')"
    monkeypatch.setattr(launch, "command", lambda *_: [sys.executable, "-c", code])
    with pytest.raises(RecipeError, match=r"training in 2 processes failed \(exit code 1\): RuntimeError: no luck"):
        fit(small("mlp", devices=2), make_rows())
