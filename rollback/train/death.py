"""What the end of a retraining's process means, in words: how it ended, and whether it was for want of memory."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Final

LAST_LINES: Final = 5
LAST_BYTES: Final = 4096
MIB: Final = 2**20

OUT_OF_MEMORY: Final = re.compile(
    r"MemoryError|std::bad_alloc|bad allocation|[Oo]ut of memory|OutOfMemory|OOM"
    r"|[Cc]an(?:no|')t allocate|[Uu]nable to allocate|[Ff]ailed to allocate|[Aa]llocation (?:of \d+ bytes )?failed"
    r"|failed to map segment from shared object(?!: Operation not permitted)|not enough memory|[Mm]emory allocation"
    r"|SystemError: (?:error return without exception set|.* returned NULL without setting an exception)"
)
"""What Python, NumPy, C++, torch, CUDA, ONNX Runtime and the loader say when there is no memory.

Under RLIMIT_DATA CPython itself may fail to make the exception: a SystemError without one."""
PERHAPS: Final = re.compile(r"can't start new thread|Resource temporarily unavailable|BrokenProcessPool")
"""What also happens where there is memory: a thread's stack counts as data too."""
FATAL: Final = {signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS}
"""How native code ends that does not check what it was given."""


def cause(code: int, log: Path, start: int, memory_bytes: int) -> str:
    """How a process ended (``code`` as `subprocess` gives it) that wrote its log from byte ``start`` on.

    >>> cause(1, Path("/no/such/log"), 0, 2**30)
    'ended with exit code 1'
    """
    ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    limit = f"it may use {memory_bytes / MIB:g} MiB (retrain.memory_mib)"
    said = _end(log, start)
    if OUT_OF_MEMORY.search(said):
        return f"ran out of memory: {limit}; it {ended}"
    if -code == signal.SIGKILL:
        return f"{ended}: perhaps the system was out of memory; {limit}"
    if -code in FATAL or PERHAPS.search(said):
        return f"{ended}: perhaps it was out of memory; {limit}"
    return ended


def last_lines(log: Path, start: int) -> str:
    """The end of what it wrote, for a message."""
    try:
        lines = _read(log, start).strip().splitlines()[-LAST_LINES:]
    except OSError as error:
        return f" ({log} cannot be read: {error.strerror})"
    return f": {' | '.join(lines)}" if lines else f" ({log} is empty)"


def _end(log: Path, start: int) -> str:
    try:
        return _read(log, start)
    except OSError:  # `last_lines` says so
        return ""


def _read(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - LAST_BYTES, start))
        return file.read().decode("utf-8", "replace")
