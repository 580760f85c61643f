"""The version that a server has loaded: verified in full before it replaces the one before."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from detectors.batch import Scorer
from detectors.schema import Schema
from rollback.bundle import IntegrityError
from rollback.registry.registry import Registry, RegistryError


class PointerMovedError(Exception):
    """The registry's `serving` pointer names another version than the one that was asked for."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A loaded version; never changed, only replaced as a whole."""

    version: str
    schema: Schema
    scorer: Scorer


class ModelStore:
    """What a server serves of the model ``name``: at first what the registry's `serving` pointer names.

    Raises what `load` raises.
    """

    def __init__(self, registry: Registry, name: str) -> None:
        self.name = name
        self._registry = registry
        self._loading = threading.Lock()
        self._current = self._read(None)

    @property
    def current(self) -> Serving:
        """What is served now: take it once for a whole request."""
        return self._current

    def load(self, wanted: str | None = None) -> Serving:
        """Load what `serving` points to, and serve it from now on; until then, and on any error, the old one serves.

        Raises `PointerMovedError` where that is not ``wanted``, `rollback.registry.registry.RegistryError` where
        there is nothing to load, and `rollback.bundle.IntegrityError` for a bundle that is not what was signed.
        """
        with self._loading:
            self._current = self._read(wanted)
            return self._current

    def _read(self, wanted: str | None) -> Serving:
        version = self._registry.pointers().serving
        if version is None:
            raise RegistryError(f"no version of {self.name!r} serves; promote one with: tocsin registry promote")
        if wanted is not None and version != wanted:
            raise PointerMovedError(f"the registry's serving pointer names version {version!r}, not {wanted!r}")
        bundle = self._registry.load(version)
        scorer = bundle.scorer()
        if scorer is None:
            raise IntegrityError(f"{bundle.where('model.onnx')}: the version has no model, only a reference")
        return Serving(version, bundle.schema, scorer)
