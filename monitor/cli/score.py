"""`tocsin score`: scores of a table's rows, one column per class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from detectors.batch import Floats
from monitor.cli.output import Busy, Progress, show
from monitor.cli.registry_options import AsJson, Name, Root, State, Trusted, Version, open_registry, serving
from rollback.registry.registry import RegistryError
from rollback.tables.append import append_columns
from rollback.tables.table import encode, read_table

STEP = 16_384


def score(
    *,
    registry: Root,
    name: Name,
    data: Annotated[Path, typer.Option("--data", help="CSV, Parquet or NDJSON with the features.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", help="The same rows with one more column per class.", show_default=False)
    ],
    version: Version = None,
    trusted_key: Trusted = None,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Score a table with a model version; every column of the table is kept.

    Example: tocsin score --registry registry --name nids --data flows.csv --out scored.csv
    """
    keeper = open_registry(registry, name, trusted_key, state=state)
    bundle = keeper.load(serving(keeper, name) if version is None else version)
    scorer = bundle.scorer()
    if scorer is None:
        raise RegistryError(
            f"version {bundle.manifest.version} of {name!r} has no model to score with, only a reference"
        )
    features = bundle.manifest.features
    with Busy(f"reading {data.name}"):
        x = encode(read_table(data), features)
    scores: Floats = np.empty((len(x), len(bundle.manifest.classes)))
    with Progress(f"scoring {data.name}", len(x)) as progress:
        for start in range(0, len(x), STEP):
            scores[start : start + STEP] = scorer(x[start : start + STEP])
            progress.update(start)
    with Busy(f"writing {out.name}"):
        append_columns(data, out, {c: scores[:, i] for i, c in enumerate(bundle.manifest.classes)})
    show({"rows": len(x), "version": bundle.manifest.version, "out": str(out)}, as_json=as_json)
