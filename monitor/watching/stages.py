"""The stages of the loop, for whoever wants to see where the time goes: the seam to traces. By default nobody does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

About: TypeAlias = str | int | float


class Stages(Protocol):
    """Told where stages begin and end; a stage that begins within another one is a part of it. One thread."""

    def stage(self, name: str, **about: About) -> AbstractContextManager[object]:
        """A stage, until the end of the ``with`` block; ``about`` says what it is at."""


NOBODY: Final = nullcontext()


class NoStages:
    """Nobody wants to know: costs a call."""

    def stage(self, name: str, **about: About) -> AbstractContextManager[object]:  # noqa: ARG002 - nobody asks
        """See `Stages`."""
        return NOBODY


@dataclass(slots=True)
class Stage:
    """``within`` is the name of the stage that it is a part of, if any; ``seconds`` counts up to its end."""

    name: str
    within: str | None
    about: dict[str, About]
    seconds: float = 0.0
    failed: bool = False


@dataclass
class RememberedStages:
    """Keeps all of them in memory, in the order in which they began."""

    clock: Callable[[], float] = time.monotonic
    stages: list[Stage] = field(default_factory=list)
    _open: list[Stage] = field(default_factory=list)

    def stage(self, name: str, **about: About) -> AbstractContextManager[object]:
        """See `Stages`."""
        return self._stage(Stage(name, self._open[-1].name if self._open else None, about))

    @contextmanager
    def _stage(self, stage: Stage) -> Iterator[None]:
        begun = self.clock()
        self.stages.append(stage)
        self._open.append(stage)
        try:
            yield
        except BaseException:
            stage.failed = True
            raise
        finally:
            stage.seconds = self.clock() - begun
            self._open.pop()
