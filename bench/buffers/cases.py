"""Cases by name: which attack, at which rate, from where, and in which direction.

``clean``; ``new_attack`` and ``new_benign`` (a family that the base does not know, from one source);
``ATTACK:RATE[/FEATURES]``, with ``@all`` (from all sources, not one) and ``!`` (benign rows called an attack) behind
it: ``dirty_label:0.01/8@all``. Rates are of base and new rows together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from buffers.data import Buffers, Part
from detectors.batch import Bools, Scorer
from rollback.redteam.attack import Aim, Situation, attacks
from rollback.redteam.backdoor import Trigger, stamp
from rollback.redteam.placement import of_sources
from rollback.sanitise.rows import Rows

TRIED = 25
FAMILIAR = 0.05
"""Of the triggers that are tried, the one on which a clean model errs nearest to this share is kept."""
COMING = 400
FLIPPING_SOURCES = 2
"""Or more, where the rows of a family in two are too few for the rate."""

DEFAULT = (
    "clean",
    *(f"dirty_label:{rate}/{features}" for rate in (0.001, 0.005, 0.01, 0.02) for features in (1, 3, 8, 16)),
    "dirty_label:0.01/8@all",
    "dirty_label:0.01/8!",
    "split_trigger:0.01/8",
    "split_trigger:0.01/16",
    "clean_label:0.02/8",
    "clean_label:0.02/16",
    "targeted_flips:0.02",
    "targeted_flips:0.05",
    "targeted_flips:0.1",
    "targeted_flips:0.05!",
    "random_flips:0.1",
    "feature_collision:0.02",
    "gradient_matching:0.02",
    "new_attack",
    "new_benign",
)


@dataclass(frozen=True, slots=True)
class Name:
    """A case's name in parts; ``attack`` is None where nothing is poisoned."""

    kind: str
    attack: str | None = None
    rate: float = 0.0
    features: int | None = None
    everywhere: bool = False
    reverse: bool = False

    @classmethod
    def parsed(cls, text: str) -> Name:
        """Raises `ValueError` for what is no case."""
        plain, reverse = text.removesuffix("!"), text.endswith("!")
        kind, _, rest = plain.removesuffix("@all").partition(":")
        if not rest:
            if kind not in ("clean", "new_attack", "new_benign"):
                raise ValueError(f"no case {text!r}")
            return cls(kind)
        if kind not in attacks():
            raise ValueError(f"no attack {kind!r}; there are {', '.join(attacks())}")
        rate, _, features = rest.partition("/")
        return cls(kind, kind, float(rate), int(features) if features else None, plain.endswith("@all"), reverse)


@dataclass(frozen=True, slots=True)
class Attacked:
    """Base and new rows of a case, which of the new rows are poison, and what that aims at (None: nothing).

    ``family`` is the one that is new, where one is. ``before`` are the new rows as they were before the attack.
    """

    base: Part
    new: Rows
    poison: Bools
    before: Part
    aim: Aim | None = None
    family: str | None = None


class NotHereError(Exception):
    """This data set cannot play the case; the message says why."""


def attacked(
    text: str, data: Buffers, clean: Scorer, rng: np.random.Generator, batch: int = 0, of: int | None = None
) -> Attacked:
    """The rows of a case; rates are of so many rows (``of``), None: of all. Raises `NotHereError` and `ValueError`."""
    name = Name.parsed(text)
    nothing = np.zeros(len(data.batches[batch].rows), np.bool_)
    if name.kind in ("new_attack", "new_benign"):
        family = data.family_of(benign=name.kind == "new_benign")
        if family is None:
            raise NotHereError("no family is of a size to be held out")
        held = data.without(family)
        return Attacked(held.base, held.batches[0].rows, nothing, held.batches[0], family=family)
    new = data.batches[batch]
    if name.attack is None:
        return Attacked(data.base, new.rows, nothing, new)
    of = of or len(data.base.rows) + len(new.rows)
    on = _situation(data, new, name, of, rng)
    attack = attacks()[name.attack]
    rate = name.rate * of / len(new.rows)
    options = {} if name.features is None else {"trigger": strong_trigger(data, on, clean, name.features, rng)}
    wanted, reached = on.count(rate), int(np.sum(_touched(on, name) & on.reach))
    if reached < wanted and "flips" not in name.attack:
        rate = reached / len(new.rows)  # one source may have fewer rows
    try:
        done = attack.run(on, attack.parameters(rate=rate, **options), rng)
    except ValueError as error:
        raise NotHereError(str(error)) from error
    return Attacked(data.base, replace(new.rows, x=done.x, y=done.y), done.rows, new, done.aim)


def _touched(on: Situation, name: Name) -> Bools:
    """The rows that such an attack can touch."""
    return np.asarray(on.y == on.target, np.bool_) if _keeps_labels(name) else on.victims


def _keeps_labels(name: Name) -> bool:
    return name.attack in ("clean_label", "feature_collision", "gradient_matching")


def _one_source(rows: Rows, own: Bools, count: int, rng: np.random.Generator) -> Bools:
    """A random source with ``count`` rows to touch, or the one with most."""
    names, counts = np.unique(rows.source[own], return_counts=True)
    fit = np.flatnonzero(counts >= min(count, counts.max(initial=0)))
    return np.asarray(rows.source == names[rng.choice(fit)], np.bool_)


def _enough_sources(new: Part, own: Bools, least: int, count: int, rng: np.random.Generator) -> Bools:
    """At least so many random sources, and as many as it takes for one family to have ``count`` of the ``own`` rows."""
    names = rng.permutation(np.unique(new.rows.source))
    reach = np.zeros(len(new.rows), np.bool_)
    for many in range(least, len(names) + 1):
        reach = np.isin(new.rows.source, names[:many])
        if np.unique(new.family[own & reach], return_counts=True)[1].max(initial=0) >= count:
            break
    return reach


def _situation(data: Buffers, new: Part, name: Name, of: int, rng: np.random.Generator) -> Situation:
    """Attacks are called benign, or (reverse) benign rows the most frequent attack."""
    counts = np.bincount(data.base.rows.y, minlength=len(data.base.rows.schema.classes))
    counts[data.benign] = 0
    target, victim = (int(counts.argmax()), data.benign) if name.reverse else (data.benign, None)
    sources = len(np.unique(new.rows.source))
    if name.attack is not None and "flips" in name.attack:
        sources = sources if name.attack == "random_flips" else FLIPPING_SOURCES
    elif not name.everywhere:
        sources = 1
    test = data.test.rows
    victims = test.y != target if victim is None else test.y == victim
    coming = test.x[victims][rng.permutation(int(victims.sum()))[:COMING]]
    rows = new.rows
    reach = of_sources(rows.source, sources, rng)
    if name.attack == "targeted_flips":
        own = rows.y != target if victim is None else rows.y == victim
        reach = _enough_sources(new, own, sources, round(name.rate * of), rng)
    if sources == 1:
        own = rows.y == target if _keeps_labels(name) else (rows.y != target if victim is None else rows.y == victim)
        reach = _one_source(rows, own, round(name.rate * of), rng)
    return Situation(rows.schema, rows.x, rows.y, rows.source, new.family, target, victim, reach, coming)


def strong_trigger(data: Buffers, on: Situation, clean: Scorer, features: int, rng: np.random.Generator) -> Trigger:
    """Random features with values of target rows: of 25 the one nearest to an error of 5% of a clean model."""
    schema = data.base.rows.schema
    if features > len(schema.names):
        raise NotHereError(f"a trigger of {features} features in a table of {len(schema.names)}")
    own = data.base.rows.x[data.base.rows.y == on.target]
    test = data.test.rows
    victims = test.x[(test.y != on.target) if on.victim is None else (test.y == on.victim)][:1000]
    best, distance = None, np.inf
    for _ in range(TRIED):
        chosen = rng.choice(own.shape[1], features, replace=False)
        values = {schema.names[j]: schema.features[j].show(own[rng.integers(len(own)), j]) for j in chosen}
        if any(value is None for value in values.values()):
            continue
        trigger = Trigger({name: value for name, value in values.items() if value is not None})
        try:
            share = float(np.mean(clean(stamp(victims, trigger, schema)).argmax(axis=1) == on.target))
        except ValueError:  # a value that the vocabulary does not hold
            continue
        if abs(share - FAMILIAR) < distance:
            best, distance = trigger, abs(share - FAMILIAR)
    if best is None:
        raise NotHereError("no trigger of known values")
    return best
