"""How grave an incident is, from 0 to 10: by a table, from its family, how sure that is, what it touches, what is done.

docs/siem/severity.md has the table for readers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypeAlias

from detectors.evidence import Evidence
from monitor.messages import ActionTaken

Response: TypeAlias = Literal["contained", "none", "stuck"]
RESPONSES: Final[tuple[Response, ...]] = ("contained", "none", "stuck")
"""What the response amounts to, from the one that makes an incident least urgent to the one that makes it most."""

BASE: Final = {"poisoning": 9, "evasion": 8, "fault": 6, "inconclusive": 5, "drift": 3}
SUSPECTED: Final = 2
"""Labels are being asked for: nobody is to be woken by it."""
TENTATIVE: Final = 5
"""At most, for what rests on a shadow model."""
SURE: Final = 0.8
HALF_SURE: Final = 0.5
WIDE: Final = 0.5
NARROW: Final = 0.01
"""The last two are shares of the events of a window."""
LEAST: Final = 1
MOST: Final = 10

SHARES: Final = {
    "version_disagreement": "disagreement_rate",
    "served_mismatch": "mismatch_rate",
    "evasion_burst": "crafted_rate",
    "probing": "linked_rate",
}
"""The gauge of a detector that is a share of the window's events."""


def severity(family: str, status: str, confidence: float, share: float | None, response: Response) -> int:
    """The severity of an incident. It never falls where ``confidence``, ``share`` or ``response`` (`RESPONSES`) rises.

    ``status`` is `suspected` or `confirmed`, ``confidence`` the probability of the family, ``share`` that of the
    window's events that are touched (None: nobody can tell).

    >>> severity("poisoning", "confirmed", 0.99, 0.002, "none")
    9
    >>> severity("drift", "confirmed", 0.6, None, "none"), severity("inconclusive", "suspected", 0.6, None, "none")
    (2, 2)
    """
    if status == "suspected" and family == "inconclusive":
        return SUSPECTED
    points = BASE[family] + _sure(family, confidence) + _wide(family, share) + _done(family, response)
    bounded = min(MOST, max(LEAST, points))
    return min(TENTATIVE, bounded) if status == "suspected" else bounded


def touched(evidence: Sequence[Evidence], detectors: Sequence[str]) -> float | None:
    """The share of the window's events that those ``detectors`` see something in; None where none of them tells."""
    told = [e.gauges.get(SHARES[e.detector]) for e in evidence if e.detector in detectors and e.detector in SHARES]
    shares = [share for share in told if share is not None and 0.0 <= share <= 1.0]
    return max(shares, default=None)


def response_of(actions: Iterable[ActionTaken]) -> Response:
    """What was done, taken together: one step that a person must mend outweighs what went well.

    >>> response_of([ActionTaken("rollback", "1", "a", "done"), ActionTaken("retraining", "", "b", "halted")])
    'stuck'
    """
    taken = list(actions)
    if any(action.result == "halted" for action in taken):
        return "stuck"
    moved = any(action.action in {"rollback", "promotion"} and action.result == "done" for action in taken)
    return "contained" if moved else "none"


def _sure(family: str, confidence: float) -> int:
    """That nothing is sure is what inconclusive says."""
    if family == "inconclusive" or confidence >= SURE:
        return 0
    return -1 if confidence >= HALF_SURE else -2


def _wide(family: str, share: float | None) -> int:
    """Whoever holds a backdoor's trigger chooses how often it comes: few events make poisoning no smaller."""
    if share is None:
        return 0
    if share >= WIDE:
        return 0 if family == "poisoning" else 1
    return -1 if share < NARROW and family != "poisoning" else 0


def _done(family: str, response: Response) -> int:
    """What a poisoned version let pass is still to be found after a rollback."""
    if response == "stuck":
        return 1
    return -1 if response == "contained" and family != "poisoning" else 0
