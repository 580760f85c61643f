"""Reads the small YAML or JSON files by which an operator says how to train."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any, Final

import yaml

LARGEST_FILE: Final = 2**20


def read_yaml(path: Path) -> Any:
    """What the file says. Raises `OSError`, also for a pipe, a device or a long file, and `ValueError` for no YAML."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # a link is fine: so are files mounted
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "is no plain file", str(path))
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise OSError(errno.EFBIG, f"is larger than {LARGEST_FILE} bytes", str(path))
    try:
        return yaml.safe_load(content.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"is no YAML: {error}") from error
