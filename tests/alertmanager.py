"""A real Alertmanager as a child process, with a configuration and storage of its own, on a port of this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest
from daemon_process import wait_until
from prometheus_server import free_port

CONFIG = """
route: {receiver: nobody, group_wait: 0s, group_interval: 1s, group_by: [alertname, incident]}
receivers: [{name: nobody%s}]
"""


def program() -> str:
    """The program; without it the test is skipped, in CI (``CI`` is set) it fails."""
    found = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if found is None:
        missing = "Alertmanager is not installed (Debian: prometheus-alertmanager)"
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    return found


class Alertmanager:
    """Dies and comes back on the same port, having forgotten its alerts. ``webhook`` is told of notifications."""

    def __init__(self, folder: Path, webhook: str | None = None) -> None:
        self._program = program()
        folder.mkdir()
        self._folder = folder
        hook = f", webhook_configs: [{{url: {webhook!r}}}]" if webhook else ""
        (folder / "alertmanager.yml").write_text(CONFIG % hook)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        command = [
            self._program,
            f"--config.file={self._folder / 'alertmanager.yml'}",
            f"--storage.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "GOMAXPROCS": "1"})
        wait_until(self._ready, "Alertmanager to be ready", 30)
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def firing(self) -> list[dict[str, Any]]:
        """The alerts that are neither resolved nor silenced."""
        return list(json.loads(self._ask("/api/v2/alerts?active=true")))

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            return bool(self._ask("/-/ready"))
        except OSError:
            return False

    def _ask(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return bytes(answer.read())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
