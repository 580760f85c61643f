"""Turns pydantic's findings into problems with field paths, in words that name the remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError

from monitor.settings.problems import Problem, unknown

_QUIET = ("password", "secret", "token", "key")
"""The value of a field with such a name is never repeated in a message, right or wrong."""
_LONGEST_VALUE = 60
_PLAIN = {
    "missing": "missing",
    "dataclass_type": "must be a section (`key: value` lines)",
    "model_type": "must be a section (`key: value` lines)",
    "dict_type": "must be a section (`key: value` lines)",
    "model_attributes_type": "must be a section (`key: value` lines)",
}


def explain(error: ValidationError, root: type[BaseModel]) -> list[Problem]:
    """Every finding of ``error``, found while a ``root`` was being made, as a problem."""
    return [_problem(details, root) for details in error.errors(include_url=False)]


def _problem(details: Mapping[str, Any], root: type[BaseModel]) -> Problem:
    place = [str(step) for step in details["loc"] if step != "[key]"]
    path = ".".join(place)
    if details["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        return Problem(path, unknown(place[-1], _fields_at(root, place[:-1])))
    if details["type"] in _PLAIN:
        return Problem(path, _PLAIN[details["type"]])
    if details["loc"][-1:] == ("[key]",):
        return Problem(path, f"cannot be a name here: {_words(details['msg'])}; if it is a number, put it in quotes")
    return Problem(path, _words(details["msg"]) + _given(place, details["input"]))


def _words(message: str) -> str:
    text = message.removeprefix("Value error, ").replace("Input should be", "must be").replace("should", "must")
    return text[:1].lower() + text[1:]


def _given(place: Sequence[str], value: Any) -> str:
    if not isinstance(value, str | int | float | bool) and value is not None:
        return ""
    if place and any(word in place[-1] for word in _QUIET):
        return ""
    if isinstance(value, str) and "://" in value and "@" in value:  # an address with a password in it
        return ""
    shown = repr(value)
    hint = " (YAML reads yes, no, on and off as truth values: put it in quotes)" if isinstance(value, bool) else ""
    return f", got {shown}{hint}" if len(shown) <= _LONGEST_VALUE else ""


def _fields_at(root: type[BaseModel], place: Sequence[str]) -> list[str]:
    """The keys that are valid below ``place``."""
    kind: Any = root
    for step in place:
        if step.isdigit() and _is_section(kind):
            continue  # an item of a list of sections
        inner = _keys(kind)[step] if _is_section(kind) else get_args(kind)[1]
        kind = next((k for k in (inner, *get_args(inner)) if _is_section(k) or get_origin(k) is dict), None)
        if kind is None:
            return []
    return sorted(_keys(kind)) if _is_section(kind) else []


def _keys(section: Any) -> Mapping[str, Any]:
    """The keys of a section and their types: a pydantic model, or the dataclass of a component."""
    if is_dataclass(section):
        types = get_type_hints(section)
        return {field.name: types[field.name] for field in fields(section)}
    return {field.alias or name: field.annotation for name, field in section.model_fields.items()}


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and (issubclass(kind, BaseModel) or is_dataclass(kind))
