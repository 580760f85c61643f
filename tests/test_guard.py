"""Start-up is refused where another distribution brings one of our packages."""

from __future__ import annotations

import pytest

from monitor.guard import PACKAGES, ForeignPackageError, refuse_foreign_owners


@pytest.mark.parametrize(
    "owners", [{}, {"numpy": ["numpy"]}, {name: ["tocsin"] for name in PACKAGES}, {"monitor": ["Tocsin"]}]
)
def test_our_own_names_are_fine(owners: dict[str, list[str]]) -> None:
    refuse_foreign_owners(owners)


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("owners", [["other"], ["tocsin", "other"]])
def test_a_foreign_owner_is_named_with_the_remedy(package: str, owners: list[str]) -> None:
    with pytest.raises(ForeignPackageError, match=rf"{package} \(also in other\).*virtual environment"):
        refuse_foreign_owners({package: owners})
