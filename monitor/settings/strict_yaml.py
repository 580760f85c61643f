"""Reads one YAML document into plain values, refusing what YAML lets pass in silence (a key that is given twice)."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from monitor.settings.problems import ConfigError, Problem

_MERGE = "tag:yaml.org,2002:merge"


class _StrictLoader(yaml.SafeLoader):
    """The safe loader (plain values only, no objects), with repeated keys as errors."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - the base class's signature
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:  # `<<: *defaults`, whose keys may well be given again
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in the file, {} for an empty one; `ConfigError` with line and column where it is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, [Problem("", f"cannot be read: {reason(error)}")]) from error
    try:
        value = yaml.load(text, _StrictLoader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(path, [Problem("", _explain(error))]) from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(path, [Problem("", f"holds a {type(value).__name__}; the top level must be `key: value`")])
    if odd := [key for key in value if not isinstance(key, str)]:
        raise ConfigError(path, [Problem(str(key), "unknown; a key is a word") for key in odd])
    return value


def reason(error: OSError | UnicodeDecodeError) -> str:
    """Why a file could not be read, without repeating its name."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _explain(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"not YAML: {error}"
    mark = error.problem_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
