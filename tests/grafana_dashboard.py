"""The dashboard as Grafana would use it: its panels, and its queries with the variables filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
PATH = ROOT / "grafana" / "dashboards" / "tocsin.json"
BOARD: dict[str, Any] = json.loads(PATH.read_text())
ROWS: list[dict[str, Any]] = [panel for panel in BOARD["panels"] if panel["type"] == "row"]
PANELS: list[dict[str, Any]] = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
VARIABLES: dict[str, dict[str, Any]] = {each["name"]: each for each in BOARD["templating"]["list"]}
EVERY = ".+"


class Target(NamedTuple):
    """A query of a panel, and the labels that its legend names; ``instant`` is asked for the end of the range only."""

    panel: str
    expr: str
    named: frozenset[str]
    instant: bool


def targets() -> Iterator[Target]:
    """The queries of all panels."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield Target(panel["title"], target["expr"], _labels(target["legendFormat"]), target["instant"])


def annotations() -> Iterator[Target]:
    """The queries behind the marks on the panels."""
    for each in BOARD["annotations"]["list"]:
        yield Target(f"annotation {each['name']}", each["expr"], _labels(each["titleFormat"]), instant=False)


def label_values(name: str) -> tuple[str, str]:
    """Metric and label of a variable's query."""
    found = re.fullmatch(r"label_values\((.+), (\w+)\)", VARIABLES[name]["query"]["query"])
    assert found is not None
    return found[1], found[2]


def filled(text: str, chosen: Mapping[str, str], seconds: float) -> str:
    """An expression as it is sent over a range of ``seconds``; a variable that is not in ``chosen`` is All.

    >>> filled('rate(a{job=~"$job"}[$__rate_interval])', {}, 60)
    'rate(a{job=~".+"}[1m])'
    """
    known = {"__rate_interval": "1m", "__range": f"{seconds:.0f}s", **chosen}
    return re.sub(r"\$(\w+)", lambda found: known.get(found[1]) or EVERY, text)


def _labels(legend: str) -> frozenset[str]:
    return frozenset(re.findall(r"{{(\w+)}}", legend))
