"""A real syslog-ng as a child process that reads RFC 5424 over UDP, TCP or TLS, on a port of this machine."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any, Literal, Self

from daemon_process import wait_until
from rsyslog import free_port
from syslog_ng_parser import require

CONFIG = """@version: 3.35
options {{ stats-freq(0); keep-hostname(yes); use-dns(no); keep-timestamp(yes); frac-digits(3); }};
source in {{ syslog(ip("127.0.0.1") port({port}) transport("{transport}") log-msg-size(65536) {tls}); }};
destination out {{
    file("{out}" template("$(format-json --scope none PRIORITY HOST PROGRAM MSGID .SDATA.* MESSAGE DATE=$ISODATE)\\n"));
}};
log {{ source(in); destination(out); }};
"""
TLS = 'tls(key-file("{0}/server.key") cert-file("{0}/server.pem") ca-file("{0}/ca.pem") peer-verify({1}))'


class SyslogNg:
    """Dies and comes back on the same port; a context manager. ``certificates`` is a folder, needed for TLS."""

    def __init__(
        self,
        folder: Path,
        transport: Literal["udp", "tcp", "tls"],
        certificates: Path | None = None,
        *,
        wants_client: bool = False,
    ) -> None:
        self._program = require()
        folder.mkdir()
        self._folder = folder
        self._udp = transport == "udp"
        self.port = free_port()
        self._out = folder / "out"
        tls = TLS.format(certificates, "required-trusted" if wants_client else "optional-untrusted")
        text = CONFIG.format(port=self.port, transport=transport, out=self._out, tls=tls if certificates else "")
        (folder / "syslog-ng.conf").write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        files = [f"--{name}={self._folder / name}" for name in ("persist-file", "pidfile", "control")]
        command = [self._program, "--foreground", "--no-caps", f"--cfgfile={self._folder / 'syslog-ng.conf'}", *files]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._listens, "syslog-ng to listen", 20)
        return self

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(sign)
            self._process.wait(20)
            self._process = None

    def found(self) -> list[dict[str, Any]]:
        """What it read, each message's fields."""
        if not self._out.exists():
            return []
        return [json.loads(line) for line in self._out.read_text().split("\n")[:-1]]

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        kind = socket.SOCK_DGRAM if self._udp else socket.SOCK_STREAM
        with socket.socket(type=kind) as probe:
            if not self._udp:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError:
                return True
            return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGKILL)
