"""How the watched models stand, read from a state folder while a daemon may be writing there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from detectors.verdict import GRAVITY
from monitor.incidents.explain import WINDOWS
from monitor.incidents.still_open import open_incidents
from monitor.messages import Incident
from monitor.response import RESULTS
from monitor.window_lines import WindowLine
from rollback.audit.log import FILE_NAME
from rollback.response.cases import Case
from rollback.response.record import read_cases

TAIL_BYTES: Final = 4 * 1024 * 1024
"""How far back the last windows are looked for."""
OVER: Final = frozenset({"done", "declined", "withdrawn", "rejected"})


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model. ``verdict`` is the gravest open incident's, else its last window's; empty before the first window.

    ``status`` (`suspected`, `confirmed`) and ``severity`` (0-10) are that incident's, empty and None without one.
    ``window_age`` and ``window_events`` are of that window; ``doing`` says what is being done, ``waiting`` how much of
    it waits for a person; ``incidents`` are the uids of the open ones. ``beyond``: older windows than
    those that were looked through may be its own.
    """

    model: str
    serving: str | None = None
    last_known_good: str | None = None
    verdict: str = ""
    hypothesis: str | None = None
    confidence: float | None = None
    status: str = ""
    severity: int | None = None
    window_age: float | None = None
    window_events: int | None = None
    fired: tuple[str, ...] = ()
    incidents: tuple[str, ...] = ()
    doing: tuple[str, ...] = ()
    waiting: int = 0
    beyond: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """All models, those in trouble first. ``checkpoint_age`` is in seconds, None where nothing was ever kept."""

    models: tuple[ModelStatus, ...]
    checkpoint_age: float | None = None
    hold: str = ""


def read_status(state: Path, models: Iterable[str], now: float, hold: str = "", tail: int = TAIL_BYTES) -> Status:
    """Read it; ``now`` in seconds since the epoch. Raises `IncidentsError` and `AuditError`.

    ``models`` are shown even if nothing was ever seen of them; ``tail``: how many bytes of windows are looked through.
    """
    windows = last_windows(state / WINDOWS, tail)
    incidents = open_incidents(state)
    cases = [case for case in read_cases(state / FILE_NAME).values() if RESULTS.get(case.phase) not in OVER]
    names = dict.fromkeys([*models, *windows, *(incident.model for incident in incidents)])
    beyond = (state / WINDOWS).exists() and (state / WINDOWS).stat().st_size > tail
    found = [_model(name, windows.get(name), incidents, cases, now) for name in names]
    rows = [replace(row, beyond=beyond and row.model not in windows) for row in found]
    return Status(tuple(sorted(rows, key=_urgency)), _checkpoint_age(state / "checkpoints", now), hold)


def last_windows(path: Path, tail: int = TAIL_BYTES) -> dict[str, WindowLine]:
    """The newest window of each model near the end of a file; of the version that serves, where there are several."""
    if not path.exists():
        return {}
    with path.open("rb") as file:
        start = max(0, file.seek(0, 2) - tail)
        file.seek(start)
        lines = file.read().splitlines(keepends=True)[1 if start else 0 :]
    found: dict[str, WindowLine] = {}
    for line in lines:
        try:
            window = msgspec.json.decode(line, type=WindowLine)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue  # it is being written, or was cut: the ones before it tell enough
        before = found.get(window.model)
        serving = window.registry.serving
        if before is None or window.version == serving or before.version != serving:
            found[window.model] = window
    return found


def _model(
    name: str, window: WindowLine | None, incidents: Sequence[Incident], cases: Sequence[Case], now: float
) -> ModelStatus:
    own = sorted((i for i in incidents if i.model == name), key=lambda i: GRAVITY.index(i.family))
    mine = [case for case in cases if case.model == name]
    about = ModelStatus(
        name,
        incidents=tuple(incident.uid for incident in own),
        doing=tuple(f"{case.kind}: {case.phase}" for case in mine),
        waiting=sum(RESULTS.get(case.phase) in {"proposed", "halted"} for case in mine),
    )
    if window is not None:
        about = replace(
            about,
            serving=window.registry.serving or window.version,
            last_known_good=window.registry.last_known_good,
            verdict=window.verdict.family,
            hypothesis=window.verdict.hypothesis,
            confidence=window.verdict.confidence,
            window_age=round(max(0.0, now - window.at), 1),
            window_events=window.events,
            fired=tuple(window.fired()),
        )
    if own:
        first = own[0]
        about = replace(about, verdict=first.family, hypothesis=first.hypothesis, confidence=first.confidence)
        about = replace(about, status=first.status, severity=first.severity)
    return about


def _urgency(row: ModelStatus) -> tuple[int, int, str]:
    graver = GRAVITY.index(row.verdict) if row.verdict in GRAVITY else len(GRAVITY)
    return graver, -row.waiting, row.model


def _checkpoint_age(folder: Path, now: float) -> float | None:
    """How long ago the daemon last kept its state; it does every few seconds while it runs."""
    try:
        newest = max((path.stat().st_mtime for path in folder.glob("*.state")), default=None)
    except FileNotFoundError:  # it was replaced by a newer one between the two looks
        return 0.0
    return None if newest is None else round(max(0.0, now - newest), 1)
