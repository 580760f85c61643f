"""Feature importance of the serving version: against its own past, and against LKG on the same events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from detectors.batch import Floats, Ints, Labels, Reference, Scorer, Window
from detectors.evidence import Budget, Contributor, Detector, Evidence, State
from detectors.nulls.block_null import WindowRuns, first_of_sessions
from detectors.nulls.importance import Surrogate, occlusion, rank_distance, shares
from detectors.sequential import as_e_value, log_mean, p_to_e

_FEWEST: Final = 8  # events that are asked about even where there are very many features


@dataclass(frozen=True, slots=True)
class Parameters:
    """What may be tuned.

    ``min_sessions``: a reference with fewer leaves the detector warming. ``rows``: how many rows a window may have
    scored for this (sample times features; 2,304 are 64 events with 36 features). ``sample``: at most so many events.
    ``reference_rows``: the same for the reference, once. ``resamples`` of the null. ``shown``: features named.
    """

    min_sessions: int = 100
    rows: int = 2304
    sample: int = 64
    reference_rows: int = 36_864
    resamples: int = 999
    shown: int = 10

    def __post_init__(self) -> None:
        for name in ("rows", "reference_rows", "resamples", "shown"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, got {getattr(self, name)}")
        if self.sample < _FEWEST or self.min_sessions < _FEWEST:
            raise ValueError(f"sample and min_sessions are at least {_FEWEST}, got {self.sample}, {self.min_sessions}")


@dataclass(frozen=True, slots=True)
class _Importances:
    """Shares of one sample: serving's, its own on the reference, LKG's on the same events (None without LKG)."""

    now: Floats
    before: Floats
    lkg: Floats | None


class ImportanceDrift(Detector):
    """Occlusion importance on a sample of fresh sessions, one event each, and `rank_distance` of its shares.

    Two distances: serving now against serving on the reference (``reference``), and against LKG now on the same events
    with the same replacements (``lkg``). Null: the sessions are drawn from what the reference's were drawn from, so
    each distance has the law that it has for sessions resampled from the reference; for ``lkg`` that is the retrain's
    own churn. p = (1 + #{null >= distance}) / (1 + resamples) -> e -> R = e (v + R) with v votes (`WindowRuns`), mean
    over the two.
    The reference is finite, and its error is the same in every window, so the null is drawn with samples of
    m / (1 + 2 sqrt(m/n))^2 instead of m sessions: their spread covers a window's own error and two standard errors of
    the n sessions of the reference. p is never below 1/(1 + resamples), an e-value of 21, so that under a budget of
    millions it takes several windows to alarm.

    False-positive rate: on average about A = ``budget.alarm`` sessions or more between false alarms (the null is
    resampled, so this is approximate; the margin makes it conservative).

    Where the model cannot be asked, a `Surrogate` on served scores stands in, for ``reference`` alone: see ``facts``
    (``mode`` occlusion or surrogate, ``weaker``). The reference is asked at the first window, once.

    >>> ImportanceDrift(Parameters(), Budget(), np.random.default_rng(0)).name
    'importance_drift'
    """

    name: ClassVar[str] = "importance_drift"

    def __init__(self, parameters: Parameters, budget: Budget, rng: np.random.Generator) -> None:
        self._parameters = parameters
        self._budget = budget
        self._seed = int(rng.integers(2**62))
        self._runs = WindowRuns(2)
        self._fired = False
        self._reference: Reference | None = None

    def fit(self, reference: Reference) -> None:
        """Keep one event a session; the null is drawn when a window first needs it."""
        self._runs, self._fired = WindowRuns(2), False
        rows = first_of_sessions(reference.session)
        self._reference = None
        self._f: Floats | None = None
        self._g: Floats | None = None
        self._surrogate: Surrogate | None = None
        self._nulls: dict[tuple[str, int], Floats] = {}
        if len(rows) >= self._parameters.min_sessions and np.all(np.isfinite(reference.f[rows])):
            self._reference = reference.take(rows)

    def observe(self, window: Window, labels: Labels | None) -> Evidence:  # noqa: ARG002 - labels say nothing here
        """Ask both versions about a sample of the window's fresh sessions."""
        if self._reference is None:
            return Evidence(self.name, "warming", note="the reference has too few scored sessions")
        fresh = first_of_sessions(window.batch.session, window.fresh)
        size = self._size(len(fresh), asked=window.score_f is not None)
        if size == 0:
            return self._evidence(note="too few fresh sessions to rank features")
        rows = fresh[np.sort(np.random.default_rng([self._seed, 1, window.index]).permutation(len(fresh))[:size])]
        found = self._ask(window, rows, window.score_f) if window.score_f is not None else self._regress(window, rows)
        distance = np.array([rank_distance(found.before, found.now), self._lkg_distance(found)])
        null = self._null("surrogate" if window.score_f is None else "occlusion", size)
        p = (1 + np.sum(null >= distance[:, None], axis=1)) / (1 + self._parameters.resamples)
        self._runs.update(np.log(p_to_e(p)), [len(fresh), len(fresh) if found.lkg is not None else 0])
        return self._evidence(found, distance, p, weaker=window.score_f is None)

    def state(self) -> State:
        """The runs, and whether they fired; the null is drawn again from the reference."""
        return {"runs": self._runs.state(), "fired": self._fired}

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self._runs.restore(state["runs"])
        self._fired = bool(state["fired"])

    def _size(self, sessions: int, *, asked: bool) -> int:
        """Sample size for so many fresh sessions: steps of 1.4, so that few nulls are needed; 0 for too few."""
        assert self._reference is not None  # noqa: S101 - observe has checked: it tells mypy
        features = self._reference.x.shape[1]
        most = max(_FEWEST, min(self._parameters.sample, self._parameters.rows // features)) if asked else 256
        fewest = _FEWEST if asked else 2 * _FEWEST
        size = most
        while size > sessions:
            size = int(size / 1.4)
        return size if size >= fewest else 0

    def _ask(self, window: Window, rows: Ints, score: Scorer) -> _Importances:
        reference = self._asked(score, window.score_g)
        x = window.batch.x[rows]
        draws = _draws(reference.x, len(x), np.random.default_rng([self._seed, 2, window.index]))
        now = shares(occlusion(score, x, draws).mean(axis=0))
        lkg = now if window.score_g is score else None
        if window.score_g is not None and lkg is None:
            lkg = shares(occlusion(window.score_g, x, draws).mean(axis=0))
        assert self._f is not None  # noqa: S101 - _asked has filled it: it tells mypy
        return _Importances(now, shares(self._f.mean(axis=0)), lkg)

    def _asked(self, score_f: Scorer, score_g: Scorer | None) -> Reference:
        """The reference, after both versions were asked about it (once)."""
        assert self._reference is not None  # noqa: S101 - observe has checked: it tells mypy
        if self._f is not None and (self._g is not None or score_g is None):
            return self._reference
        rng = np.random.default_rng([self._seed, 0])
        most = max(self._parameters.min_sessions, self._parameters.reference_rows // self._reference.x.shape[1])
        x = self._reference.x[np.sort(rng.permutation(len(self._reference))[:most])]
        draws = _draws(self._reference.x, len(x), rng)
        if self._f is None:
            self._f = occlusion(score_f, x, draws)
        if self._g is None and score_g is not None:
            self._g = self._f if score_g is score_f else occlusion(score_g, x, draws)
            self._nulls.clear()
        return self._reference

    def _regress(self, window: Window, rows: Ints) -> _Importances:
        reference = self._reference
        assert reference is not None  # noqa: S101 - observe has checked: it tells mypy
        if self._surrogate is None:
            categorical = np.array([f.kind == "categorical" for f in reference.schema.features])
            self._surrogate = Surrogate(reference.x, reference.f, categorical)
        now = self._surrogate.importance(window.batch.x, window.f, rows[None])[0]
        before = self._surrogate.importance(reference.x, reference.f, np.arange(len(reference))[None])[0]
        return _Importances(now, before, None)

    def _lkg_distance(self, found: _Importances) -> float:
        return 0.0 if found.lkg is None else float(rank_distance(found.lkg, found.now))

    def _null(self, mode: str, size: int) -> Floats:
        """Both distances for resampled sessions of the reference: [2, resamples]."""
        if (mode, size) not in self._nulls:
            rng = np.random.default_rng([self._seed, 3, size])
            self._nulls[mode, size] = (
                self._asked_null(size, rng) if mode == "occlusion" else self._fitted_null(size, rng)
            )
        return self._nulls[mode, size]

    def _asked_null(self, size: int, rng: np.random.Generator) -> Floats:
        assert self._f is not None  # noqa: S101 - the reference was asked: it tells mypy
        picks = rng.integers(0, len(self._f), (self._parameters.resamples, _widened(size, len(self._f))))
        now = shares(self._f[picks].mean(axis=1))
        reference = rank_distance(shares(self._f.mean(axis=0)), now)
        lkg = np.zeros_like(reference) if self._g is None else rank_distance(shares(self._g[picks].mean(axis=1)), now)
        return np.stack([reference, lkg])

    def _fitted_null(self, size: int, rng: np.random.Generator) -> Floats:
        reference, surrogate = self._reference, self._surrogate
        assert reference is not None and surrogate is not None  # noqa: S101, PT018 - as above
        n = len(reference)
        picks = rng.integers(0, n, (self._parameters.resamples, _widened(size, n)))
        now = surrogate.importance(reference.x, reference.f, picks)
        before = surrogate.importance(reference.x, reference.f, np.arange(n)[None])[0]
        distance = rank_distance(before, now)
        return np.stack([distance, np.zeros_like(distance)])

    def _evidence(
        self,
        found: _Importances | None = None,
        distance: Floats | None = None,
        p: Floats | None = None,
        *,
        weaker: bool = False,
        note: str = "",
    ) -> Evidence:
        total = log_mean(self._runs.log_r)
        self._fired |= bool(total >= np.log(self._budget.alarm))
        return Evidence(
            self.name,
            "fired" if self._fired else "ok" if found is not None else "warming",
            score=0.0 if distance is None else float(distance.max()),
            threshold=self._budget.alarm,
            e_value=as_e_value(total),
            top=() if found is None else self._moved(found),
            suspects=bool(total >= np.log(self._budget.ask)),
            gauges={} if distance is None or p is None or found is None else _gauges(found, distance, p),
            facts={} if found is None else self._facts(found, weaker=weaker),
            note=note,
        )

    def _moved(self, found: _Importances) -> tuple[Contributor, ...]:
        """The features whose share moved most, against the reference or LKG, whichever is more."""
        change = np.abs(found.now - found.before)
        if found.lkg is not None:
            change = np.maximum(change, np.abs(found.now - found.lkg))
        order = np.argsort(-change, kind="stable")[: self._parameters.shown]
        return tuple(Contributor(self._names()[j], float(change[j])) for j in order)

    def _facts(self, found: _Importances, *, weaker: bool) -> dict[str, Any]:
        """Who decides by what; the strongest features of either version are named for both, so that they compare."""
        each = {"importance": found.now, "importance_reference": found.before}
        if found.lkg is not None:
            each["importance_last_known_good"] = found.lkg
        strongest = found.now if found.lkg is None else np.maximum(found.now, found.lkg)
        order = np.argsort(-strongest, kind="stable")[: self._parameters.shown]
        named = {what: {self._names()[j]: float(shares[j]) for j in order} for what, shares in each.items()}
        return {**named, "mode": "surrogate" if weaker else "occlusion", "weaker": weaker}

    def _names(self) -> tuple[str, ...]:
        assert self._reference is not None  # noqa: S101 - observe has checked: it tells mypy
        return self._reference.schema.names


def _draws(pool: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Independent draws from each column of ``pool``: [n, d]."""
    return pool[rng.integers(0, len(pool), (n, pool.shape[1])), np.arange(pool.shape[1])]


def _widened(size: int, reference: int) -> int:
    """Sample size whose spread covers that of ``size`` sessions and two standard errors of the reference."""
    return max(2, round(size / float(1 + 2 * np.sqrt(size / reference)) ** 2))


def _gauges(found: _Importances, distance: Floats, p: Floats) -> dict[str, float]:
    gauges = {"distance_reference": float(distance[0]), "p_reference": float(p[0])}
    return gauges if found.lkg is None else gauges | {"distance_lkg": float(distance[1]), "p_lkg": float(p[1])}
