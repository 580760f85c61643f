"""Runs a command with limits that hold before its first instruction, and ends all that it has started when it ends.

Started as a file by `rollback.train.foreign`: `python -I guarded.py PARENT MEMORY FILE_BYTES PROGRAM ARGUMENT...`. What
the command leaves running comes to this process, also out of its process group (PR_SET_CHILD_SUBREAPER), and is killed
with the command itself: when the command ends, when SIGTERM comes, and when the process that started this one is gone.
"""

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def main(parent: int, memory: int, file_bytes: int, command: list[str]) -> None:
    """Run the command and end as it ended."""
    system = ctypes.CDLL(None, use_errno=True)
    signal.signal(signal.SIGTERM, told_to_end)
    system.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    system.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the training that this belongs to is over")
    guard, child = os.getpid(), os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        system.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guard:
            os._exit(1)
        become(memory, file_bytes, command)
    _, status = os.waitpid(child, 0)
    end_all()
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code not in {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(guard, -code)
    sys.exit(code)


def told_to_end(*_: object) -> None:
    """End with everything that was started."""
    end_all()
    os._exit(128 + signal.SIGTERM)


def become(memory: int, file_bytes: int, command: list[str]) -> None:
    """Take the limits and become the command."""
    for kind, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, file_bytes), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        lower = most if hard == resource.RLIM_INFINITY else min(most, hard)  # what we are under ourselves holds too
        resource.setrlimit(kind, (lower, lower))
    try:
        os.execve(command[0], command, os.environ)  # noqa: S606 - no shell, which is meant
    except OSError as error:
        print(f"cannot be run: {error.strerror}", file=sys.stderr, flush=True)  # noqa: T201 - it is read from there
        os._exit(126)


def end_all() -> None:
    """Kill our children until there are none: what a killed one had started is ours then."""
    while True:
        for each in children():
            os.kill(each, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def children() -> list[int]:
    """Processes whose parent we are; they stay so until we wait for them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            said = (entry / "stat").read_bytes()
        except OSError:  # it has ended
            continue
        if int(said.rpartition(b")")[2].split()[1]) == os.getpid():
            found.append(int(entry.name))
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
