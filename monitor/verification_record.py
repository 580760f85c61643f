"""What the audit log hears of versions and servers that are not what was signed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from monitor.inbox import RegistryChecked, ServedOtherwise

AGAIN_SECONDS: Final = 3600.0
"""What goes on is recorded again so often."""


class VerificationRecord:
    """Appends each failure once, with its reason, and again only when the reason changes or it has been mended.

    Kinds: ``served.otherwise`` with model, version and problem (also once an hour while it lasts), ``version.failed``
    and ``version.mended`` with model, version and reason, ``pointers.checked`` with the model and what is wrong
    (nothing, once it is mended). ``append`` is the audit log's. After a restart what still fails is told once more.
    """

    def __init__(self, append: Callable[[str, dict[str, Any]], object]) -> None:
        self._append = append
        self._failed: dict[tuple[str, str], str] = {}
        self._pointers: dict[str, tuple[str, ...]] = {}
        self._served: dict[str, ServedOtherwise] = {}

    def served(self, found: ServedOtherwise) -> None:
        """Tell of an endpoint that does not serve what it should."""
        last = self._served.get(found.model)
        same = last is not None and (last.version, last.problem) == (found.version, found.problem)
        if last is None or not same or found.at - last.at >= AGAIN_SECONDS:
            self._served[found.model] = found
            body = {"model": found.model, "version": found.version, "problem": found.problem}
            self._append("served.otherwise", body)

    def checked(self, found: RegistryChecked) -> None:
        """Tell of what is new in a verification's result."""
        for version, reason in found.failed.items():
            if self._failed.get((found.model, version)) != reason:
                self._failed[found.model, version] = reason
                self._append("version.failed", {"model": found.model, "version": version, "reason": reason})
        for model, version in [key for key in self._failed if key[0] == found.model and key[1] not in found.failed]:
            reason = self._failed.pop((model, version))
            self._append("version.mended", {"model": model, "version": version, "reason": reason})
        if found.pointers != self._pointers.get(found.model, ()):
            self._append("pointers.checked", {"model": found.model, "problems": list(found.pointers)})
        self._pointers[found.model] = found.pointers
