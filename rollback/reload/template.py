"""Texts with placeholders such as `{version}`: filled in, and read back."""

from __future__ import annotations

import re
from collections.abc import Mapping


def fill(template: str, values: Mapping[str, str]) -> str:
    """``template`` with every key of ``values`` replaced by its value, in one pass: a value is never looked into.

    >>> fill("s3://models/{model}/{version}", {"{model}": "nids", "{version}": "{model}"})
    's3://models/nids/{model}'
    """
    return re.sub("|".join(map(re.escape, values)), lambda found: values[found[0]], template)


def read_back(template: str, text: str) -> str | None:
    """The version with which ``template`` gives ``text``; None where none does.

    >>> read_back("s3://models/{version}/nids", "s3://models/7/nids")
    '7'
    >>> read_back("s3://models/{version}/nids", "s3://elsewhere/7/nids") is None
    True
    """
    first, *others = map(re.escape, template.split("{version}"))
    pattern = first + "".join(f"{'(?P=version)' if i else '(?P<version>.+?)'}{each}" for i, each in enumerate(others))
    found = re.fullmatch(pattern, text)
    return found["version"] if found else None
