"""The bench of false alarms counts what it says, and the whole panel keeps a budget on correlated sessions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from separation.crossings import Law
from separation.false_alarms import pieces, summary, upper
from separation.null_cores import CORES
from separation.null_panel import watch

from detectors.evidence import Budget


@pytest.mark.slow
def test_the_whole_panel_keeps_a_small_budget_on_honest_retrains() -> None:
    budget, seen = 2000.0, []
    for seed, mean in enumerate((1, 6, 6, 20)):
        law = Law(mean, 0.7, 400, 0.02, coarse=seed == 2)
        seen.append(watch(law, seed, budget, budget, windows=6)["any"])
    votes = sum(c.votes for c in seen)
    assert sum(c.alarms for c in seen) <= votes / budget
    assert sum(c.requests for c in seen) <= votes / budget


@pytest.mark.parametrize("name", [n for n in CORES if n != "label_votes"])
def test_a_core_keeps_a_small_budget_over_references(name: str) -> None:
    budget, votes = 2000.0, 3000
    found = CORES[name](
        np.random.default_rng(1), Law(6, 0.7, 400, 0.02, coarse=False), 20, votes, Budget(budget, budget)
    )
    assert found.votes >= 20 * votes
    assert found.alarms <= found.votes / budget
    assert found.requests <= found.votes / budget


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    done: list[int] = []

    def do(_: str, piece: int) -> dict[str, object]:
        done.append(piece)
        return {"piece": piece, "found": {}}

    list(pieces(tmp_path, "some", do, 2))
    assert [line["piece"] for line in pieces(tmp_path, "some", do, 3)] == [0, 1, 2]
    assert done == [0, 1, 2]


def test_rates_come_with_their_exact_bounds() -> None:
    law = {"mean_session": 6, "sessions": 400}
    found = {"votes": 1_000_000, "alarms": 1, "requests": 0, "bad": 1}
    rates = summary([{"law": law, "references": 2, "found": {"one": found}}] * 2)["one"]
    assert rates["alarms_per_million"] == 1.0
    assert rates["at_most"] == pytest.approx(upper(2) / 2, abs=1e-4)
    assert rates["references"] == 4
    assert rates["by"]["mean_session=6"]["votes"] == 2_000_000


def test_the_same_seed_gives_the_same_counts() -> None:
    law = Law(6, 0.7, 400, 0.02, coarse=True)
    once, again = (CORES["version_votes"](np.random.default_rng(1), law, 5, 1000, Budget(10, 5)) for _ in range(2))
    assert once == again
    assert once.requests > 0
