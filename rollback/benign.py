"""Which class lets things pass: an operator names it, for where attacks are most rows nothing else can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from detectors.batch import Ints


class BenignClassError(ValueError):
    """The class that was named as the benign one is none of the model's; the message names those that there are."""


@dataclass(frozen=True, slots=True)
class Benign:
    """The class that lets things pass. ``named``: an operator has said so; else it is the most frequent one."""

    name: str
    named: bool

    @property
    def remark(self) -> str | None:
        """What a person should know where nobody has named it."""
        if self.named:
            return None
        return (
            f"nobody has said which class lets things pass: {self.name!r} is taken for it, because most rows of the "
            f"trusted base have it. Where attacks are most rows that is wrong, and poison returns by answers: name it "
            f"with --benign {self.name} (or the right one)"
        )


def require_class(named: str | None, classes: Sequence[str]) -> None:
    """Raises `BenignClassError` for a name that is no class."""
    if named is not None and named not in classes:
        raise BenignClassError(f"benign: no class {named!r}; there are {', '.join(classes)}")


def as_field(named: str | None) -> str | msgspec.UnsetType:
    """As a manifest holds it: nothing at all where nobody has named it."""
    return msgspec.UNSET if named is None else named


def benign_class(named: str | None, y: Ints, classes: Sequence[str]) -> Benign:
    """The class that was ``named``, else the one with most rows among the trusted ones, y[n].

    This is the only place that infers it. Raises `BenignClassError` for a name that is no class.

    >>> benign_class(None, np.array([1, 1, 0]), ("attack", "benign"))
    Benign(name='benign', named=False)
    >>> benign_class("attack", np.array([1, 1, 0]), ("attack", "benign")).remark is None
    True
    """
    if named is None:
        return Benign(classes[int(np.bincount(y, minlength=len(classes)).argmax())], named=False)
    require_class(named, classes)
    return Benign(named, named=True)
