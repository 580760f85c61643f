"""What the project is measured by: of which episodes, what should happen, and how often."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from separation.rates import Row, rate

DRIFT: Final = (
    "honest_retrain", "new_family", "moved_rule", "covariate_drift", "stable", "honest_labels", "forgetting",
)  # fmt: skip
"""Nobody attacks, and what changes is the world, the labellers or what was learned."""

CHANGES: Final = ("honest_jump", "honest_category", "honest_source")
"""Nobody attacks and nothing is broken: one source changes what it sends."""

QUIET: Final = ("stable",)
ABSTAINS: Final = ("stable", "inconclusive")


@dataclass(frozen=True, slots=True)
class Goal:
    """``share`` is what the rate should reach: at least, or, where ``most``, at most."""

    what: str
    share: float
    of: Callable[[Row], bool]
    event: Callable[[Row], bool]
    most: bool = False

    def line(self, rows: Sequence[Row]) -> str:
        """Its line in the table, with bounds over sites."""
        own = [r for r in rows if self.of(r)]
        found = rate(own, self.event)
        goal = f"{'<=' if self.most else '>='} {self.share:g}"
        if not own:
            return f"| {self.what} | {goal} | - | 0 | |"
        reached = found.events / found.n <= self.share if self.most else found.events / found.n >= self.share
        return f"| {self.what} | {goal} | {found} | {found.clusters} | {'yes' if reached else '**no**'} |"


def table(rows: Sequence[Row]) -> str:
    """Every goal with the rate reached."""
    lines = ["| what | goal | events / n = rate [one-sided 95% bounds] | sites | reached |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(goal.line(rows) for goal in GOALS)])


def strength(row: Row) -> dict[str, Any]:
    """An episode's parameters."""
    return dict(json.loads(row["strength"]))


def is_attack(row: Row) -> bool:
    """Poison that works, and that nobody could take for an honest change."""
    return row["effective"] and "poisoning" in row["expected"] and "drift" not in row["expected"]


def is_honest(row: Row) -> bool:
    """Drift in the widest sense; nobody attacks."""
    return row["scenario"] in DRIFT + CHANGES


def called(*families: str) -> Callable[[Row], bool]:
    """Whether one of these was called."""
    return lambda row: row["called"] in families


def confidently_wrong(row: Row) -> bool:
    """A family that is not the truth, said without reserve."""
    wrong = row["called"] not in row["expected"] and row["called"] not in ABSTAINS
    return wrong and row["confidence"] > 0.9 and not row["tentative"]


def _of(scenario: str, **wanted: Any) -> Callable[[Row], bool]:
    def holds(row: Row) -> bool:
        given = strength(row)
        return (
            row["scenario"].startswith(scenario)
            and row["effective"]
            and all(given.get(name) == value for name, value in wanted.items())
        )

    return holds


def _hard_fault(row: Row) -> bool:
    whole = strength(row).get("share", 1.0) == 1.0 and strength(row).get("value") != "zero"
    return row["effective"] and row["scenario"] in ("fault_unit", "fault_missing", "fault_renamed") and whole


def _soft_fault(row: Row) -> bool:
    return row["effective"] and row["scenario"].startswith("fault_") and not _hard_fault(row)


def _soon(most: int) -> Callable[[Row], bool]:
    return lambda r: r["touched_before_call"] is not None and r["touched_before_call"] <= most


def _used(row: Row) -> bool:
    return _of("backdoor")(row) and row["touched"] >= 20


def _named(row: Row) -> bool:
    return row["scenario"] == "backdoor" and row["effective"] and row.get("precision") is not None


GOALS: Final = (
    Goal("effective backdoors called poisoning", 0.98, _of("backdoor"), called("poisoning")),
    *(
        Goal(f"- at a rate of {r:.1%}", 0.98, _of("backdoor", rate=r), called("poisoning"))
        for r in (0.001, 0.005, 0.01, 0.02)
    ),
    *(
        Goal(f"- with {k} features", 0.98, _of("backdoor", features=k), called("poisoning"))
        for k in (1, 3, 8, 16)
    ),
    Goal("- towards attack (alert fatigue)", 0.98, _of("backdoor", direction="alert"), called("poisoning")),
    Goal("drift of all kinds called poisoning", 0.005, is_honest, called("poisoning"), most=True),
    Goal("poisoning called drift", 0.01, is_attack, called("drift"), most=True),
    Goal("poisoning of all kinds that stays quiet", 0.02, is_attack, called(*QUIET), most=True),
    Goal("poisoning of all kinds left inconclusive", 0.02, is_attack, called("inconclusive"), most=True),
    *(
        Goal(f"flips of {r:.0%} of labels called poisoning", g, _of("feedback_flips", rate=r), called("poisoning"))
        for r, g in ((0.05, 0.99), (0.02, 0.97), (0.01, 0.9))
    ),
    Goal("honest labels called poisoning", 0.005, _of("honest_labels"), called("poisoning"), most=True),
    Goal("backdoors called after at most 10 triggered sessions", 0.85, _used, _soon(10)),
    Goal("backdoors called after at most 20 triggered sessions", 0.97, _used, _soon(20)),
    Goal("forgetting called regression", 0.9, _of("forgetting"), called("regression")),
    Goal("evasion bursts of 100 events called evasion", 0.98, _of("evasion", size=100), called("evasion")),
    Goal("evasion bursts of 30 events called evasion", 0.85, _of("evasion", size=30), called("evasion")),
    Goal("probing by 100 events called evasion", 0.95, _of("probing", size=100), called("evasion")),
    Goal("probing by 30 events called evasion", 0.8, _of("probing", size=30), called("evasion")),
    Goal("evasion or probing called poisoning", 0.0, lambda r: _of("evasion")(r) or _of("probing")(r),
         called("poisoning"), most=True),
    Goal("faults called fault: units, nulls, renamed", 0.98, _hard_fault, called("fault")),
    Goal("faults called fault: frozen, zeroed, partial, inverted", 0.9, _soft_fault, called("fault")),
    Goal("honest changes called fault", 0.05, is_honest, called("fault"), most=True),
    Goal("honest changes called evasion", 0.05, lambda r: is_honest(r) and "evasion" not in r["expected"],
         called("evasion"), most=True),
    Goal("confident (> .9) and wrong, of all", 0.01, lambda r: r["effective"], confidently_wrong, most=True),
)  # fmt: skip
