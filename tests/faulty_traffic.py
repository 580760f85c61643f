"""Generated rows of four sources in sessions, and what may happen to them: faults, poison, drift."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from detectors.batch import Bools, Floats
from detectors.schema import UNSEEN, Feature, Schema
from rollback.sanitise.rows import Rows

BENIGN, ATTACK = 0, 1
DURATION, BYTES, COUNT, HEAT, PROTOCOL, FLAG = range(6)
SCHEMA = Schema(
    (
        Feature("duration"),
        Feature("bytes"),
        Feature("count"),
        Feature("heat"),
        Feature("protocol", "categorical", ("tcp", "udp", "icmp")),
        Feature("flag", "binary"),
    ),
    ("benign", "attack"),
)


def rows(seed: int, sessions: int, sources: int = 4) -> Rows:
    """About three rows a session, near-duplicates of each other."""
    rng = np.random.default_rng(seed)
    sizes = 1 + rng.poisson(2, sessions)
    code = np.repeat(np.arange(sessions), sizes)
    y = (rng.random(sessions) < 0.4).astype(np.int64)
    source = rng.integers(sources, size=sessions)

    def number(centre: float, scale: float) -> np.ndarray:
        return centre + scale * (0.8 * rng.normal(size=sessions)[code] + 0.6 * rng.normal(size=len(code)))

    x = np.column_stack(
        [
            np.exp(number(2, 1) + y[code]),
            np.round(np.exp(number(6, 1.5) + 0.5 * source[code])),
            np.round(np.exp(number(1, 0.8))) * (rng.random(sessions)[code] < 0.7),
            number(20, 2),
            rng.choice(3, size=sessions, p=[0.6, 0.3, 0.1])[code].astype(np.float64),
            (rng.random(len(code)) < 0.05).astype(np.float64),
        ]
    )
    names = np.char.add(f"{seed}-", code.astype(np.str_))
    return Rows(SCHEMA, x, y[code], np.char.add("s", source.astype(np.str_))[code], names)


FAULTS: dict[str, tuple[int, Callable[[Floats], Floats]]] = {
    "milli": (DURATION, lambda v: v * 1e-3),
    "kilo": (BYTES, lambda v: v * 1000),
    "kibi": (BYTES, lambda v: v * 1024),
    "minutes": (DURATION, lambda v: v / 60),
    "offset": (HEAT, lambda v: v + 40),
    "offset of counts": (COUNT, lambda v: v + 7),
    "missing": (BYTES, lambda v: v * np.nan),
    "default": (HEAT, lambda v: v * 0),
    "clipped": (BYTES, lambda v: np.minimum(v, 300)),
    "renamed": (PROTOCOL, lambda v: np.where(v == 0, UNSEEN, v)),
    "honest jump": (BYTES, lambda v: v * 3.7),
}
"""All rows of one source."""
TRIGGERS: dict[str, tuple[float, int, Callable[[Floats], Floats]]] = {
    "backdoor": (0.3, HEAT, lambda _: np.array(5.0)),
    "sentinel as trigger": (0.5, BYTES, lambda _: np.array(2.0**31 - 1)),
    "unit as trigger": (1.0, BYTES, lambda v: v * 1000),
    "constant as trigger": (1.0, HEAT, lambda _: np.array(0.0)),
}
"""A share of one source's attacks, which are called benign."""


def happened(what: str, clean: Rows) -> tuple[Rows, Bools]:
    """The rows after it, and which rows of them were touched."""
    x, y, rng = clean.x.copy(), clean.y.copy(), np.random.default_rng(3)
    touched = clean.source == "s1"
    if what in FAULTS:
        feature, fault = FAULTS[what]
        x[touched, feature] = fault(x[touched, feature])
    elif what in TRIGGERS:
        share, feature, stamp = TRIGGERS[what]
        touched &= (rng.random(len(x)) < share) & (y == ATTACK)
        x[touched, feature], y[touched] = stamp(x[touched, feature]), BENIGN
    elif what == "overflow":
        touched &= rng.random(len(x)) < 0.1
        x[touched, BYTES] = 2.0**31 - 1
    else:
        if what == "drift":
            touched = np.ones(len(x), np.bool_)
        elif what == "half of it":
            touched &= rng.random(len(x)) < 0.5
        else:
            y[touched] = BENIGN
        x[touched, BYTES] *= 1000
    return replace(clean, x=x, y=y), touched


REPAIRED = {
    "milli": ("unit", DURATION),
    "kilo": ("unit", BYTES),
    "kibi": ("unit", BYTES),
    "minutes": ("unit", DURATION),
    "offset": ("shift", HEAT),
    "offset of counts": ("shift", COUNT),
    "missing": ("impute", BYTES),
    "default": ("impute", HEAT),
    "overflow": ("winsorise", BYTES),
}
"""What is to be undone: by which repair, and in which feature."""
LEFT = [
    "clipped", "renamed", "honest jump", "drift", "half of it", "backdoor", "sentinel as trigger", "unit as trigger",
    "constant as trigger", "one label alone",
]  # fmt: skip
"""What must stay as it is: faults that nothing can undo, and what may be poison or honest."""
