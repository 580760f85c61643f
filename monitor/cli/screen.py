"""Tables for a person at a terminal, by rich; in a pipe the same text without colours, and no line is cut.

Whatever an attacker may have written is made printable, and never read as rich's markup. Rich is loaded when a command
that draws is asked for, not with `tocsin` itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from typing import Any, Final, TextIO

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from monitor.report.words import shown

MOST_IN_CELL: Final = 300
ENDLESS: Final = 100_000
"""Columns of a pipe: whoever reads it wants whole lines."""
GAP: Final = 2
"""Columns between two of a table."""
LONG_WORD: Final = 20
"""What is longer may be broken."""
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
    if isinstance(out, TextIOWrapper):  # a terminal without some letter shows its number, and no error
        out.reconfigure(errors="backslashreplace")
    return Console(file=out, width=None if out.isatty() else ENDLESS, markup=False, highlight=False, emoji=False)


def cell(value: Any, style: str = "") -> Text:
    """A value as a cell: printable, and in the colour of its word."""
    text = ("yes" if value else "no") if isinstance(value, bool) else shown(value, MOST_IN_CELL)
    return Text(text, style or STYLES.get(text.partition(" ")[0], ""), overflow="fold")


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows under a heading; where the terminal is too narrow for that, each row as a block of names and values."""

    names: Sequence[str]
    rows: Sequence[Sequence[Text]]

    def __rich_console__(self, on: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it in the room that there is."""
        if self._least_width() <= options.max_width:
            yield self._table()
            return
        for number, row in enumerate(self.rows):
            if number:
                yield Text()
            yield facts(zip(self.names, row, strict=True))

    def _least_width(self) -> int:
        """Columns that it takes so that no word is broken, but for those that nobody would read to their end."""
        return sum(width + GAP for width in self._least_widths()) - GAP

    def _least_widths(self) -> list[int]:
        columns = zip(*([Text(name) for name in self.names], *self.rows), strict=True)
        return [max(map(_longest_word, column)) for column in columns]

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), collapse_padding=True)
        for name, width in zip(self.names, self._least_widths(), strict=True):
            table.add_column(name, header_style="bold", overflow="fold", min_width=width)
        for row in self.rows:
            table.add_row(*row)
        return table


def _longest_word(text: Text) -> int:
    return min(max((cell_len(word) for word in text.plain.split()), default=0), LONG_WORD)


def grid(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Grid:
    """Rows under a heading."""
    return Grid(names, [[value if isinstance(value, Text) else cell(value) for value in row] for row in rows])


def facts(pairs: Iterable[tuple[str, Any]]) -> Table:
    """Names and their values, one pair a line."""
    table = Table.grid(padding=(0, GAP))
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
