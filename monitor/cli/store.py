"""`tocsin store`: labelled rows that are kept for training, whom the operator trusts among them, and their export."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer

from monitor.cli.output import show
from monitor.cli.registry_options import AsJson, By, Reason
from monitor.cli.store_build import build
from monitor.cli.who import user_name
from rollback.signing.keys import Keys
from rollback.signing.trust_list import keys_from_files
from rollback.store.fill import Roles, rows_of_table
from rollback.store.row import Row, label_of
from rollback.store.segments import StoreError, check
from rollback.store.store import Name, Store
from rollback.store.table import LABEL, ROLES, store_chunks
from rollback.tables.chunks import read_chunks
from rollback.tables.table import read_table, write_table

LONGEST: Final = 20

app = typer.Typer(no_args_is_help=True)
app.command("build")(build)

Folder: TypeAlias = Annotated[Path, typer.Option("--store", help="The store's folder.", show_default=False)]
Column: TypeAlias = str | None
TrustedKeys: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option("--trusted-key", help="Public key (PEM) that entries must be signed by; unless said, no one's."),
]
SigningKey: TypeAlias = Annotated[
    Path | None, typer.Option("--signing-key", help="Private key (PEM) to sign the entry with; not signed unless said.")
]


@app.callback()
def store() -> None:
    """Keep labelled rows for training, and say whom of their suppliers to trust."""


@app.command()
def add(
    folder: Folder,
    data: Annotated[Path, typer.Option("--data", help="CSV, Parquet or NDJSON.", show_default=False)],
    label: Annotated[str, typer.Option("--label", help="The column of classes.", show_default=False)],
    ident: Annotated[Column, typer.Option("--id", help="The column of ids; a row's digest without.")] = None,
    ts: Annotated[Column, typer.Option("--ts", help="The column of event times, in seconds.")] = None,
    source: Annotated[Column, typer.Option("--source", help="The column of sensors or tenants.")] = None,
    origin: Annotated[Column, typer.Option("--origin", help="The column of who gave the label.")] = None,
    session: Annotated[Column, typer.Option("--session", help="The column that ties rows of one session.")] = None,
    ignore: Annotated[list[str] | None, typer.Option("--ignore", help="A column that is no feature.")] = None,
    channel: Annotated[str, typer.Option("--channel", help="The origin of rows that name none.")] = "file",
    by: By = None,
    trusted_key: TrustedKeys = None,
    signing_key: SigningKey = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Add the rows of a file. Nobody is trusted by that: see `tocsin store trust`.

    Example: tocsin store add --store store --data rows.csv --label label --id id --ts ts --source source
    """
    roles = Roles(label, ident, ts, source, origin, session, tuple(ignore or ()), channel)
    text = [name for name in (ident, source, origin, session) if name is not None]
    who = by or user_name()

    def rows() -> Iterator[Row]:
        for table in read_chunks(data, text):
            yield from rows_of_table(table, roles, who)

    count = _open(folder, trusted_key, signing_key).append(rows(), time.time)
    show({"added": count, "store": str(folder)}, as_json=as_json, text=f"{count} rows were added to {folder}")


@app.command()
def trust(
    folder: Folder,
    rows: Annotated[
        Path | None, typer.Option("--rows", help="A table with the column id (and digest) of rows to trust.")
    ] = None,
    origin: Annotated[str, typer.Option("--origin", help="Trust every label of this origin.")] = "",
    withdraw: Annotated[str, typer.Option("--withdraw", help="Trust this origin, or file of rows, no longer.")] = "",
    by: By = None,
    reason: Reason = "",
    trusted_key: TrustedKeys = None,
    signing_key: SigningKey = None,
) -> None:
    """Name the trusted base: rows, or an origin whose labels are believed. Who named it and when is recorded.

    Example: tocsin store trust --store store --origin analyst --reason "labels by hand, in the lab"
    """
    keeper, who = _open(folder, trusted_key, signing_key), by or user_name()
    if withdraw:
        known = {t.file for t in keeper.index().trusts}
        named = {"file": withdraw} if withdraw in known else {"origin": withdraw}
        keeper.withdraw(**named, by=who, reason=reason, clock=time.time)
        typer.echo(f"{withdraw} is no longer trusted")
        return
    names = [] if rows is None else _named(keeper, rows)
    if origin and not _gives(keeper, origin):
        typer.echo(f"note: no row has a label of origin {origin} so far; tocsin store show lists the origins", err=True)
    keeper.trust(origin=origin, rows=names, by=who, reason=reason, clock=time.time)
    typer.echo(f"trusted, says {who}: {f'the labels of origin {origin}' if origin else f'{len(names)} rows'}")


@app.command("show")
def show_store(folder: Folder, trusted_key: TrustedKeys = None, *, as_json: AsJson = False) -> None:
    """Show what a store holds: rows, origins, labels, whom the operator trusts.

    Example: tocsin store show --store store
    """
    keeper = _open(folder, trusted_key, None)
    index = keeper.index()
    counts: dict[str, dict[str, int]] = {name: {} for name in (LABEL, "origin", "source", "trusted", "disputed")}
    total = 0
    known = keeper.survey(index)
    for table in store_chunks(keeper, index, survey=known):
        total += len(table)
        for name, found in counts.items():
            for value in table.strings(name).tolist():
                found[value] = found.get(value, 0) + 1
    facts: dict[str, Any] = {
        "rows": total,
        "segments": len(index.segments),
        "conflicts": known.conflicts,
        "head": index.head,
        "signed": index.signed,
        "trusted": [
            {"origin": t.origin, "rows": t.file, "by": t.by, "at": t.at, "reason": t.reason} for t in index.trusts
        ],
        "counts": {name: dict(sorted(found.items(), key=lambda p: (-p[1], p[0]))) for name, found in counts.items()},
    }
    show(facts, as_json=as_json, text=_text(facts))


@app.command()
def verify(folder: Folder, trusted_key: TrustedKeys = None, *, as_json: AsJson = False) -> None:
    """Check every segment against the index, the index's chain, and with --trusted-key its signature.

    Example: tocsin store verify --store store --trusted-key registry/.keys/signing.pub.pem
    """
    index = _open(folder, trusted_key, None).index()
    if trusted_key and index.signed is None:
        raise StoreError(f"{folder}: is not signed: there is nothing that --trusted-key could check")
    for file in [*(s.file for s in index.segments), *(t.file for t in index.trusts if t.file)]:
        check(folder, file)
    signed = "no signature was checked" if index.signed is None else f"{index.signed} entries are signed"
    text = f"{folder}: {len(index.segments)} segments are what they were; {signed}"
    show({"verified": True, "segments": len(index.segments), "signed": index.signed}, as_json=as_json, text=text)


@app.command()
def export(
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", help="The table to write: Parquet, CSV or NDJSON.", show_default=False)],
    trusted_key: TrustedKeys = None,
) -> None:
    """Write the rows with the labels that hold, for `tocsin train` or other tools; all rows are in memory.

    Example: tocsin store export --store store --out rows.parquet
    """
    keeper = _open(folder, trusted_key, None)
    parts = list(store_chunks(keeper, keeper.index()))
    if not parts:
        raise StoreError(f"{folder}: holds no rows")
    names = [*ROLES, *(name for name in parts[0].columns if name not in ROLES)]
    write_table(out, {name: _joined([part.columns[name] for part in parts]) for name in names})
    typer.echo(f"{out}: {sum(map(len, parts))} rows")


def _open(folder: Path, trusted: list[Path] | None, signing: Path | None) -> Store:
    keys: Keys | None = keys_from_files(trusted or [], signing) if trusted or signing else None
    return Store(folder, keys)


def _gives(keeper: Store, origin: str) -> bool:
    """Whether any row has a label of that origin."""
    return any(label.origin == origin for row in keeper.rows() for label in row.labels)


def _named(keeper: Store, path: Path) -> list[Name]:
    """The rows that a file names, as the store holds them. Raises `StoreError` for what is not one row with a label."""
    table, index = read_table(path, text=["id", "digest"]), keeper.index()
    wanted: dict[str, str] = {}
    digests = table.strings("digest").tolist() if "digest" in table.columns else [""] * len(table)
    for ident, digest in zip(table.strings("id").tolist(), digests, strict=True):
        if digest != wanted.setdefault(ident, digest):
            raise StoreError(f"{path}: names row {ident!r} twice, with two digests; a store holds one row of an id")
    held = {row.id: row for row in keeper.rows(index) if row.id in wanted}
    twice = keeper.taken_twice(index, {ident for ident, digest in wanted.items() if not digest})
    for ident, digest in wanted.items():
        if ident not in held:
            raise StoreError(f"{path}: the store holds no row {ident!r}")
        if digest not in ("", held[ident].digest):
            raise StoreError(f"{path}: row {ident!r} of the store is not the one that is meant: its digest differs")
        if ident in twice:
            raise StoreError(f"{path}: other rows came under the id {ident!r} too; say which by a column digest")
    said = {ident: label_of(held[ident], index.origins) for ident in wanted}
    bare = next((ident for ident, label in said.items() if label is None), None)
    if bare is not None:
        raise StoreError(f"{path}: row {bare!r} has no label that could be trusted")
    return [Name(ident, held[ident].digest, s.label) for ident, s in said.items() if s is not None]


def _joined(parts: list[Any]) -> Any:
    import numpy as np  # noqa: PLC0415 - one call; commands start fast without it

    return np.concatenate(parts)


def _text(facts: dict[str, Any]) -> str:
    lines = [f"{facts['rows']} rows in {facts['segments']} segments, {facts['conflicts']} conflicts"]
    for name, found in facts["counts"].items():
        shown = ", ".join(f"{value or '(none)'} {count}" for value, count in list(found.items())[:LONGEST])
        more = f", and {len(found) - LONGEST} others" if len(found) > LONGEST else ""
        lines.append(f"{name}: {shown}{more}")
    for each in facts["trusted"]:
        what = f"origin {each['origin']}" if each["origin"] else f"rows {each['rows']}"
        lines.append(f"the operator trusts {what} (said {each['by']}: {each['reason'] or 'no reason given'})")
    if not facts["trusted"]:
        lines.append("nobody is trusted: name the trusted base with tocsin store trust")
    return "\n".join(lines)
