"""The state on disk: where it lies, whether a daemon holds it, and whether the audit log is what was written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from monitor.audit_keys import keys_to_check
from monitor.doctor.check import Result, ok, problem, warning
from monitor.doctor.filesystem import check_place
from monitor.open_requests import CHECKPOINTS
from monitor.response import ANSWERS
from monitor.settings.config import Config
from monitor.state.checkpoint import CheckpointError, latest_state
from rollback.audit.log import FILE_NAME, START, AuditError, read_checkpoint, read_while_written
from rollback.response.desk import FolderDesk, House
from rollback.signing.keys import KeyFileError

LOCKS: Final = Path("/proc/locks")


def check_state(state_dir: Path, asked: House) -> Iterator[Result]:
    """The folder, who holds it, and the order to hold everything."""
    yield from check_place("state", state_dir)
    holder = holder_of(state_dir)
    yield ok("daemon", f"process {holder} holds {state_dir}" if holder else f"none holds {state_dir}")
    if why := FolderDesk(state_dir / ANSWERS, house=asked).held():
        mend = "tocsin response resume, when it may go on; or what it names"
        yield warning("daemon", f"no step is begun, everything is on hold: {why}", mend)


def check_audit(state_dir: Path) -> Iterator[Result]:
    """The chain of the log, and that it has not lost its end since the last checkpoint."""
    path = state_dir / FILE_NAME
    mend = "find out who changed it; put it back from a backup, or move state_dir away to start anew"
    try:
        head = _known_head(state_dir)
    except CheckpointError as error:
        yield problem("checkpoint", str(error), "restore it from a backup, or move it away")
        head = START
    if not path.exists():
        if head == START:
            yield ok("audit", "nothing has been done yet")
        else:
            yield problem("audit", f"{path} is missing, but the checkpoint names a record of it", mend)
        return
    try:
        hashes = [record.hash for record in read_while_written(path)]
    except AuditError as error:
        yield problem("audit", str(error), mend)
        return
    if head != START and head not in hashes:
        yield problem("audit", f"{path}: the record that the checkpoint names is missing: its end was cut off", mend)
    else:
        yield ok("audit", f"{len(hashes)} records, chain intact")


def check_seal(config: Config) -> Iterator[Result]:
    """Whether the audit log's checkpoint is signed by a key that `tocsin run` would believe."""
    try:
        keys = keys_to_check(config)
    except KeyFileError:  # the check of keys says it
        return
    try:
        found = read_checkpoint(config.state_dir / FILE_NAME, keys)
    except AuditError as error:
        yield problem("seal", str(error), "tocsin run does not start before; docs/rollback.md, Keys")
        return
    if found is not None:
        yield ok("seal", f"{found.size} records of the audit log are signed by a key that is trusted")


def holder_of(state_dir: Path, locks: Path = LOCKS) -> int | None:
    """The process that holds the checkpoints, read from the kernel's list: to try the lock would be to take it."""
    try:
        found = (state_dir / CHECKPOINTS / "lock").stat()
        lines = locks.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in lines:
        fields = line.split()
        if fields[1] == "FLOCK" and place in fields:
            return int(fields[4])
    return None


def _known_head(state_dir: Path) -> str:
    state = latest_state(state_dir / CHECKPOINTS)
    parts = {} if state is None else state["parts"]
    return str(parts.get("response", {}).get("audit_head", START))
