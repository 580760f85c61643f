"""Fault or not: what a proposal has to show before a value is changed.

In doubt rows stay as they are, for the screens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rollback.repair.batches import Pair
from rollback.repair.repair import Proposal
from rollback.repair.touched import Contrast, counted, mixture


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a fault is.

    A fault of all rows touches at least ``nearly_all`` of each label (as far as chance lets it be measured, and never
    by ``short`` less), a fault of some rows shares of the labels that surely (95%) lie within ``within`` times of each
    other. ``all_level`` and ``some_level`` are those of the test of equal shares; a difference
    of less than ``slack`` does not count. At least ``judged`` of the rows are of labels that can be judged. In less
    than ``alike`` of the other batches the same is seen. At most ``confined`` features of a batch (or a quarter of
    them) break at once.
    """

    nearly_all: float = 0.9
    short: float = 0.15
    within: float = 3.0
    all_level: float = 0.01
    some_level: float = 0.05
    slack: float = 0.05
    judged: float = 0.9
    alike: float = 0.5
    confined: int = 3

    def __post_init__(self) -> None:
        shares = (self.nearly_all, self.short, self.all_level, self.some_level, self.slack, self.judged, self.alike)
        if not all(0 < share < 1 for share in shares) or self.within <= 1 or self.confined < 1:
            raise ValueError(f"shares lie in (0, 1), within is above 1 and confined at least 1, got {self}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """``fault`` says whether it is one; ``why`` what spoke for or against it, ``contrast`` by label."""

    fault: bool
    why: str
    contrast: Contrast


def verdict(proposal: Proposal, pair: Pair, others: Sequence[Pair], parameters: Parameters) -> Verdict:
    """Judge a proposal for a batch beside the other batches of the buffer (of other sources, where there are any)."""
    contrast = counted(pair.now, proposal.touched)
    if proposal.all_rows:
        contrast = mixture(pair, proposal.feature, proposal.fault)
    against = _objection(proposal, pair, others, contrast, parameters)
    return Verdict(not against, against or contrast.said, contrast)


def _objection(
    proposal: Proposal, pair: Pair, others: Sequence[Pair], contrast: Contrast, parameters: Parameters
) -> str:
    """Why it may be no fault; empty where nothing speaks against it."""
    if len(contrast.shares) < 2 or contrast.judged < parameters.judged:  # noqa: PLR2004 - labels are compared
        return "too few sessions of a second label to tell a fault, which knows no labels, from poison"
    level = parameters.all_level if proposal.all_rows else parameters.some_level
    if contrast.p < level and contrast.range > (parameters.slack if proposal.all_rows else 0.0):
        return f"it selects labels ({contrast.said}): that is how poison looks"
    if proposal.all_rows and not _nearly_all(contrast, parameters):
        return f"a fault would be in nearly all rows, and this {contrast.said}"
    if not proposal.all_rows and not _surely_alike(contrast, parameters.within):
        return f"it cannot be told whether it selects labels ({contrast.said})"
    return _drift(proposal, pair, others, parameters) if proposal.all_rows else ""


def _nearly_all(contrast: Contrast, parameters: Parameters) -> bool:
    """Whether the shares are as large as is asked for, but for what chance explains (one-sided 95%)."""
    least = parameters.nearly_all
    return all(
        s.share >= least - parameters.short and s.share + 1.645 * s.error >= least for s in contrast.shares.values()
    )


def _surely_alike(contrast: Contrast, within: float) -> bool:
    """Whether the shares' quotients lie within limits with 95% confidence (on the logarithmic scale)."""
    shares = list(contrast.shares.values())
    if min(s.share for s in shares) <= 0:
        return False
    log = np.log([s.share for s in shares])
    error = np.array([s.error / s.share for s in shares])
    worst = max(
        abs(log[i] - log[k]) + 1.96 * float(np.hypot(error[i], error[k])) for i in range(len(log)) for k in range(i)
    )
    return bool(worst <= np.log(within))


def _drift(proposal: Proposal, pair: Pair, others: Sequence[Pair], parameters: Parameters) -> str:
    """The buffer drifts where most of it shows the same."""
    elsewhere = [other for other in others if other.batch.source != pair.batch.source]
    parts = [other for other in others if not other.batch.whole and other.batch is not pair.batch]
    beside = elsewhere or ([] if pair.batch.whole else parts)
    if not beside:
        return "there is no other batch to tell a fault of one source from a drift of all traffic"
    seen, rows = 0, 0
    for other in beside:
        shares = mixture(other, proposal.feature, proposal.fault).shares.values()
        if shares:
            rows += len(other.now)
            seen += len(other.now) * (float(np.mean([s.share for s in shares])) >= parameters.alike)
    if not rows:
        return "the other batches are too small to tell a fault of one source from a drift of all traffic"
    if seen >= parameters.alike * rows:
        return (
            f"{seen / rows:.0%} of the other rows show the same: all traffic drifts, which is for a person to explain"
        )
    return ""
