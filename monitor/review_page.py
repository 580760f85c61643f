"""The page about a held slice: what a person should see before deciding, as text and as HTML."""

from __future__ import annotations

import html
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from monitor.incidents.explain import printable
from rollback.retraining.evidence import HeldSlice
from rollback.trust.reputation import Reputation

MOST_SUPPLIERS: Final = 10
STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
    "pre{background:#f4f4f4;padding:1em;overflow-x:auto}"
)
DECIDE: Final = (
    "Decide with tocsin review accept or reject, and --reason; then retrain again with --decisions. What cannot be "
    "known from the rows is whether they are what their label says: look at some of them where they came from."
)


def page(key: str, piece: HeldSlice, decided: str, reputation: Reputation) -> str:
    """One page of text. Whatever an attacker may have written in it is made printable."""
    now = piece.last if piece.last is not None else reputation.latest
    lines = [
        f"Held slice {key}: {len(piece.members)} rows labelled {piece.label}",
        f"Decided: {decided or 'not yet'}",
        "",
        "Why it is held",
        f"  {piece.why}",
        f"  found by a score of {piece.score:.3g}; {_swap(piece)}",
        f"  what its rows share: {_pairs(piece.features)}",
        f"  {'the candidate waits for the decision' if piece.holds else 'the candidate does not wait for it'}",
        "",
        "Who supplied it (sessions, and how far they are trusted so far)",
        *_suppliers("source", piece.sources, reputation, now),
        *_suppliers("origin", piece.origins, reputation, now),
        f"  {_when(piece)}",
        "",
        "What would change if it were trained on",
        *_change(piece),
        "",
        f"Rows ({len(piece.samples)} of {len(piece.members)})",
    ]
    lines += [f"  {s.id} from {s.source}, label by {s.origin}: {_pairs(s.features)}" for s in piece.samples]
    lines += [
        "",
        DECIDE,
    ]
    return "\n".join(printable(line) for line in lines) + "\n"


def html_page(key: str, text: str) -> str:
    """The same in HTML, with nothing in it that could run."""
    title = html.escape(f"Held slice {key}")
    body = html.escape(text)
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head><body><h1>{title}</h1><pre>{body}</pre></body></html>\n'
    )


def _swap(piece: HeldSlice) -> str:
    if piece.swap is None:
        return "what its values do to a model was not measured"
    return (
        f"its values alone move {piece.swap:.0%} more of trusted rows of other classes to {piece.label} than without it"
    )


def _suppliers(kind: str, counts: Mapping[str, int], reputation: Reputation, now: float) -> list[str]:
    shown = list(counts.items())[:MOST_SUPPLIERS]
    lines = [f"  {kind} {name}: {n} sessions, trust {reputation.trust(kind, name, now):.2f}" for name, n in shown]
    return lines + ([f"  and {len(counts) - len(shown)} other {kind}s"] if len(counts) > len(shown) else [])


def _when(piece: HeldSlice) -> str:
    if piece.first is None or piece.last is None:
        return "when is not known: its rows have no time"
    first, last = (datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") for at in (piece.first, piece.last))
    return f"from {first} to {last}"


def _change(piece: HeldSlice) -> list[str]:
    change = piece.change
    if change is None:
        return ["  not measured: there are larger slices"]
    flips = ", ".join(f"{name}: {count}" for name, count in change.flips.items()) or "none"
    return [
        f"  of {change.rows} trusted rows that no training sees, these are decided otherwise: {flips}",
        f"  right without it: {change.right_without:.2%}, with it: {change.right_with:.2%}",
    ]


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{n}={v:.6g}" if isinstance(v, float) else f"{n}={v}" for n, v in values.items())
