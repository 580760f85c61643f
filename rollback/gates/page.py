"""What the gate says as one page for a person: HTML without scripts and without anything from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final, Protocol

from rollback.gates.check import Check, Figure, Skipped

WIDTH: Final = 200
HEIGHT: Final = 12
SAID: Final = {
    "passed": "The candidate passes the gate.",
    "rejected": "The candidate does not pass the gate.",
    "vetting": "The candidate is held: a person has to decide first.",
}
STYLE: Final = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;"
    "color:#222;background:#fff}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.35rem .6rem;"
    "border-bottom:1px solid #ddd}td.n{text-align:right;font-variant-numeric:tabular-nums}small{color:#555}"
    ".bad{color:#a40000;font-weight:600}.held{color:#8a5a00;font-weight:600}.good{color:#1b6e1b}"
)


class Said(Protocol):
    """What a page is made of."""

    @property
    def checks(self) -> Sequence[Check]:
        """What decides."""

    @property
    def figures(self) -> Sequence[Figure]:
        """What is shown."""

    @property
    def skipped(self) -> Sequence[Skipped]:
        """What did not run."""

    @property
    def remarks(self) -> Sequence[str]:
        """What else is to be known."""

    @property
    def error_budget(self) -> float | None:
        """How often all checks together fail a clean candidate."""


def page(title: str, result: str, said: Said) -> str:
    """The whole page."""
    budget = ""
    if said.error_budget is not None:
        budget = f"<p>All checks together fail a clean candidate in about {said.error_budget:.1%} of cases.</p>"
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>',
        f"<h1>{escape(title)}</h1><p><strong>{escape(SAID.get(result, result))}</strong></p>{budget}",
        _listed("Remarks", [f"<li>{escape(remark)}" for remark in said.remarks], "ul"),
        _listed("Checks", [_check(c) for c in sorted(said.checks, key=lambda c: c.passed)], "table", CHECKS),
        _listed("Figures that decide nothing", [_figure(f) for f in said.figures], "table"),
        _listed("Not run", [_skipped(s) for s in said.skipped], "table"),
        "</html>\n",
    ]
    return "\n".join(part for part in parts if part)


CHECKS: Final = "<tr><th>Check<th><th>Value<th>Limit<th>Error rate<th>"


def _listed(heading: str, lines: Sequence[str], kind: str, head: str = "") -> str:
    return f"<h2>{heading}</h2><{kind}>{head}{''.join(lines)}</{kind}>" if lines else ""


def _check(check: Check) -> str:
    state, word = ("good", "passed") if check.passed else ("bad", "failed")
    if not check.passed and check.failing == "holds":
        state, word = "held", "holds"
    rate = "none" if check.error_rate is None else f"{check.error_rate:.2%}"
    return (
        f'<tr><td>{escape(check.name)}<br><small>{escape(check.why)}</small><td class="{state}">{word}'
        f'<td class="n">{number(check.value)}<td class="n">{number(check.limit)}<td class="n">{rate}<td>{bar(check)}'
    )


def _figure(figure: Figure) -> str:
    value = number(figure.value)
    return f'<tr><td>{escape(figure.name)}<br><small>{escape(figure.why)}</small><td class="n">{value}'


def _skipped(skipped: Skipped) -> str:
    return f"<tr><td>{escape(skipped.name)}<td>{escape(skipped.reason)}<td>to run it: {escape(skipped.give)}"


def number(value: float) -> str:
    """Four digits, as a person reads them.

    >>> number(0.012345), number(float("nan"))
    ('0.01235', 'no number')
    """
    return f"{value:.4g}" if math.isfinite(value) else "no number"


def bar(check: Check) -> str:
    """The value as a bar and the limit as a line, on a scale from 0 to the larger of both."""
    value, limit = (max(v, 0.0) if math.isfinite(v) else 0.0 for v in (check.value, check.limit))
    most = max(value, limit) * 1.1 or 1.0
    colour = "#4a7a4a" if check.passed else "#b03030"
    x = WIDTH * limit / most
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="value {number(check.value)}, limit '
        f'{number(check.limit)}"><rect width="{WIDTH}" height="{HEIGHT}" fill="#eee"/>'
        f'<rect width="{WIDTH * value / most:.1f}" height="{HEIGHT}" fill="{colour}"/>'
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}" stroke="#000" stroke-width="2"/></svg>'
    )
