"""Prometheus' own tool: what it says of metrics and rules."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def promtool(*arguments: str | Path, text: bytes | None = None) -> tuple[int, str]:
    """Its exit code and all that it says; without it the test is skipped, in CI (``CI`` is set) it fails."""
    program = shutil.which("promtool")
    if program is None:
        said = "promtool is missing: install the package prometheus"
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            pytest.fail(said, pytrace=False)
        pytest.skip(said)
    done = subprocess.run([program, *arguments], input=text, capture_output=True, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()
