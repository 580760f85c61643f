"""A real rsyslog as a child process, with a configuration of its own, on a port of this machine."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Self

import pytest
from daemon_process import wait_until

MODULES = Path(os.environ.get("RSYSLOG_MODULES", "/usr/lib"))
"""Where to look for its modules; an rsyslog that was only unpacked has them elsewhere."""
GLOBAL = """
global(workDirectory="{work}"{tls})
template(name="raw" type="string" string="%rawmsg%\\n")
ruleset(name="keep") {{ action(type="omfile" file="{out}" template="raw") }}
"""
TCP = """
module(load="imptcp")
input(type="imptcp" address="127.0.0.1" port="{port}" ruleset="keep")
"""
UDP = """
module(load="imudp")
input(type="imudp" address="127.0.0.1" port="{port}" ruleset="keep")
"""
TLS = """
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="{auth}")
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="keep")
"""
TLS_FILES = (
    ' defaultNetstreamDriverCAFile="{0}/ca.pem" defaultNetstreamDriverCertFile="{0}/server.pem"'
    ' defaultNetstreamDriverKeyFile="{0}/server.key"'
)


def require(*, tls: bool = False) -> str:
    """The program; without it the test is skipped, in CI (``CI`` is set) it fails."""
    program = shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin:/sbin")
    missing = None
    if program is None:
        missing = "rsyslog is not installed (Debian: rsyslog)"
    elif tls and not list(MODULES.glob("**/rsyslog/lmnsd_ossl.so")):
        missing = "rsyslog cannot speak TLS (Debian: rsyslog-openssl)"
    if missing and os.environ.get("CI", "").lower() not in ("", "0", "false"):
        pytest.fail(missing, pytrace=False)
    if missing or program is None:
        pytest.skip(missing or "")
    return program


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Rsyslog:
    """Starts, dies and comes back on the same port. ``certificates`` is a folder; without one it speaks plain TCP.

    With ``udp`` it takes datagrams as well.
    """

    def __init__(
        self, folder: Path, certificates: Path | None = None, auth: str = "anon", *, udp: bool = False
    ) -> None:
        self._program = require(tls=certificates is not None)
        folder.mkdir()
        self._folder = folder
        self.port = free_port()
        self._out = folder / "out"
        tls = TLS_FILES.format(certificates) if certificates else ""
        text = GLOBAL.format(work=folder, out=self._out, tls=tls)
        text += TLS.format(port=self.port, auth=auth) if certificates else TCP.format(port=self.port)
        (folder / "rsyslog.conf").write_text(text + (UDP.format(port=self.port) if udp else ""))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        pid = self._folder / "pid"
        pid.unlink(missing_ok=True)
        command = [self._program, "-n", "-f", str(self._folder / "rsyslog.conf"), "-i", str(pid)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._listens, "rsyslog to listen", 20)
        return self

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(sign)
            self._process.wait(20)
            self._process = None

    def pause(self) -> None:
        """It reads nothing any more; its kernel still does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def lines(self) -> list[str]:
        """The whole ones: the last one may be being written."""
        return self._out.read_text().split("\n")[:-1] if self._out.exists() else []

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGKILL)
