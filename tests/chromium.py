"""A real Chromium that opens a page: what it writes to its console, what it asks of any server, how it looks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

QUIET: Final = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-sync"),
    *(
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-default-apps",
        "--disable-extensions",
    ),
    *(
        "--disable-domain-reliability",
        "--disable-client-side-phishing-detection",
        "--no-pings",
        "--metrics-recording-only",
    ),
    *(
        "--disable-features=OptimizationHints,MediaRouter,Translate,AutofillServerCommunication",
        "--disable-dev-shm-usage",
    ),
)
OWN: Final = re.compile(r"^(https?://)?[a-z0-9.]*\.google(apis)?\.com[:/]")
"""What the browser itself looks for when it starts; the proxy does not let it through."""


@dataclass(frozen=True)
class Opened:
    """``console`` holds every line that the page wrote there, ``asked`` every request, ``dom`` the page at the end."""

    console: tuple[str, ...]
    asked: tuple[str, ...]
    dom: str


def program() -> str:
    """The program; without it the test is skipped, in CI (``CI`` is set) it fails."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        missing = "chromium is not installed (Debian: chromium)"
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    return found


def look(page: Path, work: Path, width: int = 1280, height: int = 1000, picture: Path | None = None) -> Opened:
    """Open a page. Every request that would leave the browser goes to a proxy of ours, which answers nothing."""
    asked: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _recorder(asked)) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        shown = ["--dump-dom"] if picture is None else [f"--screenshot={picture}"]
        command = [
            program(),
            *QUIET,
            f"--user-data-dir={work}",
            f"--window-size={width},{height}",
            "--enable-logging=stderr",
        ]
        command += [f"--proxy-server=http://127.0.0.1:{proxy.server_port}", "--virtual-time-budget=2000", *shown]
        done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, check=False, timeout=60)
        proxy.shutdown()
    assert done.returncode == 0, done.stderr
    said = re.findall(r":CONSOLE[:(].*", done.stderr)
    return Opened(tuple(said), tuple(url for url in asked if not OWN.match(url)), done.stdout)


def _recorder(asked: list[str]) -> type[BaseHTTPRequestHandler]:
    class Recorder(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_POST = do_CONNECT = do_HEAD = do_GET  # noqa: N815 - the base class asks for these names

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    return Recorder
