"""`tocsin doctor`: whether everything around Tocsin is as it needs it, and what more there is to be had."""

from __future__ import annotations

import logging
import os
import sys
import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer

from monitor.cli.main import BAD_CONFIGURATION, FAILURE
from monitor.cli.output import Busy, show
from monitor.doctor.check import Result
from monitor.doctor.examination import Examination, Prospect, examine
from monitor.doctor.level import TELLS
from monitor.logging import set_up_logging
from monitor.settings.config import load_config

WIDTH = 110


def doctor(
    config: Annotated[Path, typer.Option("--config", help="The daemon's configuration.", show_default=False)],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check the surroundings: disk, registry, Kafka, model servers, sinks; say the level reached. Changes nothing.

    Exits with 1 where there is a problem (a warning is none), with 78 where the configuration itself is one.

    Example: tocsin doctor --config tocsin.yaml
    """
    loaded = load_config(config, os.environ)
    set_up_logging(sys.stderr, as_json=not sys.stderr.isatty(), level=logging.WARNING)
    with Busy("looking around"):
        found = examine(loaded, config)
    show(_as_mapping(found, loaded.mode), as_json=as_json, text=_in_words(found, loaded.mode))
    if any(result.subject == "configuration" and result.status == "problem" for result in found.results):
        raise typer.Exit(BAD_CONFIGURATION)
    if found.status == "problem":
        raise typer.Exit(FAILURE)


def _as_mapping(found: Examination, mode: str) -> dict[str, Any]:
    results = [
        {"check": r.subject, "status": r.status, "message": r.message, "advice": r.advice} for r in found.results
    ]
    models = {name: _as_prospect(prospect) for name, prospect in found.prospects.items()}
    return {"status": found.status, "mode": mode, "checks": results, "models": models}


def _as_prospect(prospect: Prospect) -> dict[str, Any]:
    level = prospect.level
    following = {"level": level.level + 1, "adds": level.adds, "how": level.how} if level.adds else None
    return {"level": level.level, "next": following, "act": prospect.act}


def _in_words(found: Examination, mode: str) -> str:
    width = max(len(result.subject) for result in found.results)
    lines = [line for result in found.results for line in _line(result, width)]
    for name, prospect in found.prospects.items():
        lines += ["", *_outlook(name, prospect, mode)]
    count = {status: sum(r.status == status for r in found.results) for status in ("problem", "warning")}
    return "\n".join([*lines, "", f"problems: {count['problem']}, warnings: {count['warning']}"])


def _line(result: Result, width: int) -> list[str]:
    first = f"{result.status:<7}  {result.subject:<{width}}  {result.message}"
    return [first, f"{'':<7}  {'':<{width}}  -> {result.advice}"] if result.advice else [first]


def _outlook(name: str, prospect: Prospect, mode: str) -> list[str]:
    level = prospect.level
    lines = [f"{name}: level {level.level} of 3" if level.level >= 0 else f"{name}: nothing can be watched yet"]
    lines += [f"  tells {TELLS[reached]}" for reached in range(level.level + 1)]
    if level.adds:
        lines += [f"  level {level.level + 1} would tell {level.adds}", f"  -> {level.how}"]
    act = f"mode is {mode}; act would do this now: {prospect.act}"
    return [*lines, *textwrap.wrap(act, WIDTH, initial_indent="  ", subsequent_indent="    ")]
