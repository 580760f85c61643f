"""What the metrics of a panel mean, by their definitions in the code; a metric that is not defined stops the build."""  # noqa: INP001 - a script, no package

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple, Self

from panels import Json

from monitor.watching.catalogue import catalogue

NAME: Final = re.compile(r"\btocsin_\w+")
PARTS: Final = re.compile(r"_(bucket|sum|count)$")


class Meanings(NamedTuple):
    """What each metric means, by name."""

    texts: dict[str, str]

    @classmethod
    def of_the_code(cls) -> Self:
        """Every metric that the code registers."""
        return cls({each.name: each.text for group in catalogue().values() for each in group})

    def of(self, panel: Json, board: str) -> str:
        """A line for each metric that a panel shows; ValueError where one is not defined."""
        where = f"{board}, panel {panel['title']!r}"
        return "\n".join(f"`{name}`: {self._text(name, where)}" for name in names(panel["targets"]))

    def _text(self, name: str, where: str) -> str:
        if name not in self.texts:
            raise ValueError(f"{where} asks for {name}, which no code shows: was it renamed?")
        return self.texts[name]


def names(targets: Iterable[Json]) -> list[str]:
    """The metrics of Tocsin that queries ask for, each once, as they are registered.

    >>> names([{"expr": "rate(tocsin_turn_seconds_bucket[1m])"}, {"expr": "tocsin_turn_seconds_sum / tocsin_lag"}])
    ['tocsin_turn_seconds', 'tocsin_lag']
    """
    found = [PARTS.sub("", name) for target in targets for name in NAME.findall(target["expr"])]
    return list(dict.fromkeys(found))
