"""The figures may rise and not fall: one small site of the generated set, each kind of scenario once.

The whole matrix is `python -m separation.run`; this is what fits into the tests.
"""

from __future__ import annotations

import json

import pytest
from separation.goals import is_attack, is_honest
from separation.play import play
from separation.rates import Row
from separation.run import told
from separation.scenario import scenarios
from separation.tables import load
from separation.world import Setting

POISON = (
    ("backdoor", {"rate": 0.001, "features": 3}),
    ("backdoor", {"rate": 0.005, "features": 8}),
    ("backdoor", {"rate": 0.01, "features": 3, "direction": "alert"}),
    ("backdoor", {"rate": 0.01, "features": 8, "style": "copied"}),
    ("clean_label", {"rate": 0.05, "features": 8}),
    ("feedback_flips", {"rate": 0.05, "by": "3 sources", "direction": "hide"}),
    ("learned_flips", {"rate": 0.1, "direction": "hide"}),
    ("patient_attacker", {"way": "dormant"}),
)
HONEST = (
    ("covariate_drift", {"tilt": 1.0}),
    ("honest_category", {"share": 0.5}),
    ("honest_jump", {"factor": 3.0}),
    ("honest_labels", {"noise": 0.06}),
    ("honest_retrain", {}),
    ("moved_rule", {"learned": True}),
    ("new_family", {"benign": True}),
    ("stable", {}),
)
OTHER = (
    ("evasion_greedy", {"size": 100, "sources": 1}),
    ("fault_missing", {"value": "null"}),
    ("fault_unit", {"ratio": 1000.0}),
    ("forgetting", {}),
    ("probing_walk", {"size": 100, "sources": 1}),
)
SEED = 31
pytestmark = pytest.mark.timeout(900)  # the fixture plays everything


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """What was said of every episode whose attack works."""
    setting, known, found = Setting(load("soc", None, SEED), "boosting", SEED), scenarios(), []
    for name, strength in (*POISON, *HONEST, *OTHER):
        made = known[name].make(setting, strength)
        about = {"data": "soc", "seed": SEED, "scenario": name, "strength": json.dumps(strength)}
        found.append(about | told(made, play(made, seed=SEED)))
    return [row for row in found if row["effective"]]


def shown(rows: list[Row]) -> list[tuple[str, str, str]]:
    return [(r["scenario"], r["strength"], r["called"]) for r in rows]


def test_poison_that_works_is_called_poisoning(rows: list[Row]) -> None:
    attacks = [r for r in rows if is_attack(r)]
    assert len(attacks) >= 6
    assert [r for r in shown(attacks) if r[2] != "poisoning"] == []


def test_nothing_honest_is_called_poisoning_evasion_or_fault(rows: list[Row]) -> None:
    honest = [r for r in rows if is_honest(r) and r["scenario"] != "forgetting"]
    assert len(honest) >= 7
    assert [r for r in shown(honest) if r[2] not in ("drift", "stable", "inconclusive")] == []


def test_evasion_faults_and_regressions_are_called_what_they_are(rows: list[Row]) -> None:
    others = [r for r in rows if (r["scenario"], json.loads(r["strength"])) in OTHER]
    assert len(others) >= 4
    assert [r for r in shown(others) if r[2] not in next(x["expected"] for x in others if x["scenario"] == r[0])] == []


def test_the_trigger_and_who_broke_it_are_named(rows: list[Row]) -> None:
    named = [r for r in rows if r["scenario"] == "backdoor"]
    assert min(r["precision"] for r in named) >= 0.75
    assert min(r["recall"] for r in named) >= 0.3
    assert all(r["sources_right"] for r in rows if r["scenario"] in ("fault_missing", "fault_unit"))


def test_few_labels_are_asked_for_and_no_detector_fails(rows: list[Row]) -> None:
    assert max(r["asked"] for r in rows) <= 32
    assert [r["errors"] for r in rows if r["errors"]] == []
