"""Do others say so too? Flips are one group's; where the concept has moved, everybody's labels contradict alike."""

from __future__ import annotations

import numpy as np
from scipy.stats import hypergeom

from detectors.batch import Bools, Floats, Ints


def seconded(contradicts: Bools, group: Bools, region: Ints) -> tuple[float, float]:
    """How far labels outside of a group second its contradictions, and the p-value of everybody contradicting alike.

    The share: of a contradiction by the group, how many of the others' labels in the same region contradict (mean over
    the group's contradictions with others in their region; 1 where there are none to ask). Null: within each region
    the contradictions fall on labels of the group and of others alike. Then the group's number is a sum of
    hypergeometric ones (Mantel & Haenszel 1959); p is the probability of as many or more, exact for whole labels.

    >>> group, region = np.repeat([True, False], 20), np.zeros(40, int)
    >>> share, p = seconded(np.arange(40) < 8, group, region)
    >>> share, p < 0.01
    (0.0, True)
    >>> share, p = seconded(np.arange(40) % 5 == 0, group, region)
    >>> round(share, 2), p > 0.5
    (0.2, True)
    """
    law: Floats = np.ones(1)
    own = heard = seconds = 0.0
    for each in np.unique(region[group & contradicts]).tolist():
        here = region == each
        labels, by_group = int(here.sum()), int((here & group).sum())
        found, of_group = int((here & contradicts).sum()), int((here & contradicts & group).sum())
        law = np.convolve(law, hypergeom.pmf(np.arange(by_group + 1), labels, found, by_group))
        own += of_group
        if labels > by_group:
            heard += of_group
            seconds += of_group * (found - of_group) / (labels - by_group)
    p = float(np.clip(law[int(own) :].sum(), 0.0, 1.0))
    return (seconds / heard if heard else 1.0), p
