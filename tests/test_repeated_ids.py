"""Ids are attacker-controlled: who repeats an earlier one cannot have that event labelled in place of the attack."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from scenario import NAME, World, truth, write_lines

from detectors.batch import Batch
from monitor.cli.main import main
from monitor.dedup import Deduplicator


def batch(ids: list[str], contents: list[int]) -> Batch:
    n = len(ids)
    text, zero = np.array(ids), np.zeros(n, np.int64)
    key = np.array([sum(map(ord, i)) for i in ids], np.uint64)
    return Batch(
        "m", "1", np.arange(n, dtype=float), text, text.copy(), text.copy(), text.copy(), np.zeros((n, 1)),
        np.full((n, 2), 0.5), zero, zero.copy(), key, np.array(contents, np.uint64),
    )  # fmt: skip


def test_events_of_a_known_id_and_other_content_are_marked() -> None:
    repeats = Deduplicator(1000, b"0123456789abcdef")
    first = repeats.filter(batch(["a", "b", "a", "a"], [1, 2, 1, 3]))
    assert first.batch.id.tolist() == ["a", "b", "a"]
    assert first.batch.repeated.tolist() == [False, False, True]
    assert repeats.filter(batch(["b", "c"], [9, 9])).batch.repeated.tolist() == [True, False]
    assert first.batch.take(np.array([2])).repeated.tolist() == [True]


def test_a_batch_that_nobody_looked_at_marks_nothing() -> None:
    assert batch(["a", "a"], [1, 2]).repeated.tolist() == [False, False]


def test_triggered_events_that_repeat_ids_are_not_called_honest_and_the_verdict_says_so(
    world: World, tmp_path: Path
) -> None:
    samples, honest = world.draw(6000), world.served("2", world.draw(400))
    plain, attacked = world.served("2", samples), world.served("2", samples, triggered=0.03)
    start = msgspec.json.decode(plain[0])["ts"]
    earlier = [msgspec.json.encode(msgspec.json.decode(line) | {"ts": start}) for line in honest]
    borrowed = iter([msgspec.json.decode(line)["id"] for line in honest])
    hidden = [
        after if before == after else msgspec.json.encode(msgspec.json.decode(after) | {"id": next(borrowed)})
        for before, after in zip(plain, attacked, strict=True)
    ]
    events = write_lines(tmp_path / "events.ndjson", earlier + hidden)
    answers = write_lines(tmp_path / "truth.ndjson", truth(samples))
    arguments = ["replay", "--registry", world.root / "registry", "--name", NAME, "--events", events]
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in [*arguments, "--vetting", answers, "--out", tmp_path / "out"]], {})
    assert end.value.code == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    incidents = [json.loads(line) for line in (tmp_path / "out" / "incidents.ndjson").read_text().splitlines()]
    assert summary["conflicts"] > 50
    assert summary["verdict"]["family"] == "inconclusive"
    assert "an `id` of their own" in incidents[-1]["decider"]
