"""Writes dashboards/*.json, which Grafana reads, from frame.yaml and boards/*/*.yaml, which people do.

`make chart` writes them, and the chart's copies. `python grafana/build.py --check` only says whether they are current,
and fails if one is not.
"""  # noqa: INP001 - a script, no package

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml
from header import annotation, link, places, source, to_board, variable
from known import Known
from meanings import Meanings
from panels import Json, panel
from runbooks import Runbooks

HERE: Final = Path(__file__).parent
DASHBOARDS: Final = HERE / "dashboards"
RULES: Final = HERE.parent / "prometheus" / "rules"
COLUMNS: Final = 24
INTERVALS: Final = ["5s", "10s", "30s", "1m", "5m", "15m", "1h"]


def dashboards() -> dict[Path, str]:
    """What each file holds, by its path."""
    frame = yaml.safe_load((HERE / "frame.yaml").read_text())
    folders = sorted(path for path in (HERE / "boards").iterdir() if path.is_dir())
    boards = [yaml.safe_load((folder / "board.yaml").read_text()) for folder in folders]
    known = Known(Runbooks.read(RULES), Meanings.of_the_code())
    found = {}
    for folder, board in zip(folders, boards, strict=True):
        rows = [yaml.safe_load(path.read_text()) for path in sorted(folder.glob("[0-9]*.yaml"))]
        of_board = {**frame, "title": board["title"], "fragments": frame["fragments"] | board.get("fragments", {})}
        whole = dashboard(board, rows, of_board, boards, known)
        found[DASHBOARDS / f"{board['uid']}.json"] = json.dumps(whole, indent=2) + "\n"
    return found


def dashboard(board: Json, rows: list[Json], frame: Json, boards: list[Json], known: Known) -> Json:
    """A whole dashboard, as Grafana's classic JSON model; it links to all ``boards``."""
    variables = [each for each in frame["variables"] if each["name"] in board["variables"]]
    return {
        "id": None,
        "uid": board["uid"],
        "title": board["title"],
        "description": board["description"].strip(),
        "tags": frame["tags"],
        "schemaVersion": 41,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "browser",
        "weekStart": "",
        "fiscalYearStartMonth": 0,
        "preload": False,
        "time": {"from": board.get("time", frame["time"]), "to": "now"},
        "refresh": frame["refresh"],
        "timepicker": {"refresh_intervals": INTERVALS},
        "links": [*map(to_board, boards), *map(link, [*frame["links"], *known.runbooks.all()])],
        "templating": {"list": [source(), *(variable(each, frame) for each in variables), *places(frame)]},
        "annotations": {"list": [annotation(each, frame) for each in frame["annotations"]]},
        "panels": list(_placed(rows, frame, known)),
    }


def _placed(rows: list[Json], frame: Json, known: Known) -> Iterator[Json]:
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
            yield {"id": number, **known.of(spec, panel(spec, frame), frame["title"]), **_at(x, y, width, height)}
            x, tallest = x + width, max(tallest, height)
        y += tallest


def _at(x: int, y: int, width: int, height: int) -> Json:
    return {"gridPos": {"x": x, "y": y, "w": width, "h": height}}


def stale(wanted: dict[Path, str]) -> list[Path]:
    """Files that are missing or differ, and those that no board writes."""
    left_over = [path for path in DASHBOARDS.glob("*") if path not in wanted]
    return [path for path, text in wanted.items() if not path.exists() or path.read_text() != text] + left_over


def main(arguments: list[str]) -> None:
    """Write the dashboards, or only check them."""
    wanted = dashboards()
    if arguments == ["--check"]:
        if found := stale(wanted):
            sys.exit(f"run `make chart`: not what the boards say: {', '.join(path.name for path in found)}")
        return
    if arguments:
        sys.exit("usage: python grafana/build.py [--check]")
    DASHBOARDS.mkdir(exist_ok=True)
    for path in stale(wanted):
        if path in wanted:
            path.write_text(wanted[path])
        else:
            path.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
