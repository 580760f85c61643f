"""The configuration file: whether `tocsin run` would take it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from monitor.cli.validate import check_for_run
from monitor.doctor.check import Result, ok, problem
from monitor.settings.config import Config, ConfigError

SUBJECT = "configuration"


def check_configuration(config: Config, path: Path) -> Iterator[Result]:
    """One problem for each that `tocsin validate` finds."""
    try:
        check_for_run(config, path)
    except ConfigError as error:
        for each in error.problems:
            yield problem(SUBJECT, str(each), f"correct {each.field or path} in {path}")
        return
    yield ok(SUBJECT, f"{path} is valid")
