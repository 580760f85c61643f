"""Rehearsals: known poison is planted into folds of the new rows, and the same pipeline runs over them.

What it neutralises of known poison says what it would have neutralised of unknown. Also called cross-validation with
poison-detection holdouts.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

import numpy as np

from detectors.batch import Scorer
from rollback.gates.trial import Campaign
from rollback.redteam.success import success_rate
from rollback.retraining.campaigns import Ground, NoRoomError, Plan, Planted, family_of, plans, plant
from rollback.sanitise.case import Hint
from rollback.sanitise.rows import Fit, Progress, Rows, Sanitised
from rollback.sanitise.sanitise import Settings, canonical

REMEMBERED: Final = 8
"""Models that are kept: those of the base, which every run fits anew, and those of the campaign that goes on."""


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


class Remembered:
    """A `Fit` that trains on the same rows in the same order with the same seed once."""

    def __init__(self, fit: Fit, most: int = REMEMBERED) -> None:
        self._fit = fit
        self._most = most
        self._known: OrderedDict[str, Scorer] = OrderedDict()

    def __call__(self, rows: Rows, seed: int) -> Scorer:
        """The model of these rows."""
        key = _digest(rows, seed)
        found = self._known[key] if key in self._known else self._fit(rows, seed)
        self._known[key] = found
        self._known.move_to_end(key)
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return found


def rehearse(what: Rehearse, count: int, seed: int, progress: Progress) -> tuple[Campaign, ...]:
    """``count`` campaigns of all attacks of the red team in turn (`rollback.retraining.campaigns.plans`).

    Each costs a run of the pipeline of which the models of the base are fitted for the first one only, and two
    trainings, one of which is the pipeline's own. ``progress`` says how long the others will take. A campaign that the
    rows give no room for has planted nothing, and says why.
    """
    fit = Remembered(what.fit)
    base, new = what.base.take(canonical(what.base)), what.new.take(canonical(what.new))
    clean = fit(Rows.concat([base, new]), seed)
    ground = Ground(base, new, what.holdout, what.target)
    campaigns: list[Campaign] = []
    began = monotonic()
    for i, plan in enumerate(plans(count, np.random.default_rng([seed, 23]))):
        left = "" if not i else f", about {(monotonic() - began) / i * (count - i):.0f} s left"
        progress(f"rehearsing campaign {i + 1} of {count}: {plan.attack.name}{left}", i / count)
        name = f"{plan.attack.name}_{i + 1}"
        try:
            planted = plant(plan, ground, np.random.default_rng([seed, 23, i]))
            campaigns.append(_run(what, fit, ground, plan, planted, clean, name, seed))
        except NoRoomError as reason:
            campaigns.append(Campaign(name, 0, 0, 0.0, 0.0, 0.0, plan.attack.name, str(reason)))
    return tuple(campaigns)


def _run(
    what: Rehearse, fit: Fit, ground: Ground, plan: Plan, planted: Planted, clean: Scorer, name: str, seed: int
) -> Campaign:
    order = canonical(planted.new)  # as the pipeline has them, so that its model of all rows is this one
    new, touched = planted.new.take(order), planted.rows[order]
    before = fit(Rows.concat([ground.base, new]), seed)
    settings = Settings(benign=what.benign)
    found = what.sanitise(ground.base, new, fit, seed=seed, hint=None, progress=lambda *_: None, settings=settings)
    learned = [ground.base, new.take(~found.removed)]
    after = fit(Rows.concat([*learned, *([found.counterexamples] if found.counterexamples else [])]), seed)

    def success(model: Scorer) -> float:
        held = ground.holdout
        return success_rate(model, planted.aim, held.x, held.y, family_of(planted.aim, held.x), held.schema)

    return Campaign(
        name,
        int(touched.sum()),
        int(np.count_nonzero(touched & found.removed)),
        success(before),
        success(after),
        success(clean),
        plan.attack.name,
        planted.what,
    )


def _digest(rows: Rows, seed: int) -> str:
    told = hashlib.sha256(str(seed).encode())
    for column in (rows.x, rows.y, rows.source, rows.session):
        told.update(np.ascontiguousarray(column).tobytes())
    return told.hexdigest()
