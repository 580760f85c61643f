"""What a person should know of the new rows before believing what comes of them. None of it stops a retraining."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from detectors.schema import UNSEEN
from rollback.retraining.data import Data

MOST_OF_ALL: Final = 0.9
NAMED: Final = 5


def cautions(data: Data) -> tuple[str, ...]:
    """One sentence each: labels, sources, features and ids that leave little to go by."""
    if not len(data.new):
        return ("no row of the buffer is left to be screened: the candidate learns from trusted rows alone",)
    return (*_labels(data), *_source(data), *_features(data), *_ids(data))


def _labels(data: Data) -> Iterator[str]:
    classes = data.schema.classes
    present = np.unique(data.new.y).tolist()
    if len(present) == 1 and len(data.new) > 1:
        yield (
            f"all {len(data.new)} new rows are labelled {classes[present[0]]}: of other classes the candidate learns "
            "from the trusted base alone"
        )
    for label in set(present) - set(np.unique(data.base.y).tolist()):
        rows = np.count_nonzero(data.new.y == label)
        yield f"{rows} new rows are labelled {classes[label]}, and the trusted base has no row of that class"


def _source(data: Data) -> Iterator[str]:
    names, counts = np.unique(data.new.source, return_counts=True)
    share = counts.max() / len(data.new)
    if len(names) > 1 and share >= MOST_OF_ALL:
        yield (
            f"source {names[counts.argmax()]} supplies {share:.0%} of the new rows: what it says wrongly throughout "
            "looks like the rule among them"
        )


def _features(data: Data) -> Iterator[str]:
    def empty(column: np.ndarray) -> bool:
        return bool(np.all(np.isnan(column) | (column == UNSEEN)))

    gone = [
        f.name
        for j, f in enumerate(data.schema.features)
        if (np.isnan(data.new.x[:, j]).all() or (f.kind == "categorical" and empty(data.new.x[:, j])))
        and not np.isnan(data.base.x[:, j]).all()
    ]
    if gone:
        more = f" and {len(gone) - NAMED} more" if len(gone) > NAMED else ""
        yield f"no new row has a known value of {', '.join(gone[:NAMED])}{more}, which the trusted base has"


def _ids(data: Data) -> Iterator[str]:
    known = data.new_id[data.new_id != ""]
    repeated = len(known) - len(np.unique(known))
    if repeated:
        yield f"{repeated} new rows have the id of another row: what is written of rows does not tell these apart"
