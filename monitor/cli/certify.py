"""`tocsin certify`: how far a row, or the training data, can be changed before a prediction does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from monitor.cli.output import Busy, Progress, show
from monitor.cli.registry_options import AsJson, Name, Root, State, Trusted, Version, open_registry, serving
from rollback.tables.append import append_columns
from rollback.tables.table import Column, encode, read_table
from rollback.train.certificates import certificate_columns


def certify(
    *,
    registry: Root,
    name: Name,
    data: Annotated[Path, typer.Option("--data", help="CSV, Parquet or NDJSON with the features.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", help="The same rows with what is certified of each.", show_default=False)
    ],
    version: Version = None,
    samples: Annotated[int, typer.Option("--samples", min=10, help="Noisy copies of each row.")] = 1000,
    alpha: Annotated[
        float, typer.Option("--alpha", min=1e-9, max=0.5, help="How often a radius may be wrong, for each row.")
    ] = 0.001,
    sigma: Annotated[
        float | None,
        typer.Option(
            "--sigma", min=1e-6, help="The noise, in standard deviations of asinh; that of the training unless said."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the noise.")] = 0,
    trusted_key: Trusted = None,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Certify the predictions of a version, row by row.

    Of a vote of parts (recipe partition) the column certified_poisons says how many poisoned training rows could not
    have changed the prediction. Of every other model the columns prediction, radius and abstain are those of its
    smoothed version, and NAME_low and NAME_high say how far each number alone may go.

    Example: tocsin certify --registry registry --name nids --data flows.csv --out certified.csv
    """
    keeper = open_registry(registry, name, trusted_key, state=state)
    bundle = keeper.load(serving(keeper, name) if version is None else version)
    with Busy(f"reading {data.name}"):
        x = encode(read_table(data), bundle.manifest.features)
    with Progress(f"certifying {data.name}", len(x)) as progress:
        columns = certificate_columns(
            bundle,
            x,
            sigma=sigma,
            samples=samples,
            alpha=alpha,
            rng=np.random.default_rng(seed),
            progress=progress.update,
        )
    with Busy(f"writing {out.name}"):
        append_columns(data, out, columns)
    show({"rows": len(x), "version": bundle.manifest.version, **_summary(columns), "out": str(out)}, as_json=as_json)


def _summary(columns: dict[str, Column]) -> dict[str, float]:
    """What can be said of all rows together."""
    if not len(columns["prediction"]):
        return {}
    if "certified_poisons" in columns:
        return {"median_certified_poisons": _median(columns["certified_poisons"])}
    return {
        "abstains": float(np.mean(columns["abstain"].astype(np.float64))),
        "median_radius": _median(columns["radius"]),
    }


def _median(column: Column) -> float:
    return float(np.median(column.astype(np.float64)))
