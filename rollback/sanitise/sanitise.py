"""Which of the new rows of a training buffer to leave out, judged by a trusted base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from detectors.batch import Bools, Floats, Ints, Strings
from rollback.benign import BenignClassError, benign_class
from rollback.sanitise.case import Case, Hint
from rollback.sanitise.conformal import cross_fit, p_values
from rollback.sanitise.left_over import left_over
from rollback.sanitise.rows import Fit, Progress, Rows, Sanitised, Suspects
from rollback.sanitise.screen import Findings, Screen, make_screens, screen_classes
from rollback.sanitise.session_share import session_share

__all__ = ["Hint", "SanitiseError", "Settings", "canonical", "sanitise"]

FITS = 0.6
"""The share of the work that goes into fitting models."""


class SanitiseError(ValueError):
    """The rows cannot be judged: the trusted base is too small, or base and new rows do not fit together."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to sanitise.

    ``folds`` models are fitted on the base, each without a part of its sessions. ``benign`` names the class that lets
    things pass (None: `rollback.benign.benign_class` infers it). ``screens`` {name: its ``Parameters``}; the others run
    with their defaults.
    """

    folds: int = 3
    benign: str | None = None
    screens: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.folds < 2:  # noqa: PLR2004 - a row is judged by a model that has not seen it
            raise ValueError(f"folds: at least 2, got {self.folds}")
        known = screen_classes()
        for name, parameters in self.screens.items():
            if name not in known or not isinstance(parameters, known[name][1]):
                raise ValueError(f"screens: {name!r} with {type(parameters).__name__}; there are {sorted(known)}")


def sanitise(
    base: Rows,
    new: Rows,
    fit: Fit,
    *,
    seed: int,
    hint: Hint | None,
    progress: Progress,
    settings: Settings | None = None,
) -> Sanitised:
    """Run all screens on ``new``, given the trusted rows ``base`` (of the same schema).

    A row is removed when any screen removes it; the rows of a session that is larger than sessions are weigh less
    (`session_share`). The same rows (in any order), seed and ``fit`` give the same answer.
    ``fit`` is called ``folds`` + 1 times and must return probabilities of all classes of the schema. Raises
    `SanitiseError` where the base has fewer than two classes, or fewer sessions of one than there are folds.
    """
    settings = settings or Settings()
    benign = _checked(base, new, settings)
    order, other = canonical(base), canonical(new)
    case = _case(base.take(order), new.take(other), fit, seed, hint, benign, settings.folds, progress)
    screens = make_screens(settings.screens)
    findings: list[Findings] = []
    for i, screen in enumerate(screens):
        findings.append(screen.find(replace(case, explained=_explained(findings)), _scaled(progress, i, len(screens))))
    back = np.argsort(other)
    weight, large = session_share(case.base, case.new)
    removed, name, reason, score = _merged(screens, findings, len(new))
    slices = [s for f in findings for s in f.slices]
    slices += left_over(slices, removed, case.new, sum(s.error_rate for s in screens))
    progress("sanitised", 1.0)
    return Sanitised(
        removed=removed[back],
        screen=name[back],
        reason=reason[back],
        score=score[back],
        weight=np.where(removed, 0.0, weight)[back],
        slices=tuple(slices),
        error_rate={s.name: s.error_rate for s in screens},
        base_scorers=case.base_scorers,
        counterexamples=_joined([f.counterexamples for f in findings if f.counterexamples is not None]),
        remarks=(*(r for f in findings for r in f.remarks), *large),
        held_back=tuple(s for f in findings for s in f.held_back),
        suspects=_suspects(findings, removed, back),
    )


def _checked(base: Rows, new: Rows, settings: Settings) -> int:
    """The index of the benign class, if all is in order."""
    if base.schema != new.schema:
        raise SanitiseError("base and new rows differ in their schema: encode both with the same features and classes")
    counts = np.bincount(base.y, minlength=len(base.schema.classes))
    names = base.schema.classes
    if np.count_nonzero(counts) < 2:  # noqa: PLR2004 - a classifier tells two classes apart
        held = [name for name, n in zip(names, counts.tolist(), strict=True) if n]
        raise SanitiseError(f"the trusted base has rows of {held or 'no class'} only; give it rows of two classes")
    for label in np.flatnonzero(counts).tolist():
        sessions = len(np.unique(base.session[base.y == label]))
        if sessions < settings.folds and "" not in base.session and "-" not in base.session:
            raise SanitiseError(
                f"the trusted base has {sessions} sessions of class {names[label]}, {settings.folds} are needed"
            )
    try:
        return names.index(benign_class(settings.benign, base.y, names).name)
    except BenignClassError as error:
        raise SanitiseError(str(error)) from error


def canonical(rows: Rows) -> Ints:
    """An order that depends on what the rows hold and not on where they stand."""
    said = [column for column in (rows.id, rows.origin) if column is not None]
    return np.asarray(np.lexsort((*said, *rows.x.T, rows.y, rows.session, rows.source)), np.int64)


def _case(
    base: Rows, new: Rows, fit: Fit, seed: int, hint: Hint | None, benign: int, folds: int, progress: Progress
) -> Case:
    def told(done: int) -> None:
        progress(f"model {done + 1} of {folds + 1}", FITS * done / (folds + 1))

    fitted = cross_fit(base, fit, folds, seed, told)
    told(folds)
    current = fit(Rows.concat([base, new]), seed) if len(new) else fitted.scorers[0]
    base_p, new_p = p_values(base, fitted, new)
    return Case(base, new, fitted.scorers, current, base_p, new_p, benign, seed, hint, fitted.fold)


def _scaled(progress: Progress, index: int, count: int) -> Progress:
    """A screen's own 0 to 1, as its part of the whole."""
    return lambda what, share: progress(what, FITS + (1 - FITS) * (index + share) / count)


def _merged(screens: Sequence[Screen], findings: Sequence[Findings], n: int) -> tuple[Bools, Strings, Strings, Floats]:
    """All that any screen removes. The screens that name slices speak first, for they say more."""
    removed, score = np.zeros(n, np.bool_), np.full(n, np.nan)
    name, reason = np.full(n, "", "U64"), np.full(n, "", "U256")
    for screen, found in sorted(zip(screens, findings, strict=True), key=lambda pair: not pair[1].slices):
        fresh = found.removed & ~removed
        removed |= fresh
        name[fresh], reason[fresh], score[fresh] = screen.name, found.reason[fresh], found.score[fresh]
    return removed, name, reason, score


def _explained(findings: Sequence[Findings]) -> Bools | None:
    """The rows that are in a slice of a screen so far."""
    named = [f.removed for f in findings if f.slices]
    return np.asarray(np.any(named, axis=0), np.bool_) if named else None


def _suspects(findings: Sequence[Findings], removed: Bools, back: Ints) -> Suspects | None:
    """What any screen suspects and none removes, in the order of the rows that were given."""
    named = [f.suspects for f in findings if f.suspects is not None]
    if not named:
        return None
    rows = np.any([one.rows for one in named], axis=0) & ~removed
    return Suspects(np.asarray(rows[back], np.bool_), sum(one.rate for one in named))


def _joined(parts: list[Rows]) -> Rows | None:
    return Rows.concat(parts) if parts else None
