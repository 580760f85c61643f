"""Has a labeller changed, or has he always labelled so? Before and after, where nothing else tells the two apart."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Floats
from detectors.labels.noise import null_rate

_RATES: Final = 1 / (1 + np.exp(-np.linspace(-7, 3, 21)))
"""Of contradicting where g is right: .001 to .95, evenly spaced in logit."""

_LEAST: Final = 1e-5


def log_e_changed(share: Floats, error: Floats, noise: Floats) -> float:
    """Log e-value of "he began to contradict at some point" against "he contradicts at one rate, whatever it is".

    ``share``[n] in [0, 1] contradicts, in order of arrival; g errs with probability ``error``[n], and apart from that
    an honest labeller with ``noise``[n]. Above: the mean over all points in time of the likelihood of ``noise`` before
    it and of some constant rate after it (mean over 21 rates). Below: the likelihood of the rate that suits all labels
    best. The ratio is an e-value (universal inference; Wasserman, Ramdas & Balakrishnan 2020, PNAS 117):
    P(>= 20) <= 1/20 for who has always labelled so.

    >>> early, late, rare = np.repeat([0.0, 1.0], 20), np.tile([0.0, 1.0], 20), np.full(40, 0.01)
    >>> round(log_e_changed(early, rare, rare)), round(log_e_changed(late, rare, rare))
    (20, -5)
    """
    if len(share) < 2:  # noqa: PLR2004 - nothing before, or nothing after
        return 0.0
    before = _log_likelihood(share, null_rate(error, noise)[:, None])[:, 0]
    any_rate = _log_likelihood(share, null_rate(error[:, None], _RATES))
    after = np.cumsum(any_rate[::-1], axis=0)[::-1]
    until = np.concatenate([[0.0], np.cumsum(before)[:-1]])
    return float(_log_mean(until + _log_mean(after.T)) - after[0].max())


def _log_likelihood(share: Floats, rate: Floats) -> Floats:
    p = np.clip(rate, _LEAST, 1 - _LEAST)
    return np.asarray(share[:, None] * np.log(p) + (1 - share[:, None]) * np.log1p(-p), np.float64)


def _log_mean(logs: Floats) -> Floats:
    """Log of the mean of exp(logs) over the first axis."""
    top = logs.max(axis=0)
    return np.asarray(top + np.log(np.mean(np.exp(logs - top), axis=0)), np.float64)
