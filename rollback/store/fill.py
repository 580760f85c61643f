"""Rows for a training store: from the columns of a file, and from events joined with their labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from detectors.batch import Labels
from detectors.schema import Schema
from rollback.store.row import Row, Said, Value, make_row
from rollback.tables.table import Table, TableError


@dataclass(frozen=True, slots=True)
class Roles:
    """Which columns of a file say something about a row; all others are features. ``label`` is its label.

    Where ``origin`` names no column, ``channel`` is the origin of every row and label.
    """

    label: str
    id: str | None = None
    ts: str | None = None
    source: str | None = None
    origin: str | None = None
    session: str | None = None
    ignore: tuple[str, ...] = ()
    channel: str = "file"

    def columns(self) -> list[str]:
        """Those that are no features."""
        named = (self.label, self.id, self.ts, self.source, self.origin, self.session, *self.ignore)
        return [name for name in named if name is not None]


def rows_of_table(table: Table, roles: Roles, by: str) -> Iterator[Row]:
    """The rows of a table. A label counts as given by ``by`` at the time of its event (0 where there is none).

    Raises `TableError`.
    """
    for name in roles.columns():
        table.column(name)
    features = [name for name in table.columns if name not in roles.columns()]
    cells = {name: table.columns[name].tolist() for name in features}
    blank = [""] * len(table)
    ids, sources, sessions, labels = (
        table.strings(name).tolist() if name else blank for name in (roles.id, roles.source, roles.session, roles.label)
    )
    origins = table.strings(roles.origin).tolist() if roles.origin else [roles.channel] * len(table)
    times = table.floats(roles.ts).tolist() if roles.ts else [0.0] * len(table)
    for i in range(len(table)):
        if times[i] != times[i]:
            raise TableError(f"{table.where(i, roles.ts or '')}: has no time; every row needs one, or leave --ts out")
        said = [Said(labels[i], times[i], origins[i], by)] if labels[i] else []
        try:
            yield make_row(
                ids[i],
                times[i],
                source=sources[i] or "-",
                origin=origins[i],
                session=sessions[i],
                features={name: _value(cells[name][i]) for name in features},
                labels=said,
            )
        except ValueError as error:
            raise TableError(f"{table.path}: {table.unit} {int(table.line[i])}: {error}") from error


def _value(cell: float | str) -> Value:
    return None if cell == "" else cell


def rows_of_labels(labels: Labels, schema: Schema) -> Iterator[Row]:
    """The events that labels were joined with, each with the one statement that the label is."""
    shown = [[feature.show(value) for value in labels.x[:, j].tolist()] for j, feature in enumerate(schema.features)]
    for i, ident in enumerate(labels.id.tolist()):
        origin = str(labels.origin[i])
        yield make_row(
            ident,
            float(labels.event_ts[i]),
            source=str(labels.source[i]),
            origin=origin,
            session=str(labels.session[i]),
            features={name: column[i] for name, column in zip(schema.names, shown, strict=True)},
            labels=[Said(str(labels.name[i]), float(labels.ts[i]), origin, "stream")],
        )
