"""The page: a template without logic, filled with what was found out; everything in it is escaped."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from monitor.report.contrasts import contrasts
from monitor.report.findings import importances, strengths, weights
from monitor.report.material import Material
from monitor.report.pictures import contrast_picture, course, importance_picture
from monitor.report.story import done, steps, timeline
from monitor.report.words import moment, name_of, shown

HERE: Final = Path(__file__).parent
MOST_ENTRIES: Final = 400
AUDIT: Final = {
    "verified": "The audit log is what was written: its chain of hashes and its signed checkpoint verify.",
    "chained": "The audit log's chain of hashes is whole; its signature was not checked.",
    "broken": "The audit log is NOT what was written. What follows may not be believed.",
    "missing": "There is no audit log here: nothing proves what was done.",
}


def render(found: Material, made: datetime, config: str = "") -> str:
    """The whole page. ``made`` is now, ``config`` the daemon's file where it is known."""
    last = found.last
    chart = importances(found.around, last)
    entries = timeline(found)
    four = contrasts(found.around)
    told = found.around.own[-1].verdict.reasons if found.around.own else []
    filled = {
        "title": f"Incident {found.uid[:8]}: {name_of(last.family, last.hypothesis)}",
        "css": Markup((HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - ours
        "last": last,
        "uid": found.uid,
        "made": made.isoformat(sep=" ", timespec="seconds"),
        "gaps": found.gaps,
        "steps": steps(found, config),
        "entries": entries[:MOST_ENTRIES],
        "more_entries": max(0, len(entries) - MOST_ENTRIES),
        "course": course(found.around),
        "contrasts": [(each, contrast_picture(each, n) if each.sides else "") for n, each in enumerate(four)],
        "changed": [reason for reason in told if not reason.startswith("Unchanged: ")],
        "fixed": [part for r in told if r.startswith("Unchanged: ") for part in _parts(r)],
        "features": chart,
        "importance": importance_picture(
            chart.rows, f"version {last.version}", f"version {last.last_known_good}, last known good"
        ),
        "strengths": strengths(found.around),
        "weights": weights(last),
        "audit": found.audit,
        "audit_said": AUDIT[found.audit.state],
        "records": [done(record) for record in found.audit.records],
        "removed": found.removed,
        "missed": found.missed,
        "folder": str(found.state),
        "asked": len(found.requests),
        "windows": len(found.around.own),
        "named": name_of(last.family, last.hypothesis),
    }
    return _environment().get_template("page.html").render(filled)


def _parts(reason: str) -> list[str]:
    return reason.removeprefix("Unchanged: ").rstrip(".").split("; ")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters |= {"moment": moment, "percent": _percent}
    return environment


def _printable(value: Any) -> Any:
    """Markup is ours; everything else may have been written by an attacker."""
    return value if isinstance(value, Markup) else shown(value)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
