"""The release gate for any candidate, trained here or elsewhere: its training buffer, its harm, its own answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from scipy.special import ndtri
from scipy.stats import binom

from detectors.asking.answers import DECISIVE
from detectors.batch import Batch, Reference, Scorer, Window
from detectors.evidence import Ask, Budget
from detectors.reference_harm import Parameters as HarmParameters
from detectors.reference_harm import harm
from detectors.retraining_buffer import Parameters, RetrainingBuffer
from detectors.sequential import sessions_of
from monitor.panel import Versions
from rollback.bundle import Bundle
from rollback.canary.canaries import agreement
from rollback.gates.check import Check, at_most
from rollback.retraining.out import Result

FEWEST_SESSIONS: Final = 200
"""With fewer labelled sessions no harm of half a percent shows."""
HARM_ERROR: Final = 0.01
"""Honest retrains' z has a standard deviation of about two: it exceeds the gate of five about so often."""
SPREAD: Final = 2.0
"""That standard deviation (`detectors.reference_harm`)."""
LABELS_ERROR: Final = 0.01
"""All findings of the buffer together fail a clean candidate at most so often: a part of the gate's error budget."""
REPRODUCED_ERROR: Final = 0.002
"""So often a candidate does so that is one more draw of its own recipe on its own rows; all classes together."""
SAME: Final = 1e-3
"""Scores of a version that are as close as this everywhere are those of the same weights."""


class ReleaseGateError(Exception):
    """A candidate cannot be judged; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Release:
    """What the gate says. ``asks`` are rows of the buffer that a person has to label first, in order of importance.

    ``error_rate`` is how often the checks that decide beside a trial fail a clean candidate: `LABELS_ERROR` and
    `REPRODUCED_ERROR` together at most.
    """

    result: Result
    checks: tuple[Check, ...]
    remarks: tuple[str, ...]
    asks: tuple[Ask, ...]
    findings: tuple[Mapping[str, Any], ...]
    error_rate: float = 0.0


def judge_candidate(
    versions: Versions,
    candidate: Bundle,
    holdout: Reference | None,
    answers: Mapping[str, int],
    seed: int,
    reproduced: Scorer | None = None,
) -> Release:
    """Every check. ``answers`` are true classes of buffer rows by id.

    Checks: the candidate's canaries, as its own scores; `reference_harm.harm` by class, on the holdout where there is
    one, else on the reference (a rule that has moved since looks like harm there); and for each finding of
    `RetrainingBuffer` the share of false labels among its rows that were labelled, at most what makes honest news as
    likely as poison. Where ``reproduced`` is what the candidate's buffer gives (`rollback.retraining.reproduce`), the
    candidate must not be worse than that either: its weights were changed since, or other rows were trained on. A
    failed check rejects; a finding without enough answers holds. Raises `ReleaseGateError`.

    Null of the reproduction: the candidate is one more draw of its recipe on its rows, with a z of N(0, `SPREAD`^2).
    """
    reference = versions.reference
    if reference is None or versions.score_f is None or versions.score_g is None:
        why = "; ".join(versions.notes) or "the last known good version has no reference"
        raise ReleaseGateError(f"version {candidate.manifest.version} cannot be judged: {why}")
    remarks = list(versions.notes)
    name, trusted = ("holdout", holdout) if holdout is not None else ("reference", reference)
    harms = _harms(f"{name}_harm", trusted, remarks)
    checks = [*_canaries(candidate, versions), *harms]
    if reproduced is not None:
        again = replace(trusted, g=reproduced(trusted.x))
        since = _harms("reproduced_harm", again, [], REPRODUCED_ERROR / len(trusted.schema.classes))
        learned = _harms(f"{name}_harm", replace(trusted, f=again.g), [])
        remarks += [_alike(again), *_whence(harms, since, learned)]
        checks += since
    facts, asks = _looked_into(versions, reference, answers, seed)
    remarks += _about_buffer(facts, reference)
    checks += _false_labels(facts, Parameters(), whole=not asks)
    result: Result = "vetting" if asks else "passed"
    if not all(check.passed for check in checks):
        result = "rejected"
    rate = sum(check.error_rate or 0.0 for check in checks if not check.name.startswith(f"{name}_harm"))
    return Release(result, tuple(checks), tuple(remarks), asks, tuple(facts.get("findings", ())), rate)


def _canaries(candidate: Bundle, versions: Versions) -> list[Check]:
    canaries = candidate.canaries()
    if canaries is None or versions.score_f is None:
        return []
    return [at_most("canaries", 1.0 - agreement(canaries.scores, versions.score_f(canaries.x)), 0.0, None)]


def _harms(name: str, rows: Reference, remarks: list[str], error_rate: float | None = None) -> list[Check]:
    """By class, what the candidate (f) has wrong and g right; each at this rate, or that of the detector's own gate."""
    known = rows.take(rows.y >= 0)
    if not len(known) or sessions_of(known.session)[1] < FEWEST_SESSIONS:
        remarks.append(f"{len(known)} labelled rows are too few to see harm by: {FEWEST_SESSIONS} sessions are needed")
        return []
    z, net = harm(known)
    gate = HarmParameters()
    limit = gate.gate if error_rate is None else SPREAD * float(ndtri(1 - error_rate))
    rate = HARM_ERROR if error_rate is None else error_rate
    return [
        at_most(f"{name}.{label}", float(z[c]) if net[c] >= gate.least else 0.0, limit, rate)
        for c, label in enumerate(rows.schema.classes)
    ]


def _alike(again: Reference) -> str:
    """Whether training again (g) gave the candidate itself, as far as trusted rows tell."""
    if not len(again) or float(np.max(np.abs(again.f - again.g))) <= SAME:
        return (
            f"training on its buffer again gives the same scores on all {len(again)} trusted rows: its weights are "
            "what its rows and recipe make, unless they were changed for rows that are unlike these"
        )
    share = np.mean(np.argmax(again.f, axis=1) != np.argmax(again.g, axis=1))
    return (
        f"training on its buffer again decides {100 * share:.1f}% of the trusted rows otherwise: another machine or "
        "device does that, and so do changed weights"
    )


def _whence(harms: list[Check], since: list[Check], learned: list[Check]) -> list[str]:
    """What the comparisons say together: ``learned`` is that of what its buffer gives with the last known good one."""
    if not all(check.passed for check in since):
        return ["what its buffer gives is better: its weights were changed, or it was trained on other rows as well"]
    failed = {check.name for check in harms if not check.passed}
    if failed and failed <= {check.name for check in learned if not check.passed}:
        return ["what its buffer gives is as bad: the rows made it so"]
    if failed:
        return ["what its buffer gives is somewhat better: rows may have made it so, or changed weights; that is open"]
    return []


def _looked_into(
    versions: Versions, reference: Reference, answers: Mapping[str, int], seed: int
) -> tuple[Mapping[str, Any], tuple[Ask, ...]]:
    """What `RetrainingBuffer` says of the buffer with these answers, and the asks that have none."""
    p = Parameters(batch=Parameters().asked)
    detector = RetrainingBuffer(p, Budget(), np.random.default_rng([seed, 5]))
    detector.fit(reference)
    window = _no_events(versions, reference)
    asked = detector.observe(window, None).asks  # before any answer: the same rows at every call
    detector.vetted(answers)
    facts = detector.observe(window, None).facts
    open_ones = any(abs(finding["llr"]) < DECISIVE for finding in facts.get("findings", ()))
    return facts, tuple(a for a in asked if a.id not in answers) if open_ones else ()


def _no_events(versions: Versions, reference: Reference) -> Window:
    """A window without events: it carries the two models."""
    text, number, hashes = np.zeros(0, "<U1"), np.zeros(0, np.int64), np.zeros(0, np.uint64)
    k = len(reference.schema.classes)
    batch = Batch(
        "", "", np.zeros(0), text, text.copy(), text.copy(), text.copy(), reference.x[:0], np.zeros((0, k)),
        number, number.copy(), hashes, hashes.copy(),
    )  # fmt: skip
    none = np.zeros((0, k))
    return Window(0, batch, none, none, np.zeros(0, np.bool_), True, versions.score_f, versions.score_g)  # noqa: FBT003 - has_bundle


def _about_buffer(facts: Mapping[str, Any], reference: Reference) -> list[str]:
    if not facts.get("seen"):
        return ["no training buffer was looked into: poison in it would not show"] if reference.buffer is None else []
    pairs = ((", ".join(f"{n} = {v}" for n, v in w["features"].items()), w["label"]) for w in facts.get("watched", ()))
    return [
        f"watch for {values}: the candidate takes it for {label}, the last known good version not"
        for values, label in pairs
    ]


def _false_labels(facts: Mapping[str, Any], p: Parameters, *, whole: bool) -> list[Check]:
    """For each finding with answers, the share of false labels; the limit is where both explanations are as likely.

    Until the answers are ``whole``, only for findings that are decided 20 to 1. Null: clean rows raise a finding with
    probability ``p.level`` at most, and of its n labels each is false with ``p.false_honest`` at most, for it was found
    among labels that are contradicted. The limit is raised where the chance of both, level P(Binomial > limit n), would
    exceed the finding's part of `LABELS_ERROR`.
    """
    answered = [
        (i, finding)
        for i, finding in enumerate(facts.get("findings", ()), start=1)
        if finding["answers"] and (whole or abs(finding["llr"]) >= DECISIVE)
    ]
    return [
        at_most(f"false_labels.{i}", finding["false"] / n, most / n, p.level * float(binom.sf(most, n, p.false_honest)))
        for i, finding in answered
        for n in (int(finding["answers"]),)
        for most in (_most_false(n, p, LABELS_ERROR / len(answered)),)
    ]


def _most_false(n: int, p: Parameters, error_rate: float) -> int:
    """So many of n labels may be false."""
    of_false = float(np.log(p.false_poisoned / p.false_honest))
    of_true = float(np.log((1 - p.false_honest) / (1 - p.false_poisoned)))
    as_likely = int(np.floor(n * of_true / (of_true + of_false)))
    return max(as_likely, int(binom.ppf(1 - min(error_rate / p.level, 1.0), n, p.false_honest)))
