"""How a family's probability divides over its hypotheses, and what it is where no likelihood ratio of labels gives one.

Judgement, not measurement, and so round.
"""

from __future__ import annotations

from typing import Final, TypeAlias

Shares: TypeAlias = tuple[tuple[str, float], ...]
"""Hypotheses of a family with their shares, most likely first."""

BACKDOOR: Final[Shares] = (("backdoor", 0.85), ("label_flip", 0.05), ("clean_label", 0.05), ("regression", 0.05))
PLANTED: Final[Shares] = (("backdoor", 0.9), ("label_flip", 0.1))
CLEAN_LABEL: Final[Shares] = (("clean_label", 0.7), ("backdoor", 0.3))
FLIPPED_ROWS: Final[Shares] = (("label_flip", 0.85), ("backdoor", 0.1), ("feedback_compromise", 0.05))
FORGOTTEN: Final[Shares] = (("regression", 1.0),)
LEARNED_FLIP: Final[Shares] = (("label_flip", 0.5), ("model_tampering", 0.25), ("regression", 0.25))
FLIPS: Final[Shares] = (("label_flip", 0.85), ("feedback_compromise", 0.15))
FEEDBACK: Final[Shares] = (("feedback_compromise", 0.6), ("label_error", 0.25), ("label_flip", 0.15))
NEW_FAMILY: Final[Shares] = (("new_class", 0.6), ("concept_drift", 0.4))
MOVED: Final[Shares] = (("concept_drift", 0.8), ("new_class", 0.2))
EVASION: Final[Shares] = (("evasion_burst", 0.85), ("probing", 0.15))
PROBING: Final[Shares] = (("probing", 0.8), ("evasion_burst", 0.2))
INPUTS: Final[Shares] = (("covariate_drift", 0.8), ("concept_drift", 0.2))
OUTPUTS_ONLY: Final[Shares] = (("covariate_drift", 0.6), ("concept_drift", 0.4))

FEW_FEATURES: Final = 2
"""More inputs than these drifting together are traffic that changes, not one feature whose unit did."""

# Probability of a family where no likelihood ratio of labels gives one.
TAMPERING: Final = 0.8  # another preprocessing or precision at the server looks the same
WRONG_MODEL: Final = 0.95
FAULT: Final = 0.85
REGRESSION: Final = 0.9  # poison that the scans of the buffer do not see looks the same
LIKELY_REGRESSION: Final = 0.6  # learned flips look the same where nobody has looked into the buffer
BOTH_FOOLED: Final = 0.95  # an honest kind of traffic that both versions misjudge gives the same answers
WALKED: Final = 0.8  # a source with a kind of its own that a retrain has forgotten looks the same
UNVETTED_FLIPS: Final = 0.7  # an honest change at one source, or one labeller who knows better, looks the same
UNVETTED_DRIFT: Final = 0.8  # by inputs that moved while versions and labels agree, or by trusted labels that do not
