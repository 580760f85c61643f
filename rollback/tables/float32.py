"""Numbers that were float32 before somebody widened them: the same value as their decimal in another file."""

from __future__ import annotations

import numpy as np

from detectors.batch import Floats


def as_written(x: Floats) -> Floats:
    """``x`` with each number that float32 holds exactly as the shortest decimal that gives this float32.

    So 0.019999999552965164 is 0.02, as a table of decimals has it. Whole numbers stay. Another number of full precision
    is a float32 with a chance of 2^-29, and then changes by less than one of 2^24 parts.

    >>> as_written(np.array([float(np.float32(0.02)), 0.02, 0.019999999, 3.0, 0.5, np.nan])).tolist()
    [0.02, 0.02, 0.019999999, 3.0, 0.5, nan]
    """
    with np.errstate(over="ignore"):  # a number that is too large for a float32 is none
        narrow = x.astype(np.float32)
        odd = (narrow == x) & (x != np.floor(x)) & np.isfinite(x)
    if not odd.any():
        return x
    plain = x.copy()
    values, at = np.unique(narrow[odd], return_inverse=True)
    plain[odd] = np.array([float(str(value)) for value in values])[at]
    return plain
