"""Brings into the chart what lies elsewhere, because Helm reads nothing outside of a chart: dashboards, rules, schema.

`make chart` writes the copies. `python helm/copies.py --check` only says which are out of date, and fails if any are.
"""  # noqa: INP001 - a script, no package

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from monitor.schemas import documents

ROOT: Final = Path(__file__).parent.parent
CHART: Final = ROOT / "helm" / "tocsin"
DASHBOARDS: Final = CHART / "dashboards"
RULES: Final = CHART / "rules"
VALUES: Final = CHART / "values.schema.json"
CONFIG: Final = "tocsin.config.v1.schema.json"

BY_THE_CHART: Final = {"state_dir", "registry", "http"}
"""What the configuration cannot say in a chart: the paths and the port are those of the container."""
NEEDED: Final = ["kafka", "models"]


def copies() -> dict[Path, str]:
    """What each copy must hold, by its path."""
    wanted = {DASHBOARDS / path.name: path.read_text() for path in (ROOT / "grafana" / "dashboards").glob("*.json")}
    wanted |= {RULES / path.name: path.read_text() for path in (ROOT / "prometheus" / "rules").glob("*.yaml")}
    values = with_config(json.loads(VALUES.read_text()), documents()[CONFIG])
    return {**wanted, VALUES: json.dumps(values, indent=2) + "\n"}


def with_config(values: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """The schema of the chart's values with that of the configuration in it; everything else stays as it is."""
    sections = {name: section for name, section in config["properties"].items() if name not in BY_THE_CHART}
    sections["kafka"] = {"$ref": "#/$defs/KafkaConfig"}
    section = {"type": "object", "additionalProperties": False, "properties": sections, "required": NEEDED}
    return {**values, "properties": {**values["properties"], "config": section}, "$defs": config["$defs"]}


def stale(wanted: dict[Path, str]) -> list[Path]:
    """Copies that are missing or differ, and those whose original is gone."""
    left_over = [path for folder in (DASHBOARDS, RULES) for path in folder.glob("*") if path not in wanted]
    return [path for path, text in wanted.items() if not path.exists() or path.read_text() != text] + left_over


def main(arguments: list[str]) -> None:
    """Write the copies, or only check them."""
    wanted = copies()
    if arguments == ["--check"]:
        if found := stale(wanted):
            sys.exit(f"run `make chart`: {', '.join(str(path.relative_to(ROOT)) for path in found)}")
        return
    if arguments:
        sys.exit("usage: python helm/copies.py [--check]")
    for folder in (DASHBOARDS, RULES):
        folder.mkdir(exist_ok=True)
    for path in stale(wanted):
        if path in wanted:
            path.write_text(wanted[path])
        else:
            path.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
