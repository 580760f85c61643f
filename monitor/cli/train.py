"""`tocsin train`: a table of labelled samples becomes a signed model version."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.output import Busy, Progress, show
from monitor.cli.registry_options import (
    AsJson,
    BenignClass,
    By,
    Name,
    Reason,
    RecipeName,
    Root,
    SigningKeyFile,
    TrainingDevice,
    TrainingSeed,
    Trusted,
    benign_named,
    carried_benign,
    open_registry,
)
from monitor.cli.who import user_name
from rollback.bundle import Bundle
from rollback.tables.table import read_table
from rollback.train.bounds import read_bounds
from rollback.train.version import NewVersion, Request, add_version, train_version


def train(
    *,
    data: Annotated[Path, typer.Option("--data", help="Samples: CSV, Parquet or NDJSON.", show_default=False)],
    label: Annotated[str, typer.Option("--label", help="The column of true classes.", show_default=False)],
    registry: Root,
    name: Name,
    source: Annotated[str | None, typer.Option("--source", help="The column of sensors or tenants.")] = None,
    session: Annotated[str | None, typer.Option("--session", help="The column that ties rows of one session.")] = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", help="A column that is no feature; may be repeated.")
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="The new version's id; the next number unless said.")
    ] = None,
    parent: Annotated[str | None, typer.Option("--parent", help="The version that it is to replace.")] = None,
    benign: BenignClass = None,
    recipe: RecipeName = "mlp",
    seed: TrainingSeed = 0,
    device: TrainingDevice = "auto",
    bounds: Annotated[
        Path | None, typer.Option("--bounds", help="What features can be in the domain (YAML), for hardening.")
    ] = None,
    checkpoints: Annotated[
        Path | None, typer.Option("--checkpoints", help="A private folder, to go on after a crash where it was.")
    ] = None,
    by: By = None,
    reason: Reason = "trained",
    trusted_key: Trusted = None,
    signing_key: SigningKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Train a model, hold a reference out of the data, and add both to a registry as a signed version.

    Example: tocsin train --data flows.csv --label label --session session --ignore id --registry registry --name nids
    """
    keeper = open_registry(registry, name, trusted_key, signing_key, make=True)
    request = Request(
        label=label,
        source=source,
        session=session,
        ignore=tuple(ignore or ()),
        recipe=recipe,
        seed=seed,
        device=device,
        parent=parent,
        bounds={} if bounds is None else read_bounds(bounds),
        checkpoints=checkpoints,
        benign=carried_benign(benign, keeper, parent),
    )
    with Busy(f"reading {data.name}"):
        table = read_table(data, text=[column for column in (source, session) if column is not None])
    with benign_named(), Progress(f"training {name}") as progress:

        def told(done: int, most: int, loss: float) -> None:
            progress.update(done, _note(done, most, loss), total=most)

        new = train_version(table, request, told)
    for remark in new.remarks:
        typer.echo(f"note: {remark}", err=True)
    with tempfile.TemporaryDirectory() as folder:
        buffer = Path(folder) / "rows.csv.zst"
        who = by or user_name()
        bundle = add_version(keeper, new, table, request, buffer=buffer, version=version, by=who, reason=reason)
    typer.echo(_in_words(bundle), err=True)
    show(_result(bundle, new), as_json=as_json, text=bundle.manifest.version)


def _note(epoch: int, most: int, loss: float) -> str:
    """A loss that is no number was not looked at: by private training, or a recipe that has none."""
    return f"step {epoch} of at most {most}" + ("" if math.isnan(loss) else f", validation loss {loss:.4f}")


def _in_words(bundle: Bundle) -> str:
    manifest = bundle.manifest
    rows = manifest.lineage["data"]
    return (
        f"learned {rows['learned']:,} rows, held out {rows['reference']:,} as the reference: "
        f"accuracy there {manifest.metrics['reference_accuracy']:.4f}"
    )


def _result(bundle: Bundle, new: NewVersion) -> dict[str, object]:
    manifest = bundle.manifest
    return {
        "version": manifest.version,
        "classes": list(manifest.classes),
        "features": len(manifest.features),
        "metrics": manifest.metrics,
        "rows": manifest.lineage["data"],
        "remarks": list(new.remarks),
    }
