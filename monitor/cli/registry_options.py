"""What the commands that use a registry have in common: options, opening it, telling its pointers."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from monitor.settings.config import load_config
from rollback.audit.anchors import Anchors
from rollback.audit.log import FILE_NAME, read_while_written
from rollback.benign import BenignClassError
from rollback.limits import BundleLimits
from rollback.registry.file import FileRegistry, Trust
from rollback.registry.registry import Pointers, RegistryError
from rollback.signing.keys import TRIAL_FOLDER, Keys
from rollback.signing.trust_list import keys_from_files
from rollback.train.recipe import Device

Root: TypeAlias = Annotated[Path, typer.Option("--registry", help="The registry's folder.", show_default=False)]
RecipeName: TypeAlias = Annotated[str, typer.Option("--recipe", help="How to train: a name, or a recipe file.")]
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
BenignClass: TypeAlias = Annotated[
    str | None,
    typer.Option("--benign", help="The class that lets things pass; that of the parent version unless said."),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Trusted: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--trusted-key", help="Public key (PEM) that bundles must be signed by; the registry's trial keys unless said."
    ),
]
State: TypeAlias = Annotated[
    Path | None,
    typer.Option("--state", help="The daemon's state folder: versions must be what its audit log saw first."),
]
SigningKeyFile: TypeAlias = Annotated[
    Path | None, typer.Option("--signing-key", help="Private key (PEM) to sign with; a trial key unless said.")
]


def open_registry(
    root: Path,
    name: str,
    trusted: list[Path] | None = None,
    signing: Path | None = None,
    *,
    make: bool = False,
    unsigned: Collection[str] = (),
    state: Path | None = None,
) -> FileRegistry:
    """The registry with the keys that were named, else with its trial keys; ``make`` allows to sign.

    Versions that are ``unsigned`` are believed without a signature. With the ``state`` folder of a daemon versions and
    history must be what its audit log holds of them. Limits are those of the environment
    (`TOCSIN_BUNDLES__MAX_MODEL_MIB`), which the configuration reads too. Raises `RegistryError` and `AuditError`.
    """
    if root.exists() and not root.is_dir():
        raise RegistryError(f"{root}: is no folder; a registry is one")
    named = bool(trusted) or signing is not None
    keys = keys_from_files(trusted or [], signing) if named else Keys.trial(root, make=make)
    if state is None:
        return FileRegistry(root, name, keys, time.time, Trust(unsigned=unsigned), bundle_limits())
    anchors = Anchors(read_while_written(_audit_log(state)))
    trust = Trust(anchors.of(name), unsigned, partial(anchors.rewritten, name))
    keeper = FileRegistry(root, name, keys, time.time, trust, bundle_limits())
    keeper.trusted_history()
    return keeper


def require_model(root: Path, name: str) -> None:
    """Raises `RegistryError` for a model that is not there, before anything is made for a mistyped name."""
    if (root / name).is_dir():
        return
    there = sorted(each.name for each in root.iterdir() if (each / "history.ndjson").exists()) if root.is_dir() else []
    what = f"there are: {', '.join(there)}" if there else "tocsin train or tocsin registry add makes one"
    raise RegistryError(f"{root / name}: there is no such model; {what}")


def registry_keys(root: Path, trusted: list[Path] | None = None, signing: Path | None = None) -> Keys | None:
    """The keys of a registry for what lies beside it, such as a training store; None where there are none.

    Trial keys that exist may sign; none are made. Raises `rollback.signing.keys.KeyFileError`.
    """
    if trusted or signing is not None:
        return keys_from_files(trusted or [], signing)
    keys = Keys.trial(root, make=(root / TRIAL_FOLDER / "signing.pem").exists())
    return keys if keys.trusted else None


def _audit_log(state: Path) -> Path:
    path = state / FILE_NAME
    if not path.is_file():
        raise RegistryError(f"{path}: there is no audit log; --state wants the state_dir of the daemon")
    return path


def bundle_limits() -> BundleLimits:
    """Those of the environment."""
    return load_config(None, os.environ).bundles.limits()


def serving(keeper: FileRegistry, name: str) -> str:
    """The version that serves; a usage error where there is none."""
    version = keeper.pointers().serving
    if version is None:
        how = "promote one with: tocsin registry promote" if keeper.versions() else "add one with: tocsin registry add"
        raise typer.BadParameter(f"no version of {name!r} serves; {how}", param_hint="--name")
    return version


def carried_benign(named: str | None, keeper: FileRegistry, parent: str | None) -> str | None:
    """The class that lets things pass: as it was ``named``, else as the parent's manifest has it."""
    if named is not None or parent is None or parent not in keeper.versions():
        return named
    return keeper.load(parent).manifest.named_benign


@contextmanager
def benign_named() -> Iterator[None]:
    """A name that is no class is a usage error of --benign."""
    try:
        yield
    except BenignClassError as error:
        raise typer.BadParameter(str(error), param_hint="--benign") from error


def told(now: Pointers) -> dict[str, Any]:
    """The pointers, as commands print them."""
    return {"serving": now.serving, "last_known_good": now.last_known_good, "assumed": now.assumed}
