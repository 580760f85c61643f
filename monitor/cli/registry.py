"""`tocsin registry`: the versions of a model, which of them serves, and which is the last known good one."""

from __future__ import annotations

import math
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from monitor.cli.output import Busy, Progress, show, table
from monitor.cli.who import user_name
from monitor.open_incidents import open_incidents, versions_named
from monitor.settings.config import load_config
from rollback.bundle import IntegrityError
from rollback.keys import Keys
from rollback.limits import BundleLimits
from rollback.own_model import ReferenceTable, own_model
from rollback.registry import moves
from rollback.registry.file import FileRegistry
from rollback.registry.moves import shadow_name
from rollback.registry.registry import Buffer, Pointers, RegistryError
from rollback.train.recipe import Device
from rollback.train.shadow import shadow_of

app = typer.Typer(no_args_is_help=True)

Root: TypeAlias = Annotated[Path, typer.Option("--registry", help="The registry's folder.", show_default=False)]
RecipeName: TypeAlias = Annotated[str, typer.Option("--recipe", help="How to train.")]
TrainingSeed: TypeAlias = Annotated[int, typer.Option("--seed", min=0, help="Decides the split and the training.")]
TrainingDevice: TypeAlias = Annotated[Device, typer.Option("--device", help="Where to train.")]
Name: TypeAlias = Annotated[str, typer.Option("--name", help="The model.", show_default=False)]
Version: TypeAlias = Annotated[
    str | None, typer.Option("--version", help="The version; the one that serves unless said.")
]
By: TypeAlias = Annotated[
    str | None, typer.Option("--by", help="Who does it, for the history; your user name unless said.")
]
Reason: TypeAlias = Annotated[str, typer.Option("--reason", help="Why, for the history.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Trusted: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--trusted-key", help="Public key (PEM) that bundles must be signed by; the registry's trial keys unless said."
    ),
]
SigningKeyFile: TypeAlias = Annotated[
    Path | None, typer.Option("--signing-key", help="Private key (PEM) to sign with; a trial key unless said.")
]


def open_registry(
    root: Path, name: str, trusted: list[Path] | None = None, signing: Path | None = None, *, make: bool = False
) -> FileRegistry:
    """The registry with the keys that were named, else with its trial keys; ``make`` allows to sign.

    Limits are those of the environment (`TOCSIN_BUNDLES__MAX_MODEL_MIB`), which the configuration reads too.
    """
    if root.exists() and not root.is_dir():
        raise RegistryError(f"{root}: is no folder; a registry is one")
    named = bool(trusted) or signing is not None
    keys = Keys.from_files(trusted or [], signing) if named else Keys.trial(root, make=make)
    return FileRegistry(root, name, keys, time.time, _limits())


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
    buffer: Annotated[Path | None, typer.Option("--buffer", help="The training buffer that it was made from.")] = None,
    by: By = None,
    reason: Reason = "",
    trusted_key: Trusted = None,
    signing_key: SigningKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Add your own model, in ONNX form, with a reference to compare with; the first version serves.

    Example: tocsin registry add --registry registry --name nids --onnx nids.onnx --reference flows.csv --label class
    """
    rows = ReferenceTable(reference, label, source, session, tuple(ignore or ()))
    with Busy(f"reading {reference.name} and the model"):
        made = own_model(rows, onnx=onnx, classes=_listed(classes), features=features, parent=parent, limits=_limits())
    kept = None if buffer is None else Buffer(buffer, label, source, session)
    keeper = open_registry(registry, name, trusted_key, signing_key, make=True)
    bundle = keeper.add(made.draft, made.files, by=by or user_name(), reason=reason, version=version, buffer=kept)
    if made.warning:
        typer.echo(f"warning: {made.warning}", err=True)
    manifest = bundle.manifest
    result = {
        "version": manifest.version,
        "classes": list(manifest.classes),
        "class_order": made.class_order,
        "features": len(manifest.features),
        "accuracy_on_reference": manifest.metrics.get("reference_accuracy"),
        "warning": made.warning,
        **_pointers(keeper.pointers()),
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
    keeper = open_registry(registry, name, trusted_key, signing_key, make=True)
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
        **_pointers(keeper.pointers()),
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
    rows = [
        {
            "version": version,
            "serving": version == now.serving,
            "last_known_good": version == now.last_known_good,
            "assumed": version == now.last_known_good and now.assumed,
            "added_by": added[version].by if version in added else None,
            "reason": added[version].reason if version in added else None,
        }
        for version in keeper.versions()
    ]
    show(rows, as_json=as_json, text=table(rows) if rows else f"model {name!r} has no versions in {registry}")


@app.command("show")
def show_version(
    registry: Root, name: Name, version: Version = None, trusted_key: Trusted = None, *, as_json: AsJson = False
) -> None:
    """Show a version: classes, features, digests, lineage, and every move of the pointers to it.

    Example: tocsin registry show --registry registry --name nids --version 2
    """
    keeper = open_registry(registry, name, trusted_key)
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
        "features": {f.name: f.kind for f in manifest.features},
        "metrics": manifest.metrics,
        "lineage": manifest.lineage,
        "files": manifest.files,
        "history": history,
        **_pointers(keeper.pointers()),
    }
    show(result, as_json=as_json)


@app.command()
def verify(
    registry: Root,
    name: Name,
    version: Annotated[str | None, typer.Option("--version", help="The version; all of them unless said.")] = None,
    trusted_key: Trusted = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Check every digest and signature of a version, or of all versions and whether the history accounts for pointers.

    Example: tocsin registry verify --registry registry --name nids
    """
    keeper = open_registry(registry, name, trusted_key)
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


@app.command("gc")
def collect(
    *,
    registry: Root,
    name: Name,
    newest: Annotated[int, typer.Option("--newest", min=0, help="Keep so many of the newest versions.")] = 10,
    state: Annotated[
        Path | None, typer.Option("--state", help="The daemon's state folder: what open incidents name is kept.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it is only said what would be removed.")] = False,
    by: By = None,
    trusted_key: Trusted = None,
    as_json: AsJson = False,
) -> None:
    """Remove versions that nothing needs: all but what serves, last known good, those of open incidents, the newest.

    Names of removed versions are never given again, and the history stays. Give --state where a daemon watches the
    model.

    Example: tocsin registry gc --registry registry --name nids --newest 10 --state state --yes
    """
    keeper = open_registry(registry, name, trusted_key)
    needed = versions_named(open_incidents(state), name) if state is not None else set()
    going = moves.overdue(keeper.versions(), keeper.pointers(), needed, newest)
    for version in going if yes else ():
        keeper.remove(version, by=by or user_name(), reason=f"beyond the newest {newest}, and nothing needs it")
    kept = [version for version in keeper.versions() if version not in going]
    done = "removed" if yes else "would be removed (--yes does it)"
    text = f"{', '.join(going) or 'nothing'} {done}; kept: {', '.join(kept)}"
    show({"removed" if yes else "removable": going, "kept": kept}, as_json=as_json, text=text)


@app.command()
def promote(
    *,
    registry: Root,
    name: Name,
    version: Annotated[str, typer.Option("--version", help="The version that is to serve.", show_default=False)],
    by: By = None,
    reason: Reason = "",
    trusted_key: Trusted = None,
    known_good: Annotated[
        bool, typer.Option("--known-good", help="Vouch for it: last known good moves to it too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let a version serve, after verifying it.

    Example: tocsin registry promote --registry registry --name nids --version 2 --known-good --reason "gate passed"
    """
    keeper = open_registry(registry, name, trusted_key)
    moved = keeper.promote(
        version, expected=keeper.pointers().serving, known_good=known_good, by=by or user_name(), reason=reason
    )
    show(_pointers(moved), as_json=as_json)


@app.command()
def rollback(
    *,
    registry: Root,
    name: Name,
    by: By = None,
    reason: Reason = "",
    trusted_key: Trusted = None,
    as_json: AsJson = False,
) -> None:
    """Let the last known good version serve again, after verifying it.

    Example: tocsin registry rollback --registry registry --name nids --reason "incident 4f2a"
    """
    keeper = open_registry(registry, name, trusted_key)
    moved = keeper.rollback(expected=keeper.pointers().serving, by=by or user_name(), reason=reason)
    show(_pointers(moved), as_json=as_json)


def serving(keeper: FileRegistry, name: str) -> str:
    """The version that serves; a usage error where there is none."""
    version = keeper.pointers().serving
    if version is None:
        how = "promote one with: tocsin registry promote" if keeper.versions() else "add one with: tocsin registry add"
        raise typer.BadParameter(f"no version of {name!r} serves; {how}", param_hint="--name")
    return version


def _limits() -> BundleLimits:
    """Those of the environment."""
    return load_config(None, os.environ).bundles.limits()


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _listed(names: str | None) -> list[str] | None:
    return None if names is None else [part.strip() for part in names.split(",")]


def _pointers(now: Pointers) -> dict[str, Any]:
    return {"serving": now.serving, "last_known_good": now.last_known_good, "assumed": now.assumed}
