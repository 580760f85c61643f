"""Where a folder lies: on which filesystem, with how much room, and whether we may write there."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from monitor.doctor.check import Result, ok, problem, warning

NETWORK: Final = re.compile(r"nfs\d*|cifs|smb\d*|9p|ceph|glusterfs|fuse\..*")
PASSING: Final = frozenset({"tmpfs", "ramfs", "overlay", "aufs"})
LITTLE: Final = 2**30
TOO_LITTLE: Final = 2**26
MOUNTS: Final = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class Place:
    """A folder, or the one in which it will be made."""

    path: Path
    exists: bool
    filesystem: str
    free_bytes: int
    writable: bool


def place_of(folder: Path) -> Place:
    """Where ``folder`` lies. Raises `OSError` where even that cannot be seen."""
    absolute = folder.absolute()
    nearest = next(p for p in (absolute, *absolute.parents) if _exists(p))
    read_only = bool(os.statvfs(nearest).f_flag & os.ST_RDONLY)
    may = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK, effective_ids=True)
    room = shutil.disk_usage(nearest).free
    return Place(nearest, nearest == absolute, filesystem_of(nearest.resolve()), room, may and not read_only)


def check_place(subject: str, folder: Path) -> Iterator[Result]:
    """Whether the state may live there."""
    found = place_of(folder)
    if not found.writable:
        what = f"{found.path} cannot be written to" if found.exists else f"{folder} cannot be made in {found.path}"
        yield problem(subject, what, "let the user that runs Tocsin own it, or name another folder as state_dir")
        return
    mib = found.free_bytes / 2**20
    said = f"{folder}: {found.filesystem}, {mib:,.0f} MiB free"
    if found.free_bytes < TOO_LITTLE:
        yield problem(subject, said, "make room: a checkpoint that cannot be written ends the daemon")
    elif found.free_bytes < LITTLE:
        yield warning(subject, said, "make room, or name a folder on another disk as state_dir")
    elif NETWORK.fullmatch(found.filesystem):
        yield warning(subject, said, "use a local disk: locks and atomic renames may not hold over a network")
    elif found.filesystem in PASSING:
        yield warning(subject, said, "mount a volume: what lies here is lost with the machine or the container")
    else:
        yield ok(subject, said)


def filesystem_of(path: Path, mounts: Path = MOUNTS) -> str:
    """The type of the filesystem that ``path`` lies on, `unknown` where the system does not say."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "unknown"
    best, kind = -1, "unknown"
    for line in lines:
        before, _, after = line.partition(" - ")
        # a later mount over the same place hides the earlier one
        point = re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), before.split()[4])
        if path.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), after.split()[0]
    return kind


def _exists(path: Path) -> bool:
    """Also where we may not look: then the path as far as that is what counts."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
