"""Which features a model leans on: by occlusion where it can be asked, by a ridge surrogate where it cannot."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Bools, Floats, Ints, Scorer

_TINY: Final = 1e-6  # float32 scores saturate: smaller differences are noise
_PENALTY: Final = 0.1
_CELLS: Final = 1_000_000  # values in one call of the model: what stays near the processor


def logit_margin(scores: Floats, predicted: Ints) -> Floats:
    """Log score of the predicted class less that of the best other one, [n].

    >>> logit_margin(np.array([[0.8, 0.2]]), np.array([0])).round(3).tolist()
    [1.386]
    """
    log = np.log(np.clip(scores, _TINY, 1.0))
    rows = np.arange(len(log))
    own = log[rows, predicted]
    log[rows, predicted] = -np.inf
    return np.asarray(own - log.max(axis=1), np.float64)


def occlusion(score: Scorer, x: Floats, draws: Floats) -> Floats:
    """|change of the predicted class's logit margin| when feature j of event i becomes ``draws[i, j]``: [n, d].

    Permutation importance (Breiman 2001; Fisher, Rudin & Dominici 2019) event by event, with draws from the reference.
    ``score`` gets at most n (d + 1) rows, a few megabytes at a time: a draw that equals the value changes nothing.

    >>> score = lambda x: np.column_stack([1 / (1 + np.exp(x[:, 0])), 1 / (1 + np.exp(-x[:, 0]))])
    >>> occlusion(score, np.array([[2.0, 7.0]]), np.array([[1.0, 0.0]])).round(6).tolist()
    [[1.0, 0.0]]
    """
    step = max(1, _CELLS // x.shape[1] ** 2)
    return np.concatenate([_occluded(score, x[i : i + step], draws[i : i + step]) for i in range(0, len(x), step)])


def _occluded(score: Scorer, x: Floats, draws: Floats) -> Floats:
    n = len(x)
    event, feature = np.nonzero((x != draws) & ~(np.isnan(x) & np.isnan(draws)))
    rows = x[np.concatenate([np.arange(n), event])]
    rows[np.arange(n, len(rows)), feature] = draws[event, feature]
    scores = score(rows)
    predicted = scores[:n].argmax(axis=1)
    before = logit_margin(scores[:n], predicted)
    after = logit_margin(scores[n:], predicted[event])
    change = np.zeros(x.shape)
    # where the model fails on a changed event, nothing is known
    change[event, feature] = np.nan_to_num(np.abs(after - before[event]))
    return change


def shares(importance: Floats) -> Floats:
    """Importances [..., d] as shares that sum to 1 (all equal where the model reacts to nothing).

    >>> shares(np.array([[3.0, 1.0], [0.0, 0.0]])).tolist()
    [[0.75, 0.25], [0.5, 0.5]]
    """
    total = importance.sum(axis=-1, keepdims=True)
    even = np.full_like(importance, 1 / importance.shape[-1])
    return np.asarray(np.divide(importance, total, out=even, where=total > 0), np.float64)


def rank_distance(baseline: Floats, now: Floats) -> Floats:
    """Distance 1 - nDCG of the ranking by ``now`` [..., d] with the shares ``baseline`` [..., d] as gains, 0 to 1.

    Jarvelin & Kekalainen 2002. Against rank correlations: what matters is the top of the ranking, and the order of the
    many features that the model hardly uses is noise, which gains near zero do not count.

    >>> rank_distance(np.array([0.5, 0.3, 0.2]), np.array([0.6, 0.3, 0.1])).item()
    0.0
    >>> rank_distance(np.array([0.9, 0.1]), np.array([0.1, 0.9])).round(3).item()
    0.307
    """
    discount = 1 / np.log2(2 + np.arange(now.shape[-1]))
    gains = np.broadcast_to(baseline, now.shape)
    got = np.take_along_axis(gains, np.argsort(-now, axis=-1, kind="stable"), axis=-1) @ discount
    best = -np.sort(-gains, axis=-1) @ discount
    return np.asarray(np.maximum(1 - got / best, 0.0), np.float64)


class Surrogate:
    """A ridge regression of served log-odds on standardised features: what the model seems to use, seen from outside.

    Target: log-odds of the reference's most often predicted class. Categories become their mean target in the
    reference, missing values the mean. Importance of a feature: |coefficient| in standard deviations of the reference.
    It sees a linear trend for each feature, and correlated features share theirs: weaker than `occlusion`.
    """

    def __init__(self, x: Floats, f: Floats, categorical: Bools) -> None:
        self._class = int(np.bincount(f.argmax(axis=1), minlength=f.shape[1]).argmax())
        self._categorical = np.flatnonzero(categorical)
        target = self._target(f)
        self._overall = float(target.mean())
        self._means = {int(j): _means(x[:, j], target) for j in self._categorical}
        encoded = self._encode(x)
        known = ~np.isnan(encoded)
        count = np.maximum(known.sum(axis=0), 1)
        self._mean = np.where(known, encoded, 0.0).sum(axis=0) / count
        spread = np.sqrt(np.where(known, (encoded - self._mean) ** 2, 0.0).sum(axis=0) / count)
        self._spread = np.where(spread > 0, spread, 1.0)

    def importance(self, x: Floats, f: Floats, samples: Ints) -> Floats:
        """Shares [b, d]: one regression for each row of ``samples`` [b, m], which picks rows of x[n, d] and f[n, k]."""
        z = np.clip(np.nan_to_num((self._encode(x) - self._mean) / self._spread, nan=0.0), -5.0, 5.0)
        target = self._target(f)
        out = np.empty((len(samples), x.shape[1]))
        for i, rows in enumerate(samples):
            design = z[rows] - z[rows].mean(axis=0)
            gram = design.T @ design + _PENALTY * len(rows) * np.eye(x.shape[1])
            out[i] = np.abs(np.linalg.solve(gram, design.T @ (target[rows] - target[rows].mean())))
        return shares(out)

    def _target(self, f: Floats) -> Floats:
        p = np.clip(np.nan_to_num(f[:, self._class], nan=0.5), _TINY, 1 - _TINY)
        return np.asarray(np.log(p) - np.log1p(-p), np.float64)

    def _encode(self, x: Floats) -> Floats:
        out = x.copy()
        for j, means in self._means.items():
            codes = x[:, j]
            out[:, j] = np.where(np.isnan(codes), np.nan, self._overall)
            for code, mean in means.items():
                out[codes == code, j] = mean
        return out


def _means(codes: Floats, target: Floats) -> dict[float, float]:
    return {float(c): float(target[codes == c].mean()) for c in np.unique(codes[~np.isnan(codes)])}
