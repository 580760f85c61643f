"""Writes dashboards/tocsin.json, which Grafana reads, from frame.yaml and rows/*.yaml, which people do.

`make chart` writes it, and the chart's copy. `python grafana/build.py --check` only says whether it is current, and
fails if it is not.
"""  # noqa: INP001 - a script, no package

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml
from panels import SOURCE, Json, expand, panel

HERE: Final = Path(__file__).parent
DASHBOARD: Final = HERE / "dashboards" / "tocsin.json"
COLUMNS: Final = 24


def dashboard() -> Json:
    """The whole dashboard, as Grafana's classic JSON model."""
    frame = yaml.safe_load((HERE / "frame.yaml").read_text())
    rows = [yaml.safe_load(path.read_text()) for path in sorted((HERE / "rows").glob("*.yaml"))]
    return {
        "id": None,
        "uid": frame["uid"],
        "title": frame["title"],
        "description": frame["description"],
        "tags": frame["tags"],
        "schemaVersion": 41,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "browser",
        "weekStart": "",
        "fiscalYearStartMonth": 0,
        "preload": False,
        "time": {"from": frame["time"], "to": "now"},
        "refresh": frame["refresh"],
        "timepicker": {"refresh_intervals": ["5s", "10s", "30s", "1m", "5m", "15m", "1h"]},
        "links": [_link(link) for link in frame["links"]],
        "templating": {"list": [_source(), *(_variable(each, frame) for each in frame["variables"])]},
        "annotations": {"list": [_annotation(each, frame) for each in frame["annotations"]]},
        "panels": list(_placed(rows, frame)),
    }


def _placed(rows: list[Json], frame: Json) -> Iterator[Json]:
    """Rows and their panels, numbered and laid out from left to right, from top to bottom."""
    number = y = 0
    for row in rows:
        number += 1
        yield {"id": number, "type": "row", "title": row["title"], "collapsed": False, "panels": [], **_at(0, y, 24, 1)}
        y, x, tallest = y + 1, 0, 0
        for spec in row["panels"]:
            width, height = map(int, spec["size"].split("x"))
            if x + width > COLUMNS:
                y, x, tallest = y + tallest, 0, 0
            number += 1
            yield {"id": number, **panel(spec, frame), **_at(x, y, width, height)}
            x, tallest = x + width, max(tallest, height)
        y += tallest


def _at(x: int, y: int, width: int, height: int) -> Json:
    return {"gridPos": {"x": x, "y": y, "w": width, "h": height}}


def _source() -> Json:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1}


def _variable(spec: Json, frame: Json) -> Json:
    query = expand(spec["query"], frame["fragments"])
    return {
        "name": spec["name"],
        "label": spec["label"],
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": ["All"], "value": ["$__all"]},
        "refresh": 2,
        "sort": 1,
    }


def _annotation(spec: Json, frame: Json) -> Json:
    return {
        "name": spec["name"],
        "datasource": SOURCE,
        "enable": True,
        "iconColor": spec["colour"],
        "expr": expand(spec["expr"], frame["fragments"]),
        "titleFormat": spec["title"],
        "tagKeys": "model",
    }


def _link(spec: Json) -> Json:
    return {"type": "link", "tags": [], "targetBlank": True, "keepTime": False, "includeVars": False, **spec}


def main(arguments: list[str]) -> None:
    """Write the dashboard, or only check it."""
    text = json.dumps(dashboard(), indent=2) + "\n"
    if arguments == ["--check"]:
        if not DASHBOARD.exists() or DASHBOARD.read_text() != text:
            sys.exit(f"run `make chart`: {DASHBOARD.name} is not what the rows say")
        return
    if arguments:
        sys.exit("usage: python grafana/build.py [--check]")
    DASHBOARD.parent.mkdir(exist_ok=True)
    DASHBOARD.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
