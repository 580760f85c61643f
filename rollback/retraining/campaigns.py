"""Campaigns of known poison for rehearsals: every attack of the red team, in both directions, of drawn strength.

What is in `rollback.redteam` is rehearsed; nothing here knows an attack by its name.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np

from detectors.batch import Bools, Floats, Strings
from rollback.redteam.attack import Aim, Attack, Poisoned, Situation, attacks
from rollback.sanitise.rows import Rows

SIZES: Final = (1, 3, 8, 16)
"""Features of a trigger, where an attack has one."""
STRENGTH: Final = 2.0
"""A rate is drawn between the attack's own default divided and multiplied by this."""
EVERYWHERE: Final = 0.25
"""So often an attacker sends from all sources, else from one."""
FEWEST: Final = 5
"""Fewer rows of a source to be planted in are none."""
MOST: Final = 1000
"""More rows than this are not planted, however large the buffer: some attacks compute long on each."""
COMING: Final = 400


class NoRoomError(Exception):
    """These rows give a campaign no room; the message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which attack; ``reverse``: rows of the benign class are to be called another one."""

    attack: Attack
    reverse: bool


@dataclass(frozen=True, slots=True)
class Planted:
    """New rows after the attacker, which of them were touched, what for, and ``what`` it was in words."""

    new: Rows
    rows: Bools
    aim: Aim
    what: str


@dataclass(frozen=True, slots=True)
class Ground:
    """Trusted rows, new ones to plant in, rows that nothing is trained on, and the class that lets things pass."""

    base: Rows
    new: Rows
    holdout: Rows
    benign: int

    @property
    def other(self) -> int:
        """The most frequent class that is not benign."""
        counts = np.bincount(self.base.y, minlength=len(self.base.schema.classes))
        counts[self.benign] = -1
        return int(counts.argmax())


def plans(count: int, rng: np.random.Generator) -> list[Plan]:
    """``count`` campaigns: every attack once before any comes again, and then in its other direction.

    Twice as many campaigns as there are attacks are all of them in both directions.
    """
    known = attacks()
    order = rng.permutation(sorted(known)).tolist()
    return [Plan(known[order[i % len(order)]], (i % len(order) + i // len(order)) % 2 == 1) for i in range(count)]


def plant(plan: Plan, ground: Ground, rng: np.random.Generator) -> Planted:
    """Run the attack on a fold of the new rows. Raises `NoRoomError`.

    Rate, trigger size and source are drawn. Where there are too few rows for that rate, or values for that size, the
    attacker makes do with what there is.
    """
    target = ground.other if plan.reverse else ground.benign
    victim = ground.benign if plan.reverse else None
    on = _situation(ground, target, victim, rng)
    if not on.victims.any() or not len(on.coming):
        raise NoRoomError(f"no row of another class than {ground.base.schema.classes[target]} to hide")
    done = _attacked(plan.attack, on, len(ground.base) + len(ground.new), rng)
    schema, source = ground.new.schema, np.unique(ground.new.source[done.rows])
    where = f"from {source[0] or 'one source'}" if len(source) == 1 else f"from {len(source)} sources"
    size = f", a trigger of {len(done.aim.trigger.features)} features" if done.aim.trigger is not None else ""
    hidden = schema.classes[victim] if victim is not None else "rows of other classes"
    what = f"{done.rows.sum()} rows {where}{size}; {hidden} to be called {schema.classes[target]}"
    return Planted(replace(ground.new, x=done.x, y=done.y), done.rows, done.aim, what)


def _attacked(attack: Attack, on: Situation, of: int, rng: np.random.Generator) -> Poisoned:
    """The attack at a drawn rate (of base and new rows, ``of``) and size, weaker until there is room for it."""
    own = {field.name for field in fields(attack.parameters)}
    rate = attack.parameters().rate * STRENGTH ** rng.uniform(-1, 1)
    wanted = min(max(round(rate * of), FEWEST), MOST)
    reached = [int(np.sum(on.reach & kind)) for kind in (on.victims, on.y == on.target)]
    counts = [wanted, *sorted({n for n in reached if FEWEST <= n < wanted}, reverse=True)]
    options: list[dict[str, Any]] = [{}]
    if "features" in own:
        most = int(rng.choice([s for s in SIZES if s <= len(on.schema.names)]))
        options = [{"features": size} for size in SIZES[::-1] if size <= most]
    reason = ValueError("no row is in the attacker's reach")
    for option in options:
        for count in counts:
            p = attack.parameters(rate=min(count / len(on.y), 1.0), **option)
            try:
                done = attack.run(on, p, rng)
            except ValueError as error:  # an attack says so what it lacks
                reason = error
                continue
            if done.rows.any():
                return done
    raise NoRoomError(str(reason)) from reason


def _situation(ground: Ground, target: int, victim: int | None, rng: np.random.Generator) -> Situation:
    new, holdout = ground.new, ground.holdout
    victims = holdout.y != target if victim is None else holdout.y == victim
    coming = rng.permutation(holdout.x[victims])[:COMING]
    hidden = new.y != target if victim is None else new.y == victim
    reach = _reach(new, np.asarray(hidden, np.bool_), new.y == target, rng)
    family = families(new.x, *_shared(new.x[hidden & reach], rng))
    return Situation(new.schema, new.x, new.y, new.source, family, target, victim, reach, coming)


def _reach(new: Rows, victims: Bools, own: Bools, rng: np.random.Generator) -> Bools:
    """One source with rows of both kinds, the fold of this campaign, or (at times, and where there is none) all."""
    names = np.unique(new.source)
    counts = np.array([[np.sum(kind & (new.source == name)) for kind in (victims, own)] for name in names.tolist()])
    able = names[counts.min(axis=1) >= FEWEST] if len(names) else names
    if not len(able) or rng.random() < EVERYWHERE:
        return np.ones(len(new), np.bool_)
    return np.asarray(new.source == rng.choice(able), np.bool_)


def _shared(x: Floats, rng: np.random.Generator) -> tuple[int, float]:
    """A column and a value that a fifth to four fifths of rows ``x`` have; column -1 where there is none."""
    options = []
    for j in range(x.shape[1]):
        values, counts = np.unique(x[:, j][~np.isnan(x[:, j])], return_counts=True)
        options += [(j, float(v)) for v, c in zip(values, counts / max(len(x), 1), strict=True) if 0.2 <= c <= 0.8]  # noqa: PLR2004 - as the docstring says
    return options[int(rng.integers(len(options)))] if options else (-1, 0.0)


def families(x: Floats, column: int, value: float) -> Strings:
    """Rows that share the value are a family, for attacks that hide one: nobody says which there are."""
    inside = np.zeros(len(x), np.bool_) if column < 0 else x[:, column] == value
    return np.where(inside, f"{column} {value}", "")


def family_of(aim: Aim, x: Floats) -> Strings:
    """The family [n] of other rows, as `families` has named that of the aim."""
    if not aim.family:
        return np.full(len(x), "")
    column, _, value = aim.family.partition(" ")
    return families(x, int(column), float(value))
