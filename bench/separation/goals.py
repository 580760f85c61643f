"""What the project is measured by: of which episodes, what should happen, and how often."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from separation.rates import Rate, Row, rate

DRIFT: Final = (
    "honest_retrain", "new_family", "moved_rule", "covariate_drift", "stable", "honest_labels", "forgetting",
)  # fmt: skip
"""Nobody attacks, and what changes is the world, the labellers or what was learned."""

CHANGES: Final = ("honest_jump", "honest_category", "honest_source")
"""Nobody attacks and nothing is broken: one source changes what it sends."""

NOT_LEARNED: Final = ("feedback_flips", "adaptation")
"""False labels that no version has been trained on yet: a goal of their own."""

LABELS: Final = ("honest_labels", "feedback_flips")
"""Nothing but labels differs."""

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
        return f"| {self.what} | {goal} | {found} | {found.clusters} | {self._reached(found)} |"

    def _reached(self, found: Rate) -> str:
        """Yes where the bound says so, open where only the rate itself does."""
        seen, bound = found.events / found.n, found.high if self.most else found.low
        if (seen > self.share) if self.most else (seen < self.share):
            return "**no**"
        return "yes" if (bound <= self.share if self.most else bound >= self.share) else "open"


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


def is_harmful(row: Row) -> bool:
    """Poison that a serving version has learned: its attack succeeds, or it errs half a percent more."""
    return is_attack(row) and row["scenario"] not in NOT_LEARNED


def is_honest(row: Row) -> bool:
    """Drift in the widest sense, and what is as usual; nobody attacks. Changes that change nothing are left out."""
    if row["scenario"] == "feedback_flips":
        return strength(row)["rate"] == 0.0
    return row["scenario"] in DRIFT or (row["scenario"] in CHANGES and row["effective"])


def drifts(row: Row) -> bool:
    """Honest, and something has changed."""
    return is_honest(row) and row["scenario"] not in ("stable", "honest_labels", "feedback_flips")


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
    return lambda r: r["touched_at_call"] is not None and r["touched_at_call"] <= most


def _used(row: Row) -> bool:
    return _of("backdoor")(row) and "touched_at_call" in row and row["touched"] >= 20


def _named(row: Row) -> bool:
    plain = strength(row).get("style") is None and strength(row)["rate"] >= 0.005
    return plain and strength(row)["features"] > 1 and row["effective"] and row.get("precision") is not None


def _found(measure: str, least: float) -> Callable[[Row], bool]:
    return lambda row: row[measure] >= least


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
    Goal("drift of all kinds called poisoning", 0.005, drifts, called("poisoning"), most=True),
    Goal("everything honest called poisoning", 0.005, is_honest, called("poisoning"), most=True),
    Goal("poisoning called drift", 0.01, is_attack, called("drift"), most=True),
    Goal("learned poison of all kinds that stays quiet", 0.02, is_harmful, called(*QUIET), most=True),
    Goal("learned poison of all kinds left inconclusive", 0.02, is_harmful, called("inconclusive"), most=True),
    Goal("learned poison called regression", 0.02, is_harmful, called("regression"), most=True),
    *(
        Goal(f"flips of {r:.0%} of {many}", g, _of("feedback_flips", rate=r, share=share), called("poisoning"))
        for many, share in (("labels called poisoning", None), ("three times as many labels", 0.3))
        for r, g in ((0.05, 0.99), (0.02, 0.97), (0.01, 0.9))
        if (r, share) != (0.05, 0.3)
    ),
    Goal("a drift beside a poisoning that is called: told as well", 0.9,
         lambda r: _of("drift_and_poison")(r) and r["called"] == "poisoning", lambda r: "drift" in r.get("also", ())),
    Goal("adaptation suppressed, forced, or led astray slowly, called poisoning", 0.9,
         lambda r: r["scenario"] == "adaptation" and is_attack(r), called("poisoning")),
    Goal("honest labels called poisoning", 0.005,
         lambda r: is_honest(r) and r["scenario"] in LABELS, called("poisoning"), most=True),
    Goal("backdoors called after at most 10 triggered sessions", 0.85, _used, _soon(10)),
    Goal("backdoors called after at most 20 triggered sessions", 0.97, _used, _soon(20)),
    Goal("backdoors of 3 features or more at .5% or more: trigger named with precision >= .95", 0.9,
         lambda r: r["scenario"] == "backdoor" and _named(r), _found("precision", 0.95)),
    Goal("- with recall >= .95", 0.9, lambda r: r["scenario"] == "backdoor" and _named(r), _found("recall", 0.95)),
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
