"""What a real syslog-ng reads in syslog messages with LEEF bodies: by its parsers of RFC 5424, columns and pairs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

CONFIG = """@version: 3.35
options {{ stats-freq(0); keep-hostname(yes); use-dns(no); }};
source in {{ stdin(flags(syslog-protocol, no-hostname) log-msg-size(4194304)); }};
parser columns {{
    csv-parser(columns("leef", "vendor", "product", "version", "event", "delimiter", "attributes")
               delimiters("|") dialect(escape-none) flags(greedy) prefix("head."));
}};
parser pairs {{
    kv-parser(template("${{head.attributes}}") value-separator("=") pair-separator("^") prefix("pairs."));
}};
destination out {{
    file("{out}" template("$(format-json --scope none head.* pairs.* .SDATA.* PRIORITY PROGRAM MSGID)\\n"));
}};
log {{ source(in); parser(columns); parser(pairs); destination(out); }};
"""


def require() -> str:
    """The program; without it the test is skipped, in CI (``CI`` is set) it fails."""
    program = shutil.which("syslog-ng") or shutil.which("syslog-ng", path="/usr/sbin:/sbin")
    if program is not None:
        return program
    missing = "syslog-ng is not installed (Debian: syslog-ng-core)"
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)


def read(messages: Sequence[bytes], folder: Path) -> list[dict[str, Any]]:
    """Each record that it finds, where every message is one line of its input."""
    program = require()
    folder.mkdir()
    out, config = folder / "out", folder / "syslog-ng.conf"
    config.write_text(CONFIG.format(out=out))
    files = [f"--{name}={folder / name}" for name in ("persist-file", "pidfile", "control")]
    command = [program, "--foreground", "--no-caps", f"--cfgfile={config}", *files]
    done = subprocess.run(command, input=b"\n".join(messages) + b"\n", capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in out.read_bytes().split(b"\n")[:-1]] if out.exists() else []
