"""Rehearsals: known poison is planted into folds of the new rows, and the same pipeline runs over them.

What it neutralises of known poison says what it would have neutralised of unknown. Also called cross-validation with
poison-detection holdouts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final, Protocol

import numpy as np

from detectors.batch import Bools, Scorer
from rollback.gates.trial import Campaign
from rollback.redteam.backdoor import Trigger, choose_trigger, pick_rows, stamp
from rollback.redteam.success import attack_success_rate
from rollback.sanitise.case import Hint
from rollback.sanitise.rows import Fit, Progress, Rows, Sanitised
from rollback.sanitise.sanitise import Settings

RATE: Final = 0.01
"""So much of base and new rows together is planted by a backdoor."""
FLIPPED: Final = 0.05
FEATURES: Final = 3
FEWEST: Final = 5
"""Fewer rows of a source to be planted in are none."""


class Pipeline(Protocol):
    """What `rollback.sanitise.sanitise.sanitise` does."""

    def __call__(
        self, base: Rows, new: Rows, fit: Fit, *, seed: int, hint: Hint | None, progress: Progress, settings: Settings
    ) -> Sanitised:
        """Say which of the new rows are not to be trained on."""


@dataclass(frozen=True, slots=True)
class Rehearse:
    """Trusted rows, new rows that the pipeline has kept, rows that nothing is trained on, and the pipeline itself.

    ``benign`` is the class that lets things pass.
    """

    base: Rows
    new: Rows
    holdout: Rows
    fit: Fit
    sanitise: Pipeline
    benign: str

    @property
    def target(self) -> int:
        """The index of the class that lets things pass."""
        return self.base.schema.classes.index(self.benign)


@dataclass(frozen=True, slots=True)
class Planted:
    """New rows after the attacker, which of them were touched, and how often the attack succeeds on a model."""

    name: str
    new: Rows
    rows: Bools
    success: Callable[[Scorer], float]


def rehearse(what: Rehearse, count: int, seed: int, progress: Progress) -> tuple[Campaign, ...]:
    """``count`` campaigns, backdoors and label flips in turn, each in a fold of the new rows' sources.

    Each costs one run of the pipeline and two trainings. ``progress`` says how long the others will take. A campaign
    that the rows give no room for is left out.
    """
    clean = what.fit(Rows.concat([what.base, what.new]), seed)
    campaigns: list[Campaign] = []
    began = monotonic()
    for i in range(count):
        left = "" if not i else f", about {(monotonic() - began) / i * (count - i):.0f} s left"
        progress(f"rehearsing campaign {i + 1} of {count}{left}", i / count)
        rng = np.random.default_rng([seed, 23, i])
        planted = (_backdoor if i % 2 == 0 else _flips)(what, i, rng)
        if planted is not None:
            campaigns.append(_run(what, planted, clean, seed + i))
    return tuple(campaigns)


def _run(what: Rehearse, planted: Planted, clean: Scorer, seed: int) -> Campaign:
    before = what.fit(Rows.concat([what.base, planted.new]), seed)
    settings = Settings(benign=what.benign)
    found = what.sanitise(
        what.base, planted.new, what.fit, seed=seed, hint=None, progress=lambda *_: None, settings=settings
    )
    learned = [what.base, planted.new.take(~found.removed)]
    after = what.fit(Rows.concat([*learned, *([found.counterexamples] if found.counterexamples else [])]), seed)
    return Campaign(
        planted.name,
        int(planted.rows.sum()),
        int(np.count_nonzero(planted.rows & found.removed)),
        planted.success(before),
        planted.success(after),
        planted.success(clean),
    )


def _reach(what: Rehearse, rng: np.random.Generator) -> Bools:
    """Rows of another class than the target in one source that has enough of them: a fold of the new rows."""
    victims = what.new.y != what.target
    names, counts = np.unique(what.new.source[victims], return_counts=True)
    able = names[counts >= FEWEST]
    if not len(able):
        return np.zeros(len(what.new), np.bool_)
    return np.asarray(victims & (what.new.source == rng.choice(able)), np.bool_)


def _backdoor(what: Rehearse, index: int, rng: np.random.Generator) -> Planted | None:
    """Rows of one source with a trigger and the target's label."""
    reach, target, schema = _reach(what, rng), what.target, what.new.schema
    try:
        trigger = choose_trigger(what.base.x, what.base.y, schema, target=target, features=FEATURES, rng=rng)
    except ValueError:  # no feature has a value that is neutral
        return None
    wanted = max(round(RATE * (len(what.base) + len(what.new))), FEWEST)
    if not reach.any() or not np.any(what.holdout.y != target):
        return None
    rows = pick_rows(reach, min(wanted, int(reach.sum())), rng)
    x, y = what.new.x.copy(), what.new.y.copy()
    x[rows] = stamp(x[rows], trigger, schema)
    y[rows] = target
    return Planted(f"backdoor_{index + 1}", replace(what.new, x=x, y=y), rows, _by_trigger(what, trigger))


def _by_trigger(what: Rehearse, trigger: Trigger) -> Callable[[Scorer], float]:
    held, schema = what.holdout, what.holdout.schema
    return lambda model: attack_success_rate(model, held.x, held.y, trigger, schema, target=what.target)


def _flips(what: Rehearse, index: int, rng: np.random.Generator) -> Planted | None:
    """Rows of one source, of those that share a value, with the target's label."""
    reach, target = _reach(what, rng), what.target
    family = _family(what, reach, rng)
    victims = (what.holdout.y != target) & family(what.holdout)
    among = reach & family(what.new)
    if not among.any() or not victims.any():
        return None
    wanted = max(round(FLIPPED * (len(what.base) + len(what.new))), FEWEST)
    rows = pick_rows(among, min(wanted, int(among.sum())), rng)
    y = what.new.y.copy()
    y[rows] = target
    sent = what.holdout.x[victims]
    return Planted(
        f"flips_{index + 1}",
        replace(what.new, y=y),
        rows,
        lambda model: float(np.mean(model(sent).argmax(axis=1) == target)),
    )


def _family(what: Rehearse, reach: Bools, rng: np.random.Generator) -> Callable[[Rows], Bools]:
    """Rows with one value that a fifth to four fifths of the rows in reach have; all rows where there is none."""
    x = what.new.x[reach]
    options = []
    for j in range(x.shape[1]):
        values, counts = np.unique(x[:, j][~np.isnan(x[:, j])], return_counts=True)
        options += [(j, float(v)) for v, c in zip(values, counts / max(len(x), 1), strict=True) if 0.2 <= c <= 0.8]  # noqa: PLR2004 - as the docstring says
    if not options:
        return lambda rows: np.ones(len(rows), np.bool_)
    j, value = options[int(rng.integers(len(options)))]
    return lambda rows: np.asarray(rows.x[:, j] == value, np.bool_)
