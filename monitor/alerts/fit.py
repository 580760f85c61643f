"""JSON of bounded length: what is least missed is left out first, and the document says so."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

LONGEST_TEXT: Final = (1000, 256, 64)
"""Bytes that a text may take once leaving out is not enough; the ids that are sent are shorter."""
ELLIPSIS: Final = "..."


class Cut(NamedTuple):
    """What may be cut: the list or mapping at a dotted path to its first ``keep`` items; to nothing if that is 0."""

    path: str
    keep: int = 0


class TooLongError(Exception):
    """A document cannot be made short enough."""


def to_json(document: Any) -> bytes:
    r"""One line of JSON in printable ASCII: nothing in it can end a line, a frame or a string of a log.

    >>> to_json({"a": "x\n\x7f"})
    b'{"a":"x\\n\\u007f"}'
    """
    text = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("\x7f", "\\u007f").encode("ascii")


def fit(document: dict[str, Any], limit: int, expendable: Sequence[Cut], mark: str) -> bytes:
    """The document in at most ``limit`` bytes; `TooLongError` where even that is too little.

    ``expendable`` is cut in this order, what is least missed first. What was cut is listed under the dotted path
    ``mark``.

    >>> fit({"id": 1, "list": [1] * 99}, 60, [Cut("list", 2)], "truncated")
    b'{"id":1,"list":[1,1],"truncated":["list after 2"]}'
    """
    text = to_json(document)
    if len(text) <= limit:
        return text
    document = copy.deepcopy(document)
    gone: list[str] = []
    for cut in expendable:
        if _cut(document, cut.path.split("."), cut.keep):
            gone.append(f"{cut.path} after {cut.keep}" if cut.keep else cut.path)
            text = _marked(document, gone, mark)
        if len(text) <= limit:
            return text
    for longest in LONGEST_TEXT:
        document = shorten(document, longest)
        text = _marked(document, [*gone, f"text over {longest} bytes"], mark)
        if len(text) <= limit:
            return text
    raise TooLongError(f"the alert needs {len(text)} bytes, {limit} are allowed: raise max_message_bytes")


def shorten(value: Any, longest: int) -> Any:
    """The same with every text cut so that it takes at most ``longest`` bytes of JSON.

    >>> shorten({"a": "long enough"}, 9)
    {'a': 'long...'}
    """
    if isinstance(value, dict):
        return {key: shorten(item, longest) for key, item in value.items()}
    if isinstance(value, list):
        return [shorten(item, longest) for item in value]
    return _cut_text(value, longest) if isinstance(value, str) else value


def _cut_text(text: str, longest: int) -> str:
    if len(to_json(text)) - 2 <= longest:
        return text
    left, kept = longest - len(ELLIPSIS), 0
    for character in text:
        left -= len(to_json(character)) - 2
        if left < 0:
            break
        kept += 1
    return text[:kept] + ELLIPSIS


def _marked(document: dict[str, Any], gone: list[str], mark: str) -> bytes:
    *parents, name = mark.split(".")
    place = document
    for parent in parents:
        place = place.setdefault(parent, {})
    place[name] = gone
    return to_json(document)


def _cut(place: Any, path: Sequence[str], keep: int) -> bool:
    """Whether there was anything to cut; a path leads through every item of a list."""
    if isinstance(place, list):
        return sum(_cut(item, path, keep) for item in place) > 0
    if not isinstance(place, dict) or not place.get(path[0]):
        return False
    value = place[path[0]]
    if len(path) > 1:
        return _cut(value, path[1:], keep)
    if keep == 0:
        del place[path[0]]
        return True
    if not isinstance(value, list | dict) or len(value) <= keep:
        return False
    place[path[0]] = value[:keep] if isinstance(value, list) else dict(islice(value.items(), keep))
    return True
