"""Realistic traffic of a security operations centre: sessions of similar flows, seen by several sensors.

What makes it realistic where a detector of poisoning cares:

- flows come in sessions (mean 6) and are near-duplicates of each other, so that n flows are far fewer votes than n;
- volumes, durations and counts have lognormal bodies and Pareto tails; rare features are almost always 0;
- every sensor has its own mix of families and its own scale;
- classes overlap: ambiguous sessions are drawn towards their family's twin in the other class, so that no model is
  perfect, although no label is wrong;
- arrivals follow the day.

Drift is a change of `TrafficConfig` between two calls: a held-out family that appears, another mix, larger volumes
(covariate drift), a moved rule (concept drift).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from detectors.batch import Floats, Ints, Strings
from monitor.demo.families import FAMILIES, NAMES
from monitor.demo.flow_features import Sessions, draw_features, gaps
from monitor.demo.flows import Flows

DAY = 86_400.0
LONGEST_SESSION = 60
"""Flows in the longest session: one session alone never fills a window."""


@dataclass(frozen=True, slots=True)
class TrafficConfig:
    """A site and what happens there.

    ``held_out`` families do not occur. ``mix`` multiplies the weights of families, ``volume`` the bytes of every flow.
    ``moved_rule`` names families whose flows count as the other class from now on. ``ambiguity`` is the share of
    sessions that resemble the other class, ``correlation`` the share of a flow's variance that its session explains.
    ``diurnal`` is the swing of the arrival rate over the day (0 to 1), ``daily_mix`` the swing of each family around
    its peak hour. ``site`` fixes the sensors: two configurations with the same site have the same ones.
    """

    sensors: int = 12
    flows_per_day: float = 100_000.0
    flows_per_session: float = 6.0
    ambiguity: float = 0.012
    correlation: float = 0.85
    diurnal: float = 0.6
    daily_mix: float = 0.0
    held_out: tuple[str, ...] = ()
    mix: Mapping[str, float] = field(default_factory=dict)
    volume: float = 1.0
    moved_rule: tuple[str, ...] = ()
    site: int = 0

    def __post_init__(self) -> None:
        named = {*self.held_out, *self.mix, *self.moved_rule}
        if unknown := sorted(named - set(NAMES)):
            raise ValueError(f"no such traffic family: {unknown}; there are {sorted(NAMES)}")
        if len(set(self.held_out)) == len(NAMES):
            raise ValueError("held_out: at least one family must be left")
        shares = ("ambiguity", "correlation", "diurnal", "daily_mix")
        if wrong := [name for name in shares if not 0 <= getattr(self, name) <= 1]:
            raise ValueError(f"{', '.join(wrong)}: must lie between 0 and 1")
        if self.sensors < 1 or self.flows_per_session < 1:
            raise ValueError("sensors and flows_per_session: must be at least 1")
        if min(self.flows_per_day, self.volume, *self.mix.values(), 1.0) <= 0:
            raise ValueError("flows_per_day, volume and the factors of mix: must be greater than 0")


def generate(config: TrafficConfig, rng: np.random.Generator, flows: int, start: float) -> Flows:
    """``flows`` flows from ``start`` (seconds since the epoch) on, in time order, at the site's rate.

    Ids and sessions are unique within a call, and between calls whose ``start`` differs by a millisecond or more.
    The same configuration, state of ``rng``, number and start give the same flows.
    """
    if flows < 1:
        raise ValueError(f"flows: must be at least 1, got {flows}")
    sizes = _session_sizes(config, rng, flows)
    begins = _arrivals(config, rng, len(sizes), start, flows)
    sensor, family, scale = _origins(config, rng, begins)
    sessions = Sessions.draw(config.ambiguity, config.correlation, family, scale, rng)

    of = np.repeat(np.arange(len(sizes)), sizes)
    ts = np.round(begins[of] + gaps(sessions, of, sizes, rng), 3)
    x = draw_features(sessions, of, config.volume, rng)
    order = np.argsort(ts, kind="stable")
    tag = f"{round(start * 1000):x}"
    of, ts, x = of[order], ts[order], x[order]
    return Flows(
        ts=ts,
        id=np.array([f"{tag}-{i}" for i in range(flows)]),
        source=np.array([f"sensor-{i + 1:02d}" for i in range(config.sensors)])[sensor[of]],
        session=np.array([f"{tag}-s{i}" for i in range(len(sizes))])[of],
        x=x,
        label=_labels(config)[family[of]],
        family=np.array(NAMES)[family[of]],
    )


def _session_sizes(config: TrafficConfig, rng: np.random.Generator, flows: int) -> Ints:
    """Geometric numbers of flows that sum to ``flows``; the last session is cut short."""
    sizes = np.minimum(rng.geometric(1 / config.flows_per_session, flows), LONGEST_SESSION)
    ends = np.cumsum(sizes)
    last = int(np.searchsorted(ends, flows))
    sizes = sizes[: last + 1]
    sizes[-1] -= ends[last] - flows
    return sizes


def _arrivals(config: TrafficConfig, rng: np.random.Generator, sessions: int, start: float, flows: int) -> Floats:
    """Starts of sessions: a Poisson process whose rate peaks at 14:00 UTC, by inverting its cumulative rate."""
    seconds = flows / config.flows_per_day * DAY
    clock = start + np.linspace(0, seconds, max(2, int(seconds / 300)))
    phase = 2 * np.pi * (clock % DAY / DAY - 14 / 24)
    rate = 1 + config.diurnal * np.cos(phase)
    cumulative = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2 + 1e-9)])
    begins: Floats = np.interp(np.sort(rng.random(sessions)) * cumulative[-1], cumulative, clock)
    return begins


def _origins(config: TrafficConfig, rng: np.random.Generator, begins: Floats) -> tuple[Ints, Ints, Floats]:
    """For each session its sensor, its family by that sensor's mix and the hour, and the sensor's scale."""
    site = np.random.default_rng([config.site, config.sensors])
    traffic = 1 / np.arange(1, config.sensors + 1) ** 0.5
    taste = site.lognormal(0, 0.5, (config.sensors, len(NAMES)))
    scales = site.normal(0, 0.25, config.sensors)

    sensor = rng.choice(config.sensors, size=len(begins), p=traffic / traffic.sum())
    hours = begins[:, None] % DAY / 3600 - np.array([f.peak for f in FAMILIES])
    weight = _weights(config) * taste[sensor] * (1 + config.daily_mix * np.cos(2 * np.pi * hours / 24))
    upto = np.cumsum(weight, axis=1)
    family = (rng.random((len(begins), 1)) * upto[:, -1:] >= upto).sum(axis=1)
    return sensor, family, scales[sensor]


def _weights(config: TrafficConfig) -> Floats:
    weights = [0.0 if f.name in config.held_out else f.weight * config.mix.get(f.name, 1.0) for f in FAMILIES]
    return np.array(weights)


def _labels(config: TrafficConfig) -> Strings:
    """The class of each family by the rule in force."""
    other = {"benign": "attack", "attack": "benign"}
    return np.array([other[f.label] if f.name in config.moved_rule else f.label for f in FAMILIES])
