"""The kinds of model servers that the configuration can name: one file each, found by its name.

An adapter is a module of `rollback.reload` with a frozen dataclass ``Settings`` and a function
``make(settings, site) -> Reloader``; the file's name is `models.NAME.serving.adapter` in the configuration, and its
settings are the section of that name beside it. ``ASKS_BY_ITSELF`` says whether something can be observed without
endpoints, ``NEEDS_SETTINGS`` whether the settings have no default. ``make`` raises `ValueError` for what
does not fit the site.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

import rollback.reload
from rollback.reload.v2_client import V2Settings

STRICT: Final[Mapping[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}
"""How the configuration reads an adapter's settings: a key that they do not have is an error."""


@dataclass(frozen=True, slots=True)
class Site:
    """What every adapter is given: the model, its endpoints (base addresses, may be none) and how they are asked.

    ``environ`` is what programs are started with, as far as they are to see it.
    """

    model: str
    endpoints: tuple[str, ...] = ()
    asking: V2Settings = field(default_factory=V2Settings)
    environ: Mapping[str, str] = field(default_factory=dict)


def adapters() -> dict[str, ModuleType]:
    """Every adapter by its name, sorted."""
    names = sorted(info.name for info in pkgutil.iter_modules(rollback.reload.__path__))
    modules = {name: importlib.import_module(f"rollback.reload.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "make")}
