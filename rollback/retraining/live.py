"""Recent events from a table, for the gate: what the candidate would decide otherwise."""

from __future__ import annotations

import numpy as np

from rollback.bundle import Bundle
from rollback.gates.trial import Live
from rollback.registry.registry import Buffer
from rollback.retraining.data import read_buffer


def read_live(file: Buffer, lkg: Bundle) -> Live:
    """The events of a file as last known good codes them; one without a session is its own.

    A label that is empty is none. Raises `rollback.tables.table.TableError`.
    """
    _, rows, _ = read_buffer(file, lkg.manifest.features, lkg.schema)
    alone = np.char.add("\0", np.arange(len(rows)).astype(np.str_))
    return Live(rows.x, rows.y, np.where(rows.session == "", alone, rows.session))
