"""What is known elsewhere of what a panel shows: what its metrics mean, and what to do when its rules fire."""  # noqa: INP001 - a script, no package

from __future__ import annotations

from typing import NamedTuple

from meanings import Meanings
from panels import Json
from runbooks import Runbooks


class Known(NamedTuple):
    """Of the rules, and of the code."""

    runbooks: Runbooks
    meanings: Meanings

    def of(self, spec: Json, drawn: Json, board: str) -> Json:
        """A panel of ``board`` with links to the runbooks of its rules; its description says what its metrics mean."""
        links = [self.runbooks.link(alert) for alert in spec.get("alerts", ())]
        meant = self.meanings.of(drawn, board)
        return {**drawn, "description": "\n\n".join(filter(None, (drawn["description"], meant))), "links": links}
