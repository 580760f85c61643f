"""The section `incidents`: when an incident is updated, and when it is closed by itself."""

from __future__ import annotations

from pydantic import Field

from monitor.settings.section import Section


class IncidentsConfig(Section):
    """The life of an incident; times are event time."""

    update_seconds: float = Field(default=14_400.0, ge=0)
    """An incident that stays as it is is told again after so long at the earliest; changes are told at once."""
    quiet_windows: int = Field(default=20, ge=1)
    """It is closed after so many windows without a finding ..."""
    silent_seconds: float = Field(default=86_400.0, gt=0)
    """... or when no event of its version came for so long, while others do, and nothing is being done about it."""
    dismissed_seconds: float = Field(default=259_200.0, gt=0)
    """What an operator has closed is told again when it still goes on after so long."""
