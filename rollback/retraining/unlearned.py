"""Patterns that earlier retrainings found and taught to ignore: each later candidate is taught, and tried, once more.

A network forgets. Poison of a campaign that a screen has missed is in the next trusted base, and wakes up when the
counterexamples that held it down are gone. So the manifest keeps the patterns, and counterexamples are made of them
anew, of rows of the base as it is then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from detectors.batch import Bools
from detectors.schema import Schema
from rollback.bundle import IntegrityError
from rollback.manifest import Manifest
from rollback.sanitise.counterexamples import stamped
from rollback.sanitise.pattern import Pattern, hinted_pattern
from rollback.sanitise.rows import Rows, Sanitised

MOST: Final = 12
"""The newest patterns are remembered."""
SHARE: Final = 0.015
"""Of the base's size, for each: less than a fifth of it for all."""
LEAST_SWAP: Final = 0.15
"""What a slice's values have to do to the model, as for counterexamples of its own round."""
CARRIED: Final = 1.0


class Unlearned(msgspec.Struct, frozen=True):
    """Values {feature: value, or [low, high]} that are not to bring the class ``label``."""

    label: str
    features: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the last known good version had unlearned, newest first."""

    patterns: tuple[Unlearned, ...] = ()

    @classmethod
    def of(cls, manifest: Manifest) -> Earlier:
        """Of a version that no retraining made: nothing. Raises `IntegrityError` where the lineage is none of ours."""
        told = manifest.lineage.get("retrain", {}).get("unlearned", [])
        try:
            return cls(msgspec.convert(told, tuple[Unlearned, ...]))
        except msgspec.ValidationError as error:
            raise IntegrityError(f"version {manifest.version}: manifest: lineage.retrain.unlearned: {error}") from error

    def without(self, accepted: Rows) -> Earlier:
        """Those that no row carries which a person ``accepted`` with the label: that was an honest pattern."""
        schema = accepted.schema
        return Earlier(tuple(p for p in self.patterns if not _carried(p, accepted, schema).any()))

    def counterexamples(self, base: Rows, seed: int) -> Rows | None:
        """Rows of other classes with each pattern stamped on, labels as they are; None where there is nothing."""
        rng = np.random.default_rng([seed, *b"unlearned"])
        parts = []
        for one in self.patterns:
            pattern = _pattern(one, base.schema)
            if pattern is not None:
                target = base.schema.classes.index(one.label)
                parts += [rows] if (rows := stamped(base, target, [pattern], SHARE, rng)) is not None else []
        return Rows.concat(parts) if parts else None

    def and_now(self, found: Sanitised, benign: str) -> Earlier:
        """The patterns labelled ``benign`` that this round answered to first, then the earlier ones; each once."""
        fresh = [
            Unlearned(s.label, dict(s.shared or s.features))
            for s in sorted(found.slices, key=lambda s: (-(s.swap or 0.0), -s.rows))
            if s.label == benign and not s.kept and (s.swap or 0.0) >= LEAST_SWAP and (s.shared or s.features)
        ]
        kept: list[Unlearned] = []
        for one in [*fresh, *self.patterns]:
            if one not in kept:
                kept.append(one)
        return Earlier(tuple(kept[:MOST]))


NOTHING: Final = Earlier()


def _pattern(one: Unlearned, schema: Schema) -> Pattern | None:
    return hinted_pattern(one.features, schema) if one.label in schema.classes else None


def _carried(one: Unlearned, rows: Rows, schema: Schema) -> Bools:
    pattern = _pattern(one, schema)
    if pattern is None:
        return np.zeros(len(rows), np.bool_)
    carried: Bools = pattern.carried_by(rows.x, CARRIED) & (rows.y == schema.classes.index(one.label))
    return carried


def joined(parts: Sequence[Rows | None]) -> Rows | None:
    """All rows that there are."""
    some = [part for part in parts if part is not None and len(part)]
    return Rows.concat(some) if some else None
