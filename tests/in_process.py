"""The command line in this process: what it exits with and says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from monitor.cli.main import main

Run = Callable[..., tuple[int, str, str]]
"""Arguments of the command -> exit code, stdout and stderr."""


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command with nothing in the environment."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_of:
            main([str(a) for a in arguments], {})
        captured = capsys.readouterr()
        code = exit_of.value.code
        return (code if isinstance(code, int) else 0), captured.out, captured.err

    return call
