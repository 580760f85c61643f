"""A row of a training store: what happened, who supplied it, and everything that was ever said of its label."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import msgspec

INFINITE: Final = frozenset({float("inf"), float("-inf")})
ABOUT: Final = frozenset({"id", "ts", "source", "origin", "session", "label", "trusted", "disputed"})
"""The columns of a store's table besides the features."""
Value: TypeAlias = float | str | None
"""A cell: a number, a text, None where it is missing."""


class Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True, gc=False):
    """One statement about a row: its label, when it was given (seconds), its origin (the channel) and by whom."""

    label: str
    at: float
    origin: str
    by: str


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """``ts`` is the time of the event in seconds, ``digest`` names what the row is: `content_digest`.

    ``labels`` are all statements that were ever made, in order of time; there may be none. ``origin`` is the channel
    that the row came by, ``source`` the sensor or tenant that saw it.
    """

    id: str
    ts: float
    source: str
    origin: str
    session: str
    features: dict[str, Value]
    labels: tuple[Said, ...]
    digest: str


def make_row(
    ident: str,
    ts: float,
    *,
    source: str,
    origin: str,
    session: str,
    features: Mapping[str, Value],
    labels: Iterable[Said],
) -> Row:
    """A row with its digest; a row without an id is named by its digest.

    Raises `ValueError` for a number that is infinite, and for a feature of a name that says something about a row.
    """
    if taken := ABOUT.intersection(features):
        raise ValueError(f"{min(taken)}: is no feature's name in a store, it says something about a row; rename it")
    for name, value in {"ts": ts, **features}.items():
        if isinstance(value, float) and value in INFINITE:
            raise ValueError(f"{name}: the number is infinite; leave missing values empty")
    cells = {n: None if v != v else v for n, v in features.items()}  # noqa: PLR0124 - NaN differs from itself
    digest = content_digest(ident, ts, source, session, cells)
    return Row(ident or digest, ts, source, origin, session, cells, in_order(labels), digest)


def content_digest(ident: str, ts: float, source: str, session: str, features: Mapping[str, Value]) -> str:
    """SHA-256 of what a row is, whoever labels it: another value, source or session is another row.

    >>> content_digest("a", 1.0, "s", "", {"x": 1.0}) == content_digest("a", 1.0, "s", "", {"x": 2.0})
    False
    """
    return hashlib.sha256(msgspec.json.encode([ident, ts, source, session, features], order="sorted")).hexdigest()


def in_order(labels: Iterable[Said]) -> tuple[Said, ...]:
    """Every statement once, by time; the same set gives the same order, however it came together."""
    return tuple(sorted(set(labels), key=lambda s: (s.at, s.origin, s.by, s.label)))


def label_of(row: Row, trusted: frozenset[str]) -> Said | None:
    """The statement that holds: the last one by an origin in ``trusted``; where there is none, the last of all.

    A label by a trusted origin is not overruled by whoever speaks later.
    """
    if len(row.labels) == 1:
        return row.labels[0]
    believed = [said for said in row.labels if said.origin in trusted]
    return (believed or list(row.labels) or [None])[-1]  # type: ignore[list-item]  # None where nothing was said


def disputed(row: Row) -> bool:
    """Whether its labels contradict each other."""
    return len({said.label for said in row.labels}) > 1
