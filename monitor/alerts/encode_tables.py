"""The numbers and captions of OCSF 1.5.0, and the names of MITRE ATLAS techniques."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

OTHER: Final = 99
ACTIVITIES: Final = {"create": (1, "Create"), "update": (2, "Update"), "close": (3, "Close")}
SEVERITIES: Final = {
    "informational": (1, "Informational"),
    "low": (2, "Low"),
    "medium": (3, "Medium"),
    "high": (4, "High"),
    "critical": (5, "Critical"),
}
STATUSES: Final = {
    "suspected": (2, "In Progress"),
    "confirmed": (1, "New"),
    "retracted": (3, "Suppressed"),
    "resolved": (4, "Resolved"),
}
"""While an incident is suspected, labels are being asked for: it is under review by Tocsin itself, and pages nobody.
Confirmed, it is new to the analyst."""
CONFIDENCES: Final = ((0.9, (3, "High")), (0.5, (2, "Medium")), (0.0, (1, "Low")))
"""The least probability of each."""
VERDICTS: Final = {
    "fired": (4, "Suspicious"),
    "warming": (7, "Insufficient Data"),
    "error": (7, "Insufficient Data"),
}
ANALYTIC_TYPES: Final = {"Rule": 1, "Statistical": 3, "Learning (ML/DL)": 4}
LEARNING: Final = frozenset({"importance_drift", "reference_harm", "version_disagreement"})
"""Detectors whose statistic is read off fitted models; all others test the data itself."""

ATLAS_VERSION: Final = "5.6"
ATLAS_TECHNIQUES: Final[Mapping[str, str]] = {
    "AML.T0010": "AI Supply Chain Compromise",
    "AML.T0010.003": "Model",
    "AML.T0012": "Valid Accounts",
    "AML.T0015": "Evade AI Model",
    "AML.T0018": "Manipulate AI Model",
    "AML.T0018.000": "Poison AI Model",
    "AML.T0020": "Poison Training Data",
    "AML.T0042": "Verify Attack",
    "AML.T0043": "Craft Adversarial Data",
    "AML.T0043.004": "Insert Backdoor Trigger",
    "AML.T0059": "Erode Dataset Integrity",
}
