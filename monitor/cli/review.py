"""`tocsin review`: what retraining has held back, and what a person decides about it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from monitor.cli.output import show
from monitor.cli.registry_options import (
    AsJson,
    By,
    Name,
    Reason,
    Root,
    SigningKeyFile,
    State,
    Trusted,
    open_registry,
    registry_keys,
    require_model,
)
from monitor.cli.who import user_name
from monitor.review_page import html_page, page
from monitor.reviews import FOLDER, Decision, Reviews, held_slice, read_evidence
from rollback.durable import replace_file
from rollback.registry.file import FileRegistry
from rollback.trust.weights import NOBODY

app = typer.Typer(no_args_is_help=True)

Key: TypeAlias = Annotated[
    str,
    typer.Argument(help="CANDIDATE/SLICE as `review list` shows it, or CANDIDATE for all of it.", show_default=False),
]


@app.callback()
def review() -> None:
    """Show and decide what a retraining has held back, and see how far suppliers are trusted."""


@app.command("list")
def list_held(
    *,
    registry: Root,
    name: Name,
    everything: Annotated[bool, typer.Option("--all", help="Also what is decided.")] = False,
    trusted_key: Trusted = None,
    state: State = None,
    as_json: AsJson = False,
) -> None:
    """List candidates and the slices that were held back from them.

    Example: tocsin review list --registry registry --name nids
    """
    keeper, reviews = _open(registry, name, trusted_key, None, state)
    decided = {each.key: each.decision for each in reviews.decisions()}
    found: list[dict[str, Any]] = []
    for version in keeper.versions():
        bundle = keeper.load(version)
        held = read_evidence(bundle)
        for piece in held.slices if held is not None else ():
            key = f"{version}/{piece.number}"
            if everything or key not in decided:
                found.append(
                    {"key": key, "gate": bundle.manifest.gate.get("result"), "rows": len(piece.members),
                     "label": piece.label, "holds": piece.holds, "why": piece.why, "decided": decided.get(key)}
                )  # fmt: skip
    lines = [
        f"{each['key']}  {each['rows']} rows labelled {each['label']}, "
        f"{each['decided'] + 'ed' if each['decided'] else 'not decided'}\n  {each['why']}"
        for each in found
    ]
    show(found, as_json=as_json, text="\n".join(lines) or "nothing is held back")


@app.command("show")
def show_held(
    key: Key,
    *,
    registry: Root,
    name: Name,
    html: Annotated[Path | None, typer.Option("--html", help="Write the page as HTML to this file.")] = None,
    trusted_key: Trusted = None,
    state: State = None,
) -> None:
    """Print the page about a held slice: its rows, why it is held, who supplied it, what would change.

    Example: tocsin review show 4/1 --registry registry --name nids --html slice.html
    """
    keeper, reviews = _open(registry, name, trusted_key, None, state)
    bundle, found, piece = held_slice(keeper, key)
    pieces = found.slices if piece is None else (piece,)
    candidate = bundle.manifest.version
    decided = {each.key: f"{each.decision}ed by {each.by}: {each.reason}" for each in reviews.decisions()}
    reputation = reviews.reputation()
    pages = [
        page(own, each, decided.get(own, ""), reputation) for each in pieces if (own := f"{candidate}/{each.number}")
    ]
    text = "\n".join(pages) or f"nothing of candidate {candidate} is held back\n"
    if html is not None:
        replace_file(html, html_page(key, text).encode())
    typer.echo(text, nl=False)


@app.command()
def accept(
    key: Key,
    *,
    registry: Root,
    name: Name,
    by: By = None,
    reason: Reason = "",
    trusted_key: Trusted = None,
    signing_key: SigningKeyFile = None,
    state: State = None,
) -> None:
    """Accept a held slice: its rows, and no others, are trained on from now on. Or a candidate: nothing is promoted.

    Example: tocsin review accept 4/1 --registry registry --name nids --reason "the new backup job"
    """
    _decide(_open(registry, name, trusted_key, signing_key, state), key, "accept", by, reason)


@app.command()
def reject(
    key: Key,
    *,
    registry: Root,
    name: Name,
    by: By = None,
    reason: Reason = "",
    trusted_key: Trusted = None,
    signing_key: SigningKeyFile = None,
    state: State = None,
) -> None:
    """Reject a held slice: its rows stay out for good. Or a candidate: it goes into quarantine.

    Example: tocsin review reject 4/1 --registry registry --name nids --reason "not what the label says"
    """
    _decide(_open(registry, name, trusted_key, signing_key, state), key, "reject", by, reason)


@app.command("reputation")
def show_reputation(
    *, registry: Root, name: Name, trusted_key: Trusted = None, state: State = None, as_json: AsJson = False
) -> None:
    """Show how far suppliers are trusted, and by which audited outcomes.

    Example: tocsin review reputation --registry registry --name nids
    """
    _, reviews = _open(registry, name, trusted_key, None, state)
    known = reviews.reputation()
    now = known.latest
    found = [
        {"kind": kind, "name": supplier, "trust": round(known.trust(kind, supplier, now), 4),
         "outcomes": [{"at": o.at, "good": o.good, "bad": o.bad, "why": o.why}
                      for o in known.outcomes if (o.kind, o.name) == (kind, supplier)]}
        for kind, supplier in known.suppliers()
    ]  # fmt: skip
    lines = [f"{each['kind']} {each['name']}: {each['trust']:.2f}" for each in found]
    lines.append(f"anybody else: {known.trust('source', NOBODY, now):.2f}")
    show(found, as_json=as_json, text="\n".join(lines))


def _open(
    root: Path, name: str, trusted: list[Path] | None, signing: Path | None, state: Path | None
) -> tuple[FileRegistry, Reviews]:
    keeper = open_registry(root, name, trusted, signing, state=state)
    require_model(root, name)
    return keeper, Reviews(root / name / FOLDER, registry_keys(root, trusted, signing), time.time)


def _decide(opened: tuple[FileRegistry, Reviews], key: str, decision: Decision, by: str | None, reason: str) -> None:
    keeper, reviews = opened
    who = (by or user_name()).strip()
    bundle, found, piece = held_slice(keeper, key)
    candidate = bundle.manifest.version
    if piece is not None:
        decided = reviews.decide_slice(candidate, piece, decision, who, reason)
        typer.echo(
            f"{decided.key} is {decision}ed, says {who}: {len(decided.rows)} rows, by their content\n"
            f"Retrain again with another --out and: --decisions {reviews.decisions_file}"
        )
        return
    reviews.decide_candidate(candidate, found, decision, who, reason)
    if decision == "reject":
        keeper.quarantine(candidate, by=who, reason=reason or "rejected in a review")
    then = "it is in quarantine" if decision == "reject" else "tocsin registry promote makes it serve"
    typer.echo(f"candidate {candidate} is {decision}ed, says {who}: {then}")
