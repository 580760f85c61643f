"""`tocsin registry export`: a version as a plain folder, for tools that know nothing of Tocsin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.output import show
from monitor.cli.registry_options import AsJson, Name, Root, State, Trusted, Version, open_registry, serving
from rollback.durable import sync_folder, write_new
from rollback.registry.registry import RegistryError
from rollback.signing.openssf import sign


def export(
    *,
    registry: Root,
    name: Name,
    out: Annotated[Path, typer.Option("--out", help="A folder to make.", show_default=False)],
    version: Version = None,
    openssf_key: Annotated[
        Path | None,
        typer.Option("--openssf-key", help="Private key (PEM, elliptic curve): sign the folder as OpenSSF does."),
    ] = None,
    trusted_key: Trusted = None,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """Write a version's files to a new folder, after verifying them; with a key, an OpenSSF signature as OUT.sig.

    Example: tocsin registry export --registry registry --name nids --version 2 --out nids-2 --openssf-key ec.pem
    """
    keeper = open_registry(registry, name, trusted_key, state=state)
    bundle = keeper.verify(serving(keeper, name) if version is None else version)
    signature = out.with_name(f"{out.name}.sig")
    if there := [str(path) for path in (out, signature) if path.exists()]:
        raise RegistryError(f"{', '.join(there)}: is there already; choose another --out")
    out.mkdir(parents=True)
    for file, content in bundle.files.items():
        write_new(out / file, content)
    sync_folder(out)
    if openssf_key is not None:
        sign(out, signature, openssf_key)
    told = {"version": bundle.manifest.version, "files": sorted(bundle.files), "out": str(out)}
    show(told | ({} if openssf_key is None else {"signature": str(signature)}), as_json=as_json)
