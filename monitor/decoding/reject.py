"""What cannot be read: the reason, where it was, and enough of it for a person to see why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reason = Literal[
    "empty",
    "too_large",
    "bad_json",
    "not_an_object",
    "missing_field",
    "field_type",
    "field_too_long",
    "control_character",
    "bad_ts",
    "unknown_model",
    "unknown_version",
    "feature_type",
    "feature_count",
    "feature_not_finite",
    "unknown_feature",
    "scores_type",
    "scores_count",
    "scores_not_finite",
    "scores_range",
    "scores_sum",
    "unknown_class",
]
"""Why a message went to quarantine; the keys of `quarantined` in `summary.json`."""

NO_SOURCE = "-"
"""The source of an event that names none."""


@dataclass(frozen=True, slots=True)
class Reject:
    """One message that cannot be read. ``raw`` is its beginning, ``source`` is ``-`` where it cannot be known."""

    offset: int
    reason: Reason
    source: str
    detail: str
    raw: bytes


class UnreadableError(ValueError):
    """A message or a part of it breaks the contract; carries the reason."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.detail = detail
