"""Publishes the public types as JSON Schema: `python -m monitor.schemas docs/schemas`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from monitor.hunting.messages import HuntResult, MissedEvent
from monitor.messages import FeedbackEvent, Incident, InferenceEvent, VettingRequest, WindowRecord
from monitor.settings.config import Config

MESSAGES: Final[dict[str, Any]] = {
    "tocsin.inference.v1": InferenceEvent,
    "tocsin.feedback.v1": FeedbackEvent,
    "tocsin.vetting.v1": VettingRequest,
    "tocsin.incident.v1": Incident,
    "tocsin.window.v1": WindowRecord,
    "tocsin.hunt.v1": HuntResult,
    "tocsin.missed.v1": MissedEvent,
}
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def documents() -> dict[str, dict[str, Any]]:
    """File name -> schema, for every public type and the configuration file."""
    schemas = {name: msgspec.json.schema(kind) for name, kind in MESSAGES.items()}
    schemas["tocsin.config.v1"] = Config.model_json_schema()
    return {
        f"{name}.schema.json": {"$schema": DIALECT, "$id": f"urn:{name.replace('.', ':')}", **schema}
        for name, schema in schemas.items()
    }


def write(folder: Path) -> list[Path]:
    """Write every schema into ``folder``; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, schema in documents().items():
        path = folder / name
        path.write_text(json.dumps(schema, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        written.append(path)
    return written


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and one folder
        sys.exit("usage: python -m monitor.schemas FOLDER")
    for file in write(Path(sys.argv[1])):
        print(file)  # noqa: T201 - this is the command's output
