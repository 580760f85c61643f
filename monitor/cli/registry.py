"""`tocsin registry`: the versions of a model, which of them serves, and which is the last known good one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from monitor.cli.output import Busy, Progress, show, table
from monitor.cli.registry_export import export
from monitor.cli.registry_moves import collect, promote, quarantine, release, rollback
from monitor.cli.registry_options import (
    AsJson,
    BenignClass,
    By,
    Name,
    Reason,
    RecipeName,
    Root,
    SigningKeyFile,
    State,
    TrainingDevice,
    TrainingSeed,
    Trusted,
    Version,
    benign_named,
    bundle_limits,
    carried_benign,
    open_registry,
    serving,
    told,
)
from monitor.cli.who import user_name
from rollback.bundle import MODEL, IntegrityError
from rollback.own_model import ReferenceTable, own_model
from rollback.registry import moves
from rollback.registry.moves import shadow_name
from rollback.registry.registry import Buffer, RegistryError
from rollback.signing.openssf import check
from rollback.train.shadow import shadow_of

app = typer.Typer(no_args_is_help=True)
app.command("gc")(collect)
for command in (promote, rollback, quarantine, release, export):
    app.command()(command)


@app.command()
def add(
    *,
    registry: Root,
    name: Name,
    reference: Annotated[
        Path, typer.Option("--reference", help="Trusted rows: CSV, Parquet or NDJSON.", show_default=False)
    ],
    label: Annotated[str, typer.Option("--label", help="The reference's column of true classes.", show_default=False)],
    onnx: Annotated[
        Path | None, typer.Option("--onnx", help="The model; without it the version is a name with a reference.")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", help="The column of sensors or tenants.")] = None,
    session: Annotated[str | None, typer.Option("--session", help="The column that ties rows of one session.")] = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", help="A column that is no feature; may be repeated.")
    ] = None,
    classes: Annotated[str | None, typer.Option("--classes", help="Class names in the model's order: A,B,...")] = None,
    features: Annotated[
        Path | None, typer.Option("--features", help="YAML or JSON: the features, their kinds and codes.")
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="The new version's id; the next number unless said.")
    ] = None,
    parent: Annotated[str | None, typer.Option("--parent", help="The version that it was made from.")] = None,
    benign: BenignClass = None,
    buffer: Annotated[Path | None, typer.Option("--buffer", help="The training buffer that it was made from.")] = None,
    openssf_signature: Annotated[
        Path | None, typer.Option("--openssf-signature", help="The model's OpenSSF signature; needs --openssf-key.")
    ] = None,
    openssf_key: Annotated[
        Path | None, typer.Option("--openssf-key", help="Public key (PEM, elliptic curve) of whoever signed it.")
    ] = None,
    by: By = None,
    reason: Reason = "",
    trusted_key: Trusted = None,
    signing_key: SigningKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Add your own model, in ONNX form, with a reference to compare with; the first version serves.

    With an OpenSSF signature, the model is added only if it is what was signed.

    Example: tocsin registry add --registry registry --name nids --onnx nids.onnx --reference flows.csv --label class
    """
    if (openssf_signature or openssf_key) and not (openssf_signature and openssf_key and onnx):
        raise typer.BadParameter("give --onnx, --openssf-signature and --openssf-key", param_hint="--openssf-signature")
    rows = ReferenceTable(reference, label, source, session, tuple(ignore or ()))
    carried = carried_benign(benign, open_registry(registry, name, trusted_key), parent)
    with Busy(f"reading {reference.name} and the model"), benign_named():
        made = own_model(
            rows,
            onnx=onnx,
            classes=_listed(classes),
            features=features,
            parent=parent,
            limits=bundle_limits(),
            benign=carried,
        )
    _check_openssf(onnx, made.files, openssf_signature, openssf_key)
    kept = None if buffer is None else Buffer(buffer, label, source, session)
    keeper = open_registry(registry, name, trusted_key, signing_key, make=True)
    bundle = keeper.add(made.draft, made.files, by=by or user_name(), reason=reason, version=version, buffer=kept)
    if made.warning:
        typer.echo(f"warning: {made.warning}", err=True)
    manifest = bundle.manifest
    result = {
        "version": manifest.version,
        "classes": list(manifest.classes),
        "benign": manifest.named_benign,
        "class_order": made.class_order,
        "features": len(manifest.features),
        "accuracy_on_reference": manifest.metrics.get("reference_accuracy"),
        "warning": made.warning,
        **told(keeper.pointers()),
    }
    show(result, as_json=as_json)


@app.command()
def shadow(
    registry: Root,
    name: Name,
    version: Annotated[
        str | None, typer.Option("--version", help="The version; the last known good one unless said.")
    ] = None,
    recipe: RecipeName = "mlp",
    seed: TrainingSeed = 0,
    device: TrainingDevice = "auto",
    by: By = None,
    reason: Reason = "to compare with while nobody has vouched for a version",
    trusted_key: Trusted = None,
    signing_key: SigningKeyFile = None,
    state: State = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Learn a shadow of a version from its reference, to compare with while nobody has vouched for that version.

    You need it where the first version of a model serves and is last known good only because nobody said otherwise
    (`registry list` shows it as assumed): compared with itself it never disagrees, so a backdoor in it stays unseen.
    The shadow is added as VERSION-shadow, is used from then on by itself, and no longer once somebody vouches for the
    version (promote --known-good) or another becomes last known good. It learns from one half of the reference and is
    compared on the other, knows less than a real version, and never serves. Verdicts that rest on it are suspicions:
    marked as weaker, never confirmed, nothing is rolled back on them. The reference must be vetted: a poisoned one
    teaches the shadow the same poison.

    Example: tocsin registry shadow --registry registry --name nids
    """
    keeper = open_registry(registry, name, trusted_key, signing_key, make=True, state=state)
    now = keeper.pointers()
    chosen = version or now.last_known_good
    if chosen is None:
        raise RegistryError(f"model {name!r} has no version; add one with: tocsin registry add")
    bundle = keeper.load(chosen)
    with Progress(f"training a shadow of version {chosen}") as progress:
        made = shadow_of(
            bundle, recipe=recipe, seed=seed, device=device, progress=lambda done, *_: progress.update(done)
        )
    added = keeper.add(made.draft, made.files, by=by or user_name(), reason=reason, version=shadow_name(chosen))
    if not (now.assumed and chosen == now.last_known_good):
        typer.echo(f"note: it is not used now: version {chosen} is vouched for, or not last known good", err=True)
    result = {
        "version": added.manifest.version,
        "shadow_of": chosen,
        "learned": made.learned,
        "reference": made.held_out,
        "accuracy_on_reference": made.draft.metrics["reference_accuracy"],
        "agreement_with_version": None if math.isnan(made.agreement) else made.agreement,
        **told(keeper.pointers()),
    }
    show(result, as_json=as_json)


@app.command("list")
def list_versions(registry: Root, name: Name, trusted_key: Trusted = None, *, as_json: AsJson = False) -> None:
    """List every version, and which of them serves and is last known good.

    Example: tocsin registry list --registry registry --name nids
    """
    keeper = open_registry(registry, name, trusted_key)
    now = keeper.pointers()
    added = {move.version: move for move in keeper.history() if move.action == "add"}
    held = moves.quarantined(keeper.history())
    rows = [
        {
            "version": version,
            "serving": version == now.serving,
            "last_known_good": version == now.last_known_good,
            "assumed": version == now.last_known_good and now.assumed,
            "quarantined": version in held,
            "added_by": added[version].by if version in added else None,
            "reason": added[version].reason if version in added else None,
        }
        for version in keeper.versions()
    ]
    show(rows, as_json=as_json, text=table(rows) if rows else f"model {name!r} has no versions in {registry}")


@app.command("show")
def show_version(
    registry: Root,
    name: Name,
    version: Version = None,
    trusted_key: Trusted = None,
    state: State = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show a version: classes, features, digests, lineage, and every move of the pointers to it.

    Example: tocsin registry show --registry registry --name nids --version 2
    """
    keeper = open_registry(registry, name, trusted_key, state=state)
    bundle = keeper.load(serving(keeper, name) if version is None else version)
    manifest = bundle.manifest
    history = [
        {"at": _time(move.at), "action": move.action, "previous": move.previous, "by": move.by, "reason": move.reason}
        for move in keeper.history()
        if move.version == manifest.version
    ]
    result: dict[str, Any] = {
        "name": manifest.name,
        "version": manifest.version,
        "parent": manifest.parent,
        "created_at": manifest.created_at,
        "classes": list(manifest.classes),
        "benign": manifest.named_benign,
        "features": {f.name: f.kind for f in manifest.features},
        "metrics": manifest.metrics,
        "lineage": manifest.lineage,
        "files": manifest.files,
        "history": history,
        **told(keeper.pointers()),
    }
    show(result, as_json=as_json)


@app.command()
def verify(
    registry: Root,
    name: Name,
    version: Annotated[str | None, typer.Option("--version", help="The version; all of them unless said.")] = None,
    trusted_key: Trusted = None,
    state: State = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Check every digest and signature of a version, or of all versions and whether the history accounts for pointers.

    Example: tocsin registry verify --registry registry --name nids
    """
    keeper = open_registry(registry, name, trusted_key, state=state)
    checked = list(keeper.versions()) if version is None else [version]
    if not checked:
        serving(keeper, name)
    problems = [] if version is not None else moves.unaccounted(keeper.history(), keeper.pointers())
    for each in checked:
        try:
            keeper.verify(each)
        except IntegrityError as error:
            problems.append(str(error))
    if problems:
        raise IntegrityError("\n".join(problems))
    show({"verified": checked}, as_json=as_json)


def _check_openssf(onnx: Path | None, files: Mapping[str, bytes], signature: Path | None, key: Path | None) -> None:
    """Check what was read, not what lies there now."""
    if signature is None or key is None or onnx is None:
        return
    with TemporaryDirectory() as folder:
        read = Path(folder) / onnx.name
        read.write_bytes(files[MODEL])
        check(read, signature, key)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _listed(names: str | None) -> list[str] | None:
    return None if names is None else [part.strip() for part in names.split(",")]
