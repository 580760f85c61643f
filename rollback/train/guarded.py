"""Runs a command with limits that hold before its first instruction, and that ends with the process that started it.

Started as a file by `rollback.train.foreign`: `python -I guarded.py PARENT MEMORY FILE_BYTES PROGRAM ARGUMENT...`.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, memory: int, file_bytes: int, command: list[str]) -> None:
    """Take the limits and become the command."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the training that this belongs to is over")
    for kind, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, file_bytes), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        lower = most if hard == resource.RLIM_INFINITY else min(most, hard)  # what we are under ourselves holds too
        resource.setrlimit(kind, (lower, lower))
    os.execve(command[0], command, os.environ)  # noqa: S606 - no shell, which is meant


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
