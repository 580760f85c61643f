"""Which events to ask about first: the best ones, but never all from one source while others have any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from detectors.batch import Ints, Strings

LARGEST_SHARE: Final = 0.5
"""Of a batch of questions, one source gets at most this share while another has events of the same standing."""


def spread(ranks: Sequence[Ints], source: Strings, wanted: int) -> list[int]:
    """At most ``wanted`` rows: those of the first rank before those of the next, best first within each.

    ``ranks`` are rows of ``source`` in order of preference. Within a rank, a source that has had its share stands back
    until the others are through: who owns one source must not be the only one who is asked about.

    >>> import numpy as np
    >>> source = np.array(["a", "a", "a", "a", "b", "c"])
    >>> spread([np.array([0, 1, 2, 3, 4]), np.array([5])], source, 4)
    [0, 1, 4, 2]
    >>> spread([np.array([0, 1]), np.array([5])], source, 3)
    [0, 1, 5]
    """
    most = max(1, int(LARGEST_SHARE * wanted))
    picked: list[int] = []
    had: Counter[str] = Counter()
    for rank in ranks:
        back = []
        for row in rank.tolist():
            if had[str(source[row])] >= most:
                back.append(row)
                continue
            had[str(source[row])] += 1
            picked.append(row)
        picked += back
    return picked[:wanted]
