"""`tocsin keys`: the keys that bundles and audit checkpoints are signed with, and which of them are trusted."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from monitor.cli.output import show, table
from monitor.cli.who import user_name
from monitor.settings.config import load_config
from rollback.signing.keys import KeyFileError, PublicKey, new_signing_key, place, read_public_key
from rollback.signing.trust_list import TrustedKey, TrustList, added, read_trust_list, revoked, write_trust_list

app = typer.Typer(no_args_is_help=True)

TrustFile: TypeAlias = Annotated[
    Path, typer.Option("--trust", help="The list of trusted keys (JSON); signing.trusted_keys names it.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Days: TypeAlias = Annotated[
    int | None, typer.Option("--days", min=1, help="What it signs later than so many days from now is not believed.")
]


@app.callback()
def keys() -> None:
    """Make, list, trust and revoke the keys that bundles and audit checkpoints are signed with."""


@app.command()
def generate(
    out: Annotated[Path, typer.Option("--out", help="Folder for the two files.", show_default=False)],
    name: Annotated[str, typer.Option("--name", help="What the files are called.")] = "signing",
    trust: Annotated[Path | None, typer.Option("--trust", help="A list of trusted keys to add it to.")] = None,
    days: Days = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Make a key pair: NAME.pem (keep it secret, signing.key_file) and NAME.pub.pem (signing.trusted_keys).

    Example: tocsin keys generate --out keys --name soc-2026 --trust keys/trust.json --days 400
    """
    private, public = out / f"{name}.pem", out / f"{name}.pub.pem"
    if there := [str(path) for path in (private, public) if path.exists()]:
        raise KeyFileError(f"{', '.join(there)}: is there already; a key is never overwritten, choose another --name")
    key = new_signing_key()
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    place(private, key.pem(), mode=0o600)
    place(public, key.public.pem(), mode=0o644)
    if trust is not None:
        _add(trust, key.public, name, datetime.now(UTC), days)
    told = {"key_id": key.public.key_id, "private": str(private), "public": str(public)}
    show(told, as_json=as_json)


@app.command("trust")
def trust_key(
    public: Annotated[Path, typer.Argument(help="A public key (PEM).", show_default=False)],
    trust: TrustFile,
    name: Annotated[str, typer.Option("--name", help="Whose it is.")] = "",
    days: Days = None,
) -> None:
    """Add a public key to a list of trusted keys.

    Example: tocsin keys trust keys/ml-team.pub.pem --trust keys/trust.json --name "ML team" --days 400
    """
    key = read_public_key(public)
    _add(trust, key, name or public.name.removesuffix(".pub.pem"), None, days)
    typer.echo(f"key {key.key_id} is trusted")


@app.command("list")
def list_keys(
    trust: Annotated[Path | None, typer.Option("--trust", help="A list of trusted keys.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A configuration: its signing.trusted_keys.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List trusted keys: from when until when what they sign is believed, and which are revoked.

    Example: tocsin keys list --config tocsin.yaml
    """
    if (trust is None) == (config is None):
        raise typer.BadParameter("give either --trust or --config", param_hint="--trust")
    files = [trust] if trust is not None else load_config(config, os.environ).signing.trusted_keys
    rows = [row for path in files if path is not None for row in _rows(path)]
    show(rows, as_json=as_json, text=table(rows) if rows else "no key is trusted")


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="Its id, the first letters of it, or its name.")],
    trust: TrustFile,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.", show_default=False)],
    by: Annotated[str | None, typer.Option("--by", help="Who revokes it; your user name unless said.")] = None,
) -> None:
    """Revoke a key: nothing that it signed is believed any more, whenever it says it was signed.

    A daemon notes it, and believes it when it is started again. Versions that only this key has signed are then
    refused: add them anew. Where it signed the audit log: tocsin audit reseal.

    Example: tocsin keys revoke 4f2a --trust keys/trust.json --reason "laptop stolen"
    """
    entries = revoked(read_trust_list(trust), key_id, datetime.now(UTC), by or user_name(), reason)
    write_trust_list(trust, entries)
    typer.echo(f"{sum(entry.revoked_at is not None for entry in entries.keys)} of {len(entries.keys)} keys are revoked")


def _add(trust: Path, key: PublicKey, name: str, valid_from: datetime | None, days: int | None) -> None:
    until = None if days is None else datetime.now(UTC) + timedelta(days=days)
    new = TrustedKey(key_id=key.key_id, public=key.raw.hex(), name=name, valid_from=valid_from, valid_until=until)
    write_trust_list(trust, added(read_trust_list(trust) if trust.exists() else TrustList(), new))


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix != ".json":
        return [{"key_id": read_public_key(path).key_id, "name": "", "state": "valid", "from": None, "until": None}]
    return [
        {
            "key_id": entry.key_id,
            "name": entry.name,
            "state": entry.state(datetime.now(UTC)),
            "from": _time(entry.valid_from),
            "until": _time(entry.valid_until),
        }
        for entry in read_trust_list(path).keys
    ]


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")
