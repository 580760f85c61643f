"""A real Prometheus as a child process, with a configuration and storage of its own, on a port of this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
import yaml
from daemon_process import wait_until


class Series(NamedTuple):
    """Labels, and values by time."""

    labels: dict[str, str]
    values: list[float]


class QueryError(Exception):
    """Prometheus does not take a query."""


def program(name: str = "prometheus") -> str:
    """The program; without it the test is skipped, in CI (``CI`` is set) it fails."""
    found = shutil.which(name)
    if found is None:
        missing = f"{name} is not installed (Debian: prometheus)"
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Prometheus:
    """Scrapes ``targets`` (job: port on this machine) twice a second, and asks ``rules`` every second.

    A context manager.
    """

    def __init__(self, folder: Path, targets: Mapping[str, int], rules: Collection[Path] = ()) -> None:
        self._folder = folder
        self.port = free_port()
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in targets.items()
        ]
        often = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"}
        config = {"global": often, "scrape_configs": jobs, "rule_files": [str(path.resolve()) for path in rules]}
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [
            program(),
            f"--config.file={self._folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self._folder / 'storage'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--enable-feature=exemplar-storage",
        ]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "GOMAXPROCS": "1"})
        try:
            wait_until(self._ready, "Prometheus to be ready", 60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def at(self, expr: str, when: float) -> list[Series]:
        """What an expression is at a time, in seconds since the epoch."""
        found = self._ask("query", query=expr, time=when)
        if found["resultType"] == "scalar":
            return [Series({}, [float(found["result"][1])])]
        return [Series(each["metric"], [float(each["value"][1])]) for each in found["result"]]

    def over(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """What it was all that time."""
        found = self._ask("query_range", query=expr, start=start, end=end, step=step)
        return [Series(each["metric"], [float(value) for _, value in each["values"]]) for each in found["result"]]

    def exemplars(self, expr: str, start: float, end: float) -> list[dict[str, str]]:
        """The labels of all exemplars behind an expression."""
        found = self._ask("query_exemplars", query=expr, start=start, end=end)
        return [dict(each["labels"]) for series in found for each in series["exemplars"]]

    def last_seen(self, job: str) -> float:
        """When a target was last scraped with success."""
        (found,) = self.at(f'max_over_time(timestamp(tocsin_build_info{{job="{job}"}})[1h:500ms])', time.time())
        return found.values[0]

    def labels(self, name: str, metric: str, start: float, end: float) -> list[str]:
        """The values of a label of a metric."""
        found = self._ask(f"label/{name}/values", **{"match[]": metric, "start": start, "end": end})
        return list(found)

    def rules(self) -> list[dict[str, Any]]:
        """What Prometheus says of its rules: name, health, last error."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def _ask(self, what: str, **parameters: Any) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise QueryError(f"{json.load(error)['error']} in: {parameters}") from error

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            pass
        return False
