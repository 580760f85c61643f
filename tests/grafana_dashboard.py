"""The dashboards as Grafana would use them: their panels, and their queries with the variables filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "grafana" / "dashboards"
EVERY = ".+"
METRIC = re.compile(r"\b((?:tocsin|process|python)_\w+|ALERTS)\b(?:\{([^{}]*)\})?")


class Target(NamedTuple):
    """A query of a panel (``fleet: Verdict``), and the labels that its legend names; ``instant``: of the end only.

    ``exemplar``: the incidents behind it are asked for, too.
    """

    panel: str
    expr: str
    named: frozenset[str]
    instant: bool
    exemplar: bool = False


class Board(NamedTuple):
    """A dashboard: ``fleet``, ``model``, ``response`` or ``pipeline``."""

    name: str
    file: dict[str, Any]

    @property
    def panels(self) -> list[dict[str, Any]]:
        """Without the titles of the rows."""
        return [panel for panel in self.file["panels"] if panel["type"] != "row"]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The titles of the rows."""
        return [panel for panel in self.file["panels"] if panel["type"] == "row"]

    @property
    def variables(self) -> dict[str, dict[str, Any]]:
        """What can be chosen, by name."""
        return {each["name"]: each for each in self.file["templating"]["list"]}

    def targets(self) -> Iterator[Target]:
        """The queries of all panels."""
        for panel in self.panels:
            for target in panel["targets"]:
                labels = _labels(target["legendFormat"])
                where, also = f"{self.name}: {panel['title']}", target["exemplar"]
                yield Target(where, target["expr"], labels, target["instant"], also)

    def annotations(self) -> Iterator[Target]:
        """The queries behind the marks on the panels."""
        for each in self.file["annotations"]["list"]:
            named = _labels(each["titleFormat"])
            yield Target(f"{self.name}: annotation {each['name']}", each["expr"], named, instant=False)

    def choices(self) -> Iterator[tuple[str, str, str]]:
        """Name, metric and label of each variable that is asked for."""
        for name, variable in self.variables.items():
            if variable["type"] == "query":
                found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
                assert found is not None
                yield name, found[1], found[2]


def _labels(legend: str) -> frozenset[str]:
    return frozenset(re.findall(r"{{(\w+)}}", legend))


def boards() -> list[Board]:
    """All dashboards, in the order of their titles."""
    found = [json.loads(path.read_text()) for path in FOLDER.glob("*.json")]
    return [Board(each["uid"].removeprefix("tocsin-"), each) for each in sorted(found, key=lambda file: file["title"])]


BOARDS = boards()
TARGETS = [target for board in BOARDS for target in board.targets()]
ANNOTATIONS = [target for board in BOARDS for target in board.annotations()]
PANELS = [(f"{board.name}: {panel['title']}", panel) for board in BOARDS for panel in board.panels]


def metrics_of(expr: str) -> list[tuple[str, dict[str, str]]]:
    """Metrics of an expression with their matchers.

    >>> metrics_of('rate(tocsin_events_total{model="a"}[1m])')
    [('tocsin_events_total', {'model': 'a'})]
    """
    return [
        (name, {label: value for label, _, value in re.findall(r'(\w+)(=~|=)"([^"]*)"', matchers)})
        for name, matchers in METRIC.findall(expr)
    ]


def unknown(asked: Iterable[tuple[str, str]], known: Collection[str]) -> dict[str, list[str]]:
    """Metrics that nobody shows, and who asks for them: ``asked`` are pairs of a panel's name and an expression.

    >>> unknown([("fleet: Verdict", "tocsin_verdict"), ("model: Age", "tocsin_age")], {"tocsin_age"})
    {'tocsin_verdict': ['fleet: Verdict']}
    """
    missing: dict[str, list[str]] = {}
    for place, expr in asked:
        for name, _ in metrics_of(expr):
            if name not in known and place not in missing.get(name, []):
                missing.setdefault(name, []).append(place)
    return missing


def filled(text: str, chosen: Mapping[str, str], seconds: float) -> str:
    """An expression as it is sent over a range of ``seconds``; a variable that is not in ``chosen`` is All.

    >>> filled('rate(a{job=~"$job"}[$__rate_interval])', {}, 60)
    'rate(a{job=~".+"}[10s])'
    """
    known = {"__rate_interval": "10s", "__range": f"{seconds:.0f}s", **chosen}
    return re.sub(r"\$(\w+)", lambda found: known.get(found[1]) or EVERY, text)
