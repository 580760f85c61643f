"""`tocsin run`: the daemon."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.main import version
from monitor.cli.validate import check_for_run
from monitor.daemon import run as watch
from monitor.logging import set_up_logging
from monitor.settings.config import load_config


class Role(StrEnum):
    """What this process does."""

    watcher = "watcher"
    both = "both"


def run(
    config: Annotated[Path, typer.Option("--config", help="The configuration file (YAML).", show_default=False)],
    role: Annotated[
        Role, typer.Option("--role", help="watcher: sees and tells, never acts. both: acts too.")
    ] = Role.both,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Detect, but never act: as mode observe.")] = False,
) -> None:
    """Watch the configured models until SIGTERM; incidents go to stdout and state_dir, logs to stderr.

    Example: tocsin run --config tocsin.yaml
    """
    set_up_logging(sys.stderr, as_json=not sys.stderr.isatty())
    settings = load_config(config, os.environ)
    check_for_run(settings, config)
    mode = "observe" if dry_run else settings.mode
    watch(settings, mode, role.value, version())
