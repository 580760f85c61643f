"""Tables for a person at a terminal, by rich; in a pipe the same text without colours, and no line is cut.

Whatever an attacker may have written is made printable, and never read as rich's markup. Rich is loaded when a command
that draws is asked for, not with `tocsin` itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TextIO

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from monitor.report.words import shown

MOST_IN_CELL: Final = 300
ENDLESS: Final = 100_000
"""Columns of a pipe: whoever reads it wants whole lines."""
STYLES: Final[Mapping[str, str]] = {
    "poisoning": "bold red",
    "evasion": "bold magenta",
    "fault": "bold yellow",
    "drift": "blue",
    "inconclusive": "yellow",
    "stable": "green",
    "fired": "red",
    "error": "bold magenta",
    "proposed": "bold yellow",
    "halted": "bold red",
    "done": "green",
}
"""Of words that mean the same everywhere; each is also told by the word itself."""


def console(stream: TextIO | None = None) -> Console:
    """Where to draw: standard output unless said."""
    out = stream or sys.stdout
    return Console(file=out, width=None if out.isatty() else ENDLESS, markup=False, highlight=False, emoji=False)


def cell(value: Any, style: str = "") -> Text:
    """A value as a cell: printable, and in the colour of its word."""
    text = ("yes" if value else "no") if isinstance(value, bool) else shown(value, MOST_IN_CELL)
    return Text(text, style or STYLES.get(text.partition(" ")[0], ""), overflow="fold")


def grid(names: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> Table:
    """Rows under a heading."""
    table = Table(title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in names:
        table.add_column(name, header_style="bold", overflow="fold")
    for row in rows:
        table.add_row(*(value if isinstance(value, Text) else cell(value) for value in row))
    return table


def facts(pairs: Iterable[tuple[str, Any]]) -> Table:
    """Names and their values, one pair a line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(name, value if isinstance(value, Text) else cell(value))
    return table


def draw(parts: Iterable[RenderableType], stream: TextIO | None = None) -> None:
    """Draw one thing below the other, an empty line between two."""
    out = console(stream)
    with out.capture() as drawn:
        for number, part in enumerate(parts):
            if number:
                out.print()
            out.print(part)
    # a table is filled up with spaces to its width: who searches a pipe or copies a line has no use for them
    print("\n".join(line.rstrip() for line in drawn.get().splitlines()), file=out.file)
