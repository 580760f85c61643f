"""Servers that tests need, installed on first use: who cannot install them skips these tests, and says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from python_servers import ServerUnavailableError, environment


def installed(name: str) -> Path:
    """The folder of the server's programs; without it the test is skipped, in CI (``CI`` is set) it fails."""
    try:
        return environment(name)
    except ServerUnavailableError as error:
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
