"""Makes the report about an incident: reads, renders, writes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from detectors.verdict import GRAVITY
from monitor.incidents.still_open import last_told
from monitor.report.material import Material, ReportError, gather
from monitor.report.page import render
from rollback.audit.checkpoint import SignerError
from rollback.audit.log import FILE_NAME, AuditError, read_checkpoint
from rollback.durable import replace_file
from rollback.registry.registry import Registry
from rollback.signing.keys import TRIAL_FOLDER, Keys

SHORT: Final = 8


def write_report(
    state: Path,
    uid: str,
    out: Path | None = None,
    *,
    keys: Callable[[], Keys | None] | None = None,
    registry: Callable[[str], Registry] | None = None,
    config: str = "",
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Path:
    """Write the page about the incident whose uid begins so, and return its path. Raises `ReportError`.

    Without ``out`` it is `incident-UID.html` in the working folder. ``keys`` are those that the audit log is checked
    with: without, trial keys beside it.
    """
    found = gather(state, uid, keys or (lambda: trial_keys(state)), registry)
    path = out or Path(f"incident-{found.uid[:SHORT]}.html")
    if path.exists() and not path.is_file():
        raise ReportError(f"{path}: is no file, and is not replaced by one; name another place with --out")
    page = _rendered(found, now(), config).encode("utf-8", "backslashreplace")
    try:
        replace_file(path.resolve(), page)  # a link stays one
    except OSError as error:
        raise ReportError(f"{path}: cannot be written: {error.strerror}; name another place with --out") from error
    return path


def _rendered(found: Material, now: datetime, config: str) -> str:
    try:
        return render(found, now, config)
    except OSError as error:  # Matplotlib keeps a list of fonts in the home folder, else in a temporary one
        where = "set MPLCONFIGDIR or TMPDIR to a folder that can be written"
        raise ReportError(f"the pictures cannot be drawn: {error}; {where}") from error


def trial_keys(state: Path) -> Keys | None:
    """Those that a daemon without a key of its own has made beside its log, None where there are none.

    Nor are there where another key signs by now: they would make the log look forged. Raises `KeyFileError`.
    """
    if not (state / TRIAL_FOLDER).is_dir():
        return None
    keys = Keys.trial(state)
    try:
        read_checkpoint(state / FILE_NAME, keys)
    except AuditError as error:  # whatever else is wrong with it is found out with these keys
        return None if isinstance(error.__cause__, SignerError) else keys
    return keys


def gravest(state: Path) -> str | None:
    """The uid of the gravest incident by its last message, of several the newest; None where none is left standing."""
    standing = [incident for incident in last_told(state) if incident.status != "retracted"]
    found = min(reversed(standing), key=lambda incident: GRAVITY.index(incident.family), default=None)
    return None if found is None else found.uid
