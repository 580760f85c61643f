"""The versions of what a model is made with: another one may give another model of the same rows."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Final

NAMES: Final = ("tocsin", "numpy", "scipy", "scikit-learn", "torch", "onnx", "onnxruntime")
ABSENT: Final = "not installed"


def library_versions() -> dict[str, str]:
    """The installed versions by distribution, and Python's."""
    return {"python": platform.python_version(), **{name: _version(name) for name in NAMES}}


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is said of each library that is another one now.

    >>> differences({"numpy": "2.0"}, {"numpy": "2.1", "torch": "2"})
    ['numpy was 2.0, and is 2.1 here']
    """
    return [
        f"{name} was {old}, and is {now.get(name, ABSENT)} here" for name, old in then.items() if now.get(name) != old
    ]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ABSENT
