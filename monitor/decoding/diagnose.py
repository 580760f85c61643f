"""Why a message cannot be read: the slow second look, taken only at what the typed decoder has refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from detectors.schema import Feature, Schema
from monitor.decoding.reject import Reason, UnreadableError

TEXT_LIMIT: Final = 256
"""The most characters that id, model, version, source, session, label and origin may have."""
MAX_TS: Final = 1e11
"""Seconds since the epoch: the year 5138. What is larger was meant as milliseconds."""

CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
"""Characters that break log lines, and NUL, which numpy strips from the end of a string."""


_NOT_FINITE: Final[Mapping[str, Reason]] = {
    "ts": "bad_ts",
    "scores": "scores_not_finite",
    "features": "feature_not_finite",
}


class Fields(NamedTuple):
    """Fields of an event: required names, optional texts, and what else is required."""

    names: Sequence[str]
    texts: Sequence[str]
    others: Sequence[str]


def explain(value: bytes, fields: Fields, error: Exception | None) -> tuple[Reason, str | None, str]:
    """The reason, the source if it can be read, and the detail for a person.

    ``error`` is what the typed decoder said, used when the second look finds nothing more precise.

    >>> explain(b'{"id": "a"}', Fields(("id",), (), ("ts",)), None)
    ('missing_field', None, '`ts` is missing')
    """
    source = None
    try:
        found = _parsed(value)
        if not isinstance(found, dict):
            return "not_an_object", None, f"expected a JSON object, got {_kind(found)}"
        source = found.get("source")
        source = source if isinstance(source, str) else None
        _check_fields(found, fields)
    except UnreadableError as why:
        return why.reason, source, why.detail
    return "field_type", source, str(error) if error else "the message cannot be read"


def _parsed(value: bytes) -> Any:
    try:
        return msgspec.json.decode(value)
    except RecursionError:
        raise UnreadableError("bad_json", "the JSON is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise UnreadableError("bad_json", f"not UTF-8 at byte {error.start}") from None
    except msgspec.MsgspecError as error:
        lenient = _parsed_leniently(value)
        if lenient is None:
            raise UnreadableError("bad_json", str(error)) from None
        return lenient


def _parsed_leniently(value: bytes) -> dict[str, Any] | None:
    """JSON knows no NaN or infinity, but some producers write them, or numbers beyond the range of a double."""
    try:
        found = json.loads(value.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    bad = isinstance(found, dict) and any(_holds_not_finite(found.get(name)) for name in _NOT_FINITE)
    return found if bad else None


def _holds_not_finite(found: Any) -> bool:
    if isinstance(found, dict):
        found = list(found.values())
    items = found if isinstance(found, list) else [found]
    return any(isinstance(item, float) and not math.isfinite(item) for item in items)


def _check_fields(found: Mapping[str, Any], fields: Fields) -> None:
    for name, reason in _NOT_FINITE.items():
        if _holds_not_finite(found.get(name)):
            hint = "; write null where missing" if name == "features" else ""
            raise UnreadableError(reason, f"`{name}` holds NaN, or a number beyond the range of a double{hint}")
    for name in (*fields.names, *fields.others):
        if found.get(name) is None:
            raise UnreadableError("missing_field", f"`{name}` is missing")
    for name in (*fields.names, *fields.texts):
        text = found.get(name)
        if text is not None:
            _check_text(name, text, required=name in fields.names)
    _check_ts(found["ts"])


def _check_text(name: str, text: Any, *, required: bool) -> None:
    if not isinstance(text, str):
        raise UnreadableError("field_type", f"`{name}` must be a string, got {_kind(text)}")
    if required and not text:
        raise UnreadableError("missing_field", f"`{name}` is empty")
    if len(text) > TEXT_LIMIT:
        raise UnreadableError("field_too_long", f"`{name}` has {len(text)} characters, at most {TEXT_LIMIT} are read")
    if control := CONTROL.search(text):
        raise UnreadableError("control_character", f"`{name}` holds the control character {control.group()!r}")


def _check_ts(ts: Any) -> None:
    hint = "expected RFC 3339 with Z or an offset, or seconds since the epoch"
    if isinstance(ts, str):
        try:
            aware = msgspec.convert(ts, datetime).tzinfo is not None
        except msgspec.ValidationError:
            aware = False
        if not aware or not 0 <= msgspec.convert(ts, datetime).timestamp() <= MAX_TS:
            raise UnreadableError("bad_ts", f"`ts` is {ts[:64]!r}; {hint}")
    elif isinstance(ts, bool) or not isinstance(ts, int | float):
        raise UnreadableError("bad_ts", f"`ts` is {_kind(ts)}; {hint}")
    elif ts > MAX_TS:
        raise UnreadableError("bad_ts", f"`ts` is {ts!r}: this looks like milliseconds or finer; {hint}")
    elif ts < 0:
        raise UnreadableError("bad_ts", f"`ts` is {ts!r}: before 1970; {hint}")


def explain_features(raw: bytes | memoryview, schema: Schema, error: Exception) -> UnreadableError:
    """What is wrong with ``features``."""
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return UnreadableError("feature_not_finite", f"`features` cannot be read: {error}")
    if isinstance(found, dict):
        unknown = [name for name in found if name not in schema.names]
        if unknown:
            return UnreadableError("unknown_feature", f"the schema has no feature {unknown[0]!r}")
        pairs = [(f, found.get(f.name)) for f in schema.features]
    elif isinstance(found, list):
        if len(found) != len(schema.features):
            detail = f"{len(found)} features, the schema has {len(schema.features)}"
            return UnreadableError("feature_count", detail)
        pairs = list(zip(schema.features, found, strict=True))
    else:
        return UnreadableError("feature_type", f"`features` is {_kind(found)}, expected an array or an object")
    return _wrong_feature(pairs) or UnreadableError("feature_type", f"`features`: {error}")


def _wrong_feature(pairs: Sequence[tuple[Feature, Any]]) -> UnreadableError | None:
    for feature, value in pairs:
        allowed = (str, int, float) if feature.kind == "categorical" else (int, float)
        refused_bool = isinstance(value, bool) and feature.kind == "categorical"
        if value is not None and (refused_bool or not isinstance(value, allowed)):
            return UnreadableError("feature_type", f"`{feature.name}` is {feature.kind}, got {_kind(value)}")
    return None


def explain_scores(raw: bytes | memoryview, classes: Sequence[str], error: Exception) -> UnreadableError:
    """What is wrong with the form of ``scores``."""
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return UnreadableError("scores_not_finite", f"`scores` cannot be read: {error}")
    if isinstance(found, dict):
        unknown = [name for name in found if name not in classes]
        if unknown:
            return UnreadableError("unknown_class", f"the model has no class {unknown[0]!r}")
        values = list(found.values())
    elif isinstance(found, list):
        values = found
    elif isinstance(found, int | float) and not isinstance(found, bool):
        return UnreadableError("scores_count", f"one number for {len(classes)} classes; only a binary model may do so")
    else:
        return UnreadableError("scores_type", f"`scores` is {_kind(found)}")
    if len(values) != len(classes):
        return UnreadableError("scores_count", f"{len(values)} scores for {len(classes)} classes")
    return UnreadableError("scores_type", f"`scores` must be numbers: {error}")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
