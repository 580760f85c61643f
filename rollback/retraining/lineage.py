"""What a candidate's manifest says of where it comes from: enough to make it again, and to ask about every row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from detectors.batch import Bools
from rollback.registry.registry import Buffer
from rollback.retraining.data import Data, Tables
from rollback.retraining.libraries import library_versions
from rollback.retraining.model import Made
from rollback.retraining.reading import digest
from rollback.retraining.report import sanitising
from rollback.retraining.training_input import input_digest, rows_digest, with_more
from rollback.sanitise.rows import Sanitised


def lineage(
    data: Data, found: Sanitised, returned: Bools, made: Made, tables: Tables, known: Buffer | None
) -> dict[str, Any]:
    """Digests of all that went in, and what was done with it. ``known`` is the last known good version's buffer."""
    rows, weight = with_more(made.learned, made.weight, made.more)
    return {
        "base": {
            "from": data.base_from,
            "rows": len(data.base),
            "reference": len(data.reference),
            "sha256": rows_digest(data.base),
            "confirmed": 0 if data.unproven is None else int(data.unproven.sum()),
            "buffer": None if known is None else digest(known.path),
        },
        "buffer": {
            "file": tables.buffer.path.name,
            "sha256": digest(tables.buffer.path, tables.keys),
            "rows": data.drawn.total,
            "drawn": len(data.drawn.table),
            "strata": {name: list(counts) for name, counts in data.drawn.strata.items()},
        },
        "holdout": {"rows": len(data.holdout), "sha256": rows_digest(data.holdout)},
        "training": {"rows": len(rows), "sha256": input_digest(rows, weight)},
        "unlearned": msgspec.to_builtins(data.earlier.and_now(found, data.base).patterns),
        "libraries": library_versions(),
        "sanitising": sanitising(data, found, returned),
    }


def file_digest(path: Path | None) -> str | None:
    """SHA-256 of a file that may not have been given."""
    return None if path is None else digest(path)
