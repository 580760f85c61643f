"""Real servers for tests and benches: MLServer and MLflow, each in a Python environment of its own.

An environment is made on first use, in ``.cache/python``, of exactly what ``requirements/NAME.lock`` names.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache" / "python"
INSTALLER = "uv==0.13.9"
"""It installs in a tenth of pip's time."""
START_SECONDS = 180.0


class ServerUnavailableError(Exception):
    """The server cannot be installed here; the message says why."""


class ServerFailedError(Exception):
    """The server did not come up; the message ends with its log."""


def environment(name: str) -> Path:
    """The folder of the programs of ``requirements/NAME.lock``, installed on first use."""
    lock = ROOT / "requirements" / f"{name}.lock"
    folder = CACHE / f"{name}-{uuid.uuid5(uuid.NAMESPACE_OID, INSTALLER + lock.read_text(encoding='utf-8')).hex[:12]}"
    complete = folder / "complete"
    if not complete.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / f"{name}.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)  # two test runs may start at once
            if not complete.exists():
                _install(folder, lock)
                complete.touch()
    return folder / "bin"


def _install(folder: Path, lock: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    python = folder / "bin" / "python"
    exactly = ["--no-deps", "--require-hashes", "--requirement", str(lock)]
    steps = [
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", INSTALLER],
        [str(folder / "bin" / "uv"), "pip", "install", "--quiet", "--python", str(python), *exactly],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServerUnavailableError(f"{lock.name} cannot be installed: {done.stderr.strip()[-2000:]}")


class PythonServer:
    """A server process with its log in ``folder``; a context manager. ``ready`` is what answers once it is up."""

    def __init__(self, command: Sequence[str], folder: Path, ready: str, environ: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "server.log"
        self._command = command
        self._folder = folder
        self._ready = ready
        self._environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "OMP_NUM_THREADS": "1",
            **environ,
        }

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Ends it with all it has started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def pause(self) -> None:
        """It hangs from now on, in the middle of whatever it does."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Take back `pause`."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def _wait(self) -> None:
        ends = time.monotonic() + START_SECONDS
        while not _answers(self._ready):
            if self._process.poll() is not None or time.monotonic() > ends:
                text = self._log.read_text(encoding="utf-8", errors="replace")
                raise ServerFailedError(f"{self._command[0]} did not come up:\n{text[-4000:]}")
            time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2.0) as answer:  # noqa: S310 - of a server that was started here
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


class MLServer(PythonServer):
    """MLServer with one model ``name``, which its runtime loads from the folder ``registry``; see `tocsin_runtime`."""

    def __init__(self, folder: Path, registry: Path, name: str, ports: Sequence[int]) -> None:
        programs = environment("mlserver")
        http, grpc = ports
        models = folder / "models"
        (models / name).mkdir(parents=True)
        model = {"name": name, "implementation": "tocsin_runtime.TocsinModel", "parameters": {"uri": str(registry)}}
        (models / name / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
        settings = {"host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_endpoint": None}
        (models / "settings.json").write_text(json.dumps({**settings, "parallel_workers": 0}), encoding="utf-8")
        self.url = f"http://127.0.0.1:{http}"
        paths = os.pathsep.join(map(str, (ROOT, ROOT / "docs" / "mlserver")))
        command = [str(programs / "mlserver"), "start", str(models)]
        super().__init__(command, folder, f"{self.url}/v2/health/ready", {"PYTHONPATH": paths})


class MLflow(PythonServer):
    """MLflow's tracking server over SQLite; it tells nobody that it is used."""

    def __init__(self, folder: Path, port: int) -> None:
        programs = environment("mlflow")
        self.url = f"http://127.0.0.1:{port}"
        command = [str(programs / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
        command += ["--default-artifact-root", str(folder / "artifacts")]
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        super().__init__(command, folder, f"{self.url}/health", quiet)
