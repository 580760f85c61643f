"""Exemplars: what a counted thing was about, for whoever reads the figures as OpenMetrics."""

from __future__ import annotations

from typing import Final

INCIDENT: Final = "incident"
LONGEST: Final = 128 - len(INCIDENT)
"""OpenMetrics 1.0: names and values of an exemplar's labels hold 128 characters at most."""


def exemplar(uid: str) -> dict[str, str]:
    """The label that names an incident; none where there is none, or the uid is too long for one.

    >>> exemplar("49f0600eefb3f8c2")
    {'incident': '49f0600eefb3f8c2'}
    >>> exemplar("x" * 1000), exemplar("")
    ({}, {})
    """
    return {INCIDENT: uid} if 0 < len(uid) <= LONGEST else {}
