"""The page: a template without logic, filled with what was found out; everything in it is escaped."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from monitor.report.contrasts import contrasts
from monitor.report.findings import Strength, importances, strengths, weights
from monitor.report.material import Material
from monitor.report.next_steps import acted, standing, steps, verify_command
from monitor.report.pictures import compared, contrast_picture, course, importance_picture
from monitor.report.story import Entry, done, timeline
from monitor.report.words import moment, name_of, named, percent, shown

T = TypeVar("T")

HERE: Final = Path(__file__).parent
MOST_ENTRIES: Final = 300
MOST_RECORDS: Final = 300
MOST_ROWS: Final = 50
BRIEF: Final = 200
"""Characters of a name."""
PART: Final = 500
"""Characters of one entry of the time line, or of one record."""
TRIGGER: Final = "How much more often it is there than elsewhere (lift), and what labellers said"
OTHERS: Final = "Other patterns of the training buffer that were looked at, and what labellers said"
ORDER: Final = ("fired", "error", "warming")
"""Of detectors: what matters most first."""
AUDIT: Final = {
    "verified": "The audit log is what was written: its chain of hashes and its signed checkpoint verify.",
    "chained": "The audit log's chain of hashes is whole; its signature was not checked.",
    "broken": "The audit log is NOT what was written. What follows may not be believed.",
    "unreadable": "The audit log cannot be read: nothing here proves what was done.",
    "missing": "There is no audit log here: nothing proves what was done.",
}


def render(found: Material, made: datetime, config: str = "") -> str:
    """The whole page. ``made`` is now, ``config`` the daemon's file where it is known."""
    last = found.last
    chart = importances(found.around, last)
    entries = timeline(found)
    four = contrasts(found.around, last.implicated.sources)
    points = compared(found.around)
    loud = [e for e in last.evidence if e.status != "ok"]
    values = list(last.implicated.features.items())
    newest = found.around.own[-1] if found.around.own else None
    told = [] if newest is None else newest.verdict.reasons
    filled = {
        "title": f"Incident {found.uid[:8]}: {name_of(last.family, last.hypothesis)}",
        "css": Markup((HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - ours
        "last": last,
        "uid": found.uid,
        "made": made.timestamp(),
        "most": MOST_ROWS,
        "gaps": found.gaps,
        "standing": standing(last),
        "steps": steps(found, config),
        "entries": _ends(entries, MOST_ENTRIES, _left_out),
        "course": course(found.around),
        "course_from": points[0][0].at if points else 0.0,
        "course_to": points[-1][0].at if points else 0.0,
        "evidence": sorted(loud, key=lambda e: (ORDER.index(e.status), e.detector))[:MOST_ROWS],
        "silent": [e.detector for e in last.evidence if e.status == "ok"],
        "values": values[:MOST_ROWS],
        "more_values": max(0, len(values) - MOST_ROWS),
        "contrasts": [(each, contrast_picture(each, n) if each.sides else "") for n, each in enumerate(four)],
        "newest": newest,
        "changed": [reason for reason in told if not reason.startswith("Unchanged: ")],
        "fixed": [part for r in told if r.startswith("Unchanged: ") for part in _parts(r)],
        "features": chart,
        "importance": importance_picture(
            chart.rows, f"version {chart.version}", f"version {last.last_known_good}, last known good"
        ),
        "strengths": _grouped(strengths(found.around, last.implicated.features)),
        "weights": weights(last),
        "audit": found.audit,
        "audit_said": AUDIT[found.audit.state],
        "records": [done(record) for record in _ends(list(found.audit.records), MOST_RECORDS)],
        "more_records": max(0, len(found.audit.records) - MOST_RECORDS),
        "removed": found.removed,
        "missed": found.missed,
        "folder": str(found.state),
        "verify": verify_command(found, config),
        "asked": len(found.requests),
        "seen": _seen(found),
    }
    return _environment().get_template("page.html").render(filled)


def _parts(reason: str) -> list[str]:
    return reason.removeprefix("Unchanged: ").rstrip(".").split("; ")


def _ends(every: list[T], most: int, between: Callable[[list[T]], T] | None = None) -> list[T]:
    """The first and the last of too many, and what stands for those between them."""
    if len(every) <= most:
        return every
    half = most // 2
    left_out = every[half : len(every) - half]
    return [*every[:half], *([between(left_out)] if between else []), *every[-half:]]


def _left_out(entries: list[Entry]) -> Entry:
    said = f"{len(entries):,} entries between these two are left out here; tocsin incidents explain has them."
    return Entry(0.0, "left out", said)


def _grouped(rows: Sequence[Strength]) -> list[tuple[str, list[Strength]]]:
    """The trigger's, then those of other patterns, each under what it is."""
    groups = [(TRIGGER, [row for row in rows if row.trigger]), (OTHERS, [row for row in rows if not row.trigger])]
    return [(caption, group) for caption, group in groups if group]


def _seen(found: Material) -> str:
    windows = [window for window in found.around.own if window.events]
    if not windows:
        return "unknown"
    plural = "" if len(windows) == 1 else "s"
    return f"{len(windows):,} window{plural} ({sum(window.events for window in windows):,} events)"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters |= {
        "when": _when,
        "percent": percent,
        "named": named,
        "figure": _figure,
        "acted": acted,
        "quoted": shlex.quote,
        "width": lambda share: f"{100 * min(max(share, 0.0), 1.0):.1f}",
        "brief": lambda value: shown(value, BRIEF),
        "part": lambda value: shown(value, PART),
        "lines": lambda text: Markup("\n").join(line and shown(line, PART) for line in text.splitlines()[:MOST_ROWS]),
    }
    return environment


def _printable(value: Any) -> Any:
    """Markup is ours; everything else may have been written by an attacker."""
    return value if isinstance(value, Markup) else shown(value)


def _when(at: float | str | None) -> Markup:
    """A time with its zone, which a program can read, too."""
    said = moment(at)
    if said == "unknown":
        return Markup("unknown")
    return Markup('<time datetime="{}Z">{} UTC</time>').format(said.replace(" ", "T"), said)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
