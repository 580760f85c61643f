"""The files of a retraining that say which rows were trained on, and what the gate said: `rollback.retraining.out`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rollback.gates.page import page
from rollback.repair.mend import Mended
from rollback.retraining.out import BATCHES, BELIEVED, GATE, PAGE, REMOVED, REPAIRED, RETAINED, VETTING, Gate, Out
from rollback.retraining.repairing import batch_report, repaired_columns
from rollback.retraining.report import believed_columns, removed_columns, retained_columns
from rollback.retraining.sifting import Sifted


def write_results(
    out: Out, model: str, sifted: Sifted, mended: Mended, gate: Gate, asks: Sequence[Mapping[str, Any]]
) -> None:
    """All but `candidate.json`; ``asks`` are the lines of `vetting.ndjson`. `gate.json` comes last."""
    data, found, returned = sifted.data, sifted.found, sifted.settled.returned
    out.write_columns(REPAIRED, repaired_columns(data, mended))
    out.write(BATCHES, msgspec.json.format(msgspec.json.encode(batch_report(mended)), indent=2) + b"\n")
    out.write_columns(REMOVED, removed_columns(data, found, returned))
    out.write_columns(RETAINED, retained_columns(data, found, returned, sifted.why))
    out.write_columns(BELIEVED, believed_columns(data))
    out.write_lines(VETTING, asks)
    out.write(PAGE, page(f"Retraining of {model}", gate.result, gate).encode())
    out.write(GATE, msgspec.json.format(msgspec.json.encode(gate), indent=2) + b"\n")
