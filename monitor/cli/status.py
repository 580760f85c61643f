"""`tocsin status`: how every watched model stands, once or as a table that follows."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from monitor.charges import house
from monitor.cli.output import show
from monitor.cli.screen import STYLES, cell, console, draw, grid
from monitor.report.words import name_of, percent
from monitor.response import ANSWERS
from monitor.settings.config import load_config
from monitor.status import ModelStatus, Status, read_status
from rollback.response.desk import FolderDesk

COLUMNS: Final = ("model", "verdict", "serving", "last window", "fired", "incidents", "being done")
GONE: Final = 300.0
"""Seconds without a sign of life after which the daemon is missed; it gives one every ten, or after a long turn."""
SIGNALLED: Final = 128
"""The exit code of what a signal has ended, less the signal's number."""
SHORT: Final = 8
MINUTE: Final = 60.0


def status(
    config: Annotated[Path, typer.Option("--config", help="The daemon's configuration.", show_default=False)],
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Follow until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.2, help="With --watch: seconds between two looks.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Show how every watched model stands, those in trouble first, from what the daemon has written.

    Example: tocsin status --config tocsin.yaml --watch
    """
    if watch and (as_json or not sys.stdout.isatty()):
        raise typer.BadParameter(
            "follows on a terminal only; without it the table is printed once", param_hint="--watch"
        )
    found = _look(config)
    if as_json:
        show(asdict(found), as_json=True)
    elif watch:
        _follow(config, found, every)
    else:
        draw(parts(found))


def _look(config: Path) -> Status:
    settings = load_config(config, os.environ)
    held = FolderDesk(settings.state_dir / ANSWERS, house=house(settings)).held()
    return read_status(settings.state_dir, settings.models, time.time(), held)


def _follow(config: Path, found: Status, every: float) -> None:
    signal.signal(signal.SIGTERM, _leave)  # at once, it would leave a terminal without its cursor
    try:
        with Live(Group(*parts(found)), console=console(), auto_refresh=False) as live:
            while True:
                live.update(Group(*parts(_look(config))), refresh=True)
                time.sleep(every)
    except KeyboardInterrupt:
        return  # how one stops looking


def _leave(number: int, _: object) -> NoReturn:
    sys.exit(SIGNALLED + number)


def parts(found: Status) -> Iterator[RenderableType]:
    """What is drawn."""
    if found.hold:
        yield cell(f"everything is on hold: {found.hold}", "bold red")
    alive = found.checkpoint_age is not None and found.checkpoint_age <= GONE
    if not alive:  # above the table, whose end a low terminal has no room for
        yield _daemon(found.checkpoint_age)
    if found.models:
        yield grid(COLUMNS, (_row(model) for model in found.models))
    else:
        yield Text("no model is configured, and none was ever seen here")
    if alive:
        yield _daemon(found.checkpoint_age)


def _daemon(age: float | None) -> Text:
    if age is None:
        return cell("nothing was kept here yet: start the daemon with tocsin run", "bold yellow")
    if age > GONE:
        return cell(
            f"the daemon gives no sign of life: it last kept its state {ago(age)} ago; this is how things were then",
            "bold yellow",
        )
    return cell(f"the daemon last kept its state {ago(age)} ago", "dim")


def _row(model: ModelStatus) -> list[object]:
    waiting = f" ({model.waiting} for you to decide)" if model.waiting else ""
    return [
        model.model,
        cell(_verdict(model), STYLES.get(model.verdict, "")),
        f"{model.serving} (known good: {model.last_known_good or 'none'})" if model.serving else None,
        None if model.window_age is None else f"{ago(model.window_age)} ago",
        ", ".join(model.fired),
        ", ".join(uid[:SHORT] for uid in model.incidents),
        cell(", ".join(model.doing) + waiting, "bold yellow" if model.waiting else ""),
    ]


def _verdict(model: ModelStatus) -> str:
    if not model.verdict:
        return "no window lately" if model.beyond else "no window yet"
    sure = "" if model.confidence is None else f", {percent(model.confidence)}"
    grave = "" if model.severity is None else f", severity {model.severity}"
    return f"{name_of(model.verdict, model.hypothesis)}{model.status and f', {model.status}'}{sure}{grave}"


def ago(seconds: float) -> str:
    """A length of time in the unit that a person would take.

    >>> ago(4.2), ago(150), ago(9000), ago(400_000)
    ('4 s', '2 min', '2 h', '4 d')
    """
    for unit, length in (("d", 1440 * MINUTE), ("h", 60 * MINUTE), ("min", MINUTE)):
        if seconds >= length * (1 if unit == "min" else 1.5):
            return f"{int(seconds // length)} {unit}"
    return f"{seconds:.0f} s"
