"""Network flows as columns, and the shapes in which they travel: table, inference events, feedback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.batch import Columns, Floats, Strings

CATEGORICAL = ("protocol", "service", "state")
BINARY = ("tls", "inbound", "known_peer")
NUMERIC = (
    "duration",
    "bytes_out",
    "bytes_in",
    "packets_out",
    "packets_in",
    "dst_port",
    "ttl",
    "payload_entropy",
    "peer_flows",
    "service_flows",
    "distinct_ports",
    "error_rate",
    "retransmits",
    "failed_logins",
    "urgent",
    "wrong_fragments",
    "shells",
    "files_created",
)
FEATURES: tuple[str, ...] = CATEGORICAL + BINARY + NUMERIC
ROW = np.dtype([(name, "U8" if name in CATEGORICAL else "f8") for name in FEATURES])
CLASSES = ("attack", "benign")
"""Class order as a bundle has it: sorted names."""

Table: TypeAlias = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Flows(Columns):
    """n flows in time order. ``x`` is a structured array [n] of `ROW`: ``x["service"]`` is text, ``x["ttl"]`` a number.

    Missing numbers are NaN (the payload's entropy where there was no payload). ``label`` is the truth by the rule in
    force (benign, attack), ``family`` what really made the flow.
    """

    ts: Floats
    id: Strings
    source: Strings
    session: Strings
    x: NDArray[np.void]
    label: Strings
    family: Strings


def table(flows: Flows, *, family: bool = False) -> Table:
    """Columns by name: id, ts, source, session, the features, label, and ``family`` where it is asked for."""
    columns: Table = {"id": flows.id, "ts": flows.ts, "source": flows.source, "session": flows.session}
    columns |= {name: flows.x[name] for name in FEATURES}
    columns["label"] = flows.label
    return columns | ({"family": flows.family} if family else {})


def from_table(columns: Table) -> Flows:
    """The flows of a `table` whose features or labels were changed; ``family`` is "" where the table has none."""
    n = len(columns["id"])
    x = np.empty(n, ROW)
    for name in FEATURES:
        x[name] = columns[name]
    family = columns.get("family", np.full(n, ""))
    return Flows(columns["ts"], columns["id"], columns["source"], columns["session"], x, columns["label"], family)


def inference_events(flows: Flows, scores: Floats, *, model: str, version: str) -> list[bytes]:
    """One `tocsin.inference.v1` object per flow, as JSON. ``scores`` is [n, k] in the model's class order."""
    features = (dict(zip(FEATURES, row, strict=True)) for row in zip(*_lists(flows), strict=True))
    rows = zip(flows.id.tolist(), flows.ts.tolist(), flows.source.tolist(), flows.session.tolist(), strict=True)
    encode = msgspec.json.Encoder().encode
    return [
        encode(
            {
                "id": i, "ts": ts, "model": model, "version": version, "source": source, "session": session,
                "features": x, "scores": p,
            }
        )
        for (i, ts, source, session), x, p in zip(rows, features, scores.tolist(), strict=True)
    ]  # fmt: skip


def feedback_events(
    flows: Flows, *, origin: str, delay: float | Floats, labels: Sequence[str] | Strings | None = None
) -> list[bytes]:
    """One `tocsin.feedback.v1` object per flow, as JSON, given ``delay`` seconds after the flow.

    ``labels`` is what the origin says; the truth where it is None.
    """
    said = [str(label) for label in (flows.label if labels is None else labels)]
    given = np.round(flows.ts + delay, 3).tolist()
    encode = msgspec.json.Encoder().encode
    return [
        encode({"id": i, "ts": ts, "label": label, "origin": origin})
        for i, ts, label in zip(flows.id.tolist(), given, said, strict=True)
    ]


def _lists(flows: Flows) -> list[list[Any]]:
    """Feature columns as lists of JSON values: NaN is null, whole numbers stay short."""
    return [flows.x[name].tolist() for name in FEATURES]  # msgspec writes NaN as null
