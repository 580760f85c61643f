"""Refuses to start where another distribution owns one of our import names.

`monitor`, `detectors` and `rollback` are ordinary words, and a package registry holds distributions that bring the same
names: installed side by side they overwrite each other's files in silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

DISTRIBUTION: Final = "tocsin"
PACKAGES: Final = ("monitor", "detectors", "rollback")


class ForeignPackageError(Exception):
    """Another distribution brings one of our packages: what would run is not what was installed."""


def refuse_foreign_owners(owners: Mapping[str, Sequence[str]]) -> None:
    """Raise `ForeignPackageError` where ``owners`` (import name -> distributions) gives one of our names to another.

    ``owners`` is `importlib.metadata.packages_distributions()`. A name without an owner is a clone or an editable
    installation, and fine.

    >>> refuse_foreign_owners({"monitor": ["tocsin"], "numpy": ["numpy"]})
    """
    foreign = {
        package: sorted({name for name in owners.get(package, ()) if name.lower() != DISTRIBUTION})
        for package in PACKAGES
    }
    if said := [f"{package} (also in {', '.join(names)})" for package, names in foreign.items() if names]:
        raise ForeignPackageError(
            f"another installed distribution brings the same package: {'; '.join(said)}. "
            f"Install {DISTRIBUTION} into a virtual environment of its own."
        )
