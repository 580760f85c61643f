"""Draws the features of flows, given the sessions that they belong to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.batch import Floats, Ints, Strings
from monitor.demo.families import FAMILIES, NAMES, STATES
from monitor.demo.flows import ROW

_SPREADS = ("duration", "bytes_out", "bytes_in", "peer_flows", "service_flows", "ports")
_COUNTS = ("retransmits", "failed_logins", "urgent", "wrong_fragments", "shells", "files_created")
_MEDIAN = np.log([[getattr(f, name)[0] for name in _SPREADS] for f in FAMILIES])
_SIGMA = np.array([[getattr(f, name)[1] for name in _SPREADS] for f in FAMILIES])
_RATE = np.log([[getattr(f, name) for name in _COUNTS] for f in FAMILIES])
_CHANCE = np.array([[f.tls, f.inbound, f.known, f.errors] for f in FAMILIES])
_ENTROPY = np.array([f.entropy for f in FAMILIES])
_PACKET = np.log([f.packet for f in FAMILIES])
_GAP = np.array([f.gap for f in FAMILIES])
_SWEEPS = np.array([f.sweeps for f in FAMILIES])
_STATE = np.cumsum([np.array(f.states) / sum(f.states) for f in FAMILIES], axis=1)
_TWIN = np.array([NAMES.index(f.twin) for f in FAMILIES])

ELEPHANTS = 0.03
"""Share of sessions whose volume gets a Pareto tail (index 1.3: finite mean, infinite variance)."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """m sessions: ``family`` [m], and what their flows share.

    ``manner`` is the family whose discrete habits (service, state) the session has; ``blend`` says how far its numbers
    lie on the way from the family (0) to its twin (1). ``z`` [m, 8] are the session's standard normal deviations,
    ``log_scale`` the sensor's, ``correlation`` the share of variance that they explain.
    """

    family: Ints
    manner: Ints
    blend: Floats
    z: Floats
    log_scale: Floats
    correlation: float

    @classmethod
    def draw(
        cls, ambiguity: float, correlation: float, family: Ints, log_scale: Floats, rng: np.random.Generator
    ) -> Sessions:
        """Sessions of the given families; a share ``ambiguity`` of them lies between its family and the twin."""
        m = len(family)
        blend = np.where(rng.random(m) < ambiguity, rng.uniform(0.3, 1.0, m), 0.0)
        manner = np.where(rng.random(m) < blend, _TWIN[family], family)
        return cls(family, manner, blend, rng.standard_normal((m, len(_SPREADS) + 2)), log_scale, correlation)

    def between(self, values: Floats) -> Floats:
        """Per session, a table by family (first axis) read between the family and its twin."""
        b = self.blend.reshape(-1, *[1] * (values.ndim - 1))
        mixed: Floats = (1 - b) * values[self.family] + b * values[_TWIN[self.family]]
        return mixed


def gaps(sessions: Sessions, of: Ints, sizes: Ints, rng: np.random.Generator) -> Floats:
    """Seconds from the start of each flow's session (``of``) to the flow; 0 for the first of a session."""
    waits = _GAP[sessions.family][of] * rng.lognormal(0, 1, len(of))
    first = np.cumsum(sizes) - sizes
    elapsed = np.cumsum(waits)
    since: Floats = elapsed - elapsed[first][of]
    return since


def draw_features(sessions: Sessions, of: Ints, volume: float, rng: np.random.Generator) -> NDArray[np.void]:
    """A structured array [n] of `ROW`: one row per flow, ``of`` [n] being the index of its session."""
    x = np.empty(len(of), ROW)
    _draw_habits(x, sessions, of, rng)
    _draw_sizes(x, sessions, of, volume, rng)
    _draw_neighbourhood(x, sessions, of, rng)
    _draw_counts(x, sessions, of, rng)
    return x


def _draw_habits(x: NDArray[np.void], sessions: Sessions, of: Ints, rng: np.random.Generator) -> None:
    """Protocol, service, port, state, direction, encryption: mostly the same for all flows of a session."""
    protocol, service, port = _services(sessions.manner, rng)
    x["protocol"], x["service"] = protocol[of], service[of]
    sweeping = _SWEEPS[sessions.manner][of] & (x["protocol"] == "tcp")
    x["dst_port"] = np.where(sweeping, rng.integers(1, 49_152, len(of)), port[of])

    own = rng.random(len(of)) < 1 - sessions.correlation
    luck = np.where(own, rng.random(len(of)), rng.random(len(sessions.family))[of])
    x["state"] = np.array(STATES)[(luck[:, None] >= _STATE[sessions.manner][of]).sum(axis=1)]

    chance = sessions.between(_CHANCE)
    for i, name in enumerate(("tls", "inbound", "known_peer")):
        x[name] = (rng.random(len(chance)) < chance[:, i])[of]
    x["tls"] *= x["protocol"] == "tcp"
    hops = np.where(x["inbound"] > 0, rng.integers(6, 23, len(chance))[of], rng.integers(0, 4, len(chance))[of])
    x["ttl"] = rng.choice([64, 128, 255], size=len(chance), p=[0.55, 0.4, 0.05])[of] - hops


def _services(manner: Ints, rng: np.random.Generator) -> tuple[Strings, Strings, Ints]:
    """Protocol, service and port of each session, by its family's weights."""
    protocol, service, port = np.empty(len(manner), "U8"), np.empty(len(manner), "U8"), np.zeros(len(manner), np.int64)
    for i, family in enumerate(FAMILIES):
        rows = np.flatnonzero(manner == i)
        weights = np.array([s.weight for s in family.services])
        pick = rng.choice(len(weights), size=len(rows), p=weights / weights.sum())
        protocol[rows] = np.array([s.protocol for s in family.services])[pick]
        service[rows] = np.array([s.name for s in family.services])[pick]
        port[rows] = np.array([s.port for s in family.services])[pick]
    return protocol, service, port


def _draw_sizes(x: NDArray[np.void], sessions: Sessions, of: Ints, volume: float, rng: np.random.Generator) -> None:
    """Duration, bytes, packets and entropy; a connection that was never answered carries nothing."""
    m = len(sessions.family)
    tail = np.where(rng.random(m) < ELEPHANTS, 1 + rng.pareto(1.3, m), 1.0)
    factor = (volume * tail * np.exp(sessions.log_scale))[of]
    spread = _lognormals(sessions, of, rng)
    tcp = x["protocol"] == "tcp"
    silent = np.isin(x["state"], ("S0", "REJ"))
    x["duration"] = np.round(np.where(silent, 0.001, 1.0) * spread[:, 0] * tail[of] ** 0.5, 3)
    x["bytes_out"] = np.where(silent & tcp, 0, np.round(spread[:, 1] * factor))
    x["bytes_in"] = np.where(silent, 0, np.round(spread[:, 2] * factor))
    packet = np.exp(sessions.between(_PACKET))[of]
    x["packets_out"] = np.ceil(x["bytes_out"] / packet) + np.where(tcp, np.where(silent, 1, 3), 0)
    x["packets_in"] = np.ceil(x["bytes_in"] / packet) + np.where(tcp & ~silent, 2, 0)
    x["peer_flows"], x["service_flows"] = np.ceil(spread[:, 3]), np.ceil(np.maximum(spread[:, 4], 1))
    x["distinct_ports"] = np.ceil(np.minimum(spread[:, 5], spread[:, 3] + 1))

    wobble = 0.45 * (0.9 * sessions.z[of, 6] + 0.3 * rng.standard_normal(len(of)))
    entropy = np.clip(sessions.between(_ENTROPY)[of] + wobble, 0, 8)
    x["payload_entropy"] = np.where(x["bytes_out"] + x["bytes_in"] > 0, np.round(entropy, 3), np.nan)


def _lognormals(sessions: Sessions, of: Ints, rng: np.random.Generator) -> Floats:
    """[n, 6] values of `_SPREADS`, correlated within the session."""
    rho = sessions.correlation
    noise = rng.standard_normal((len(of), len(_SPREADS)))
    z = np.sqrt(rho) * sessions.z[of, : len(_SPREADS)] + np.sqrt(1 - rho) * noise
    values: Floats = np.exp(sessions.between(_MEDIAN)[of] + sessions.between(_SIGMA)[of] * z)
    return values


def _draw_neighbourhood(x: NDArray[np.void], sessions: Sessions, of: Ints, rng: np.random.Generator) -> None:
    """The share of failed connections among the recent flows of the same service."""
    chance = sessions.between(_CHANCE)[:, 3]
    logit = np.log(chance / (1 - chance)) + 0.8 * sessions.z[:, 7]
    recent = x["service_flows"]
    failed = rng.binomial(recent.astype(np.int64), (1 / (1 + np.exp(-logit)))[of])
    x["error_rate"] = np.round(failed / recent, 3)


def _draw_counts(x: NDArray[np.void], sessions: Sessions, of: Ints, rng: np.random.Generator) -> None:
    """Rare counters: Poisson within a session, whose own rate varies (gamma, shape 1/2)."""
    rates = np.exp(sessions.between(_RATE))
    for i, name in enumerate(_COUNTS):
        session_rate = rates[:, i] * rng.gamma(0.5, 2.0, len(rates))
        x[name] = rng.poisson(session_rate[of])
