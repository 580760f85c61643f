"""The section `tracing`: where traces of the loop's stages go."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from monitor.settings.section import Section


class TracingConfig(Section):
    """Traces of the loop's stages over OTLP, an extra (`pip install "tocsin[tracing]"`)."""

    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s@?#]+$")] | None = None
    """URL of a collector that takes them over HTTP, such as http://collector:4318/v1/traces; none without it.

    It is logged where the collector is away, and so has neither a password nor a query.
    """
    share: float = Field(default=1.0, gt=0, le=1)
    """Share of the turns of the loop that are traced."""
