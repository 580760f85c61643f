"""Rows that lie far out along the main directions of their label."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from rollback.sanitise.conformal import Suspicion
from rollback.sanitise.encoding import components
from rollback.sanitise.material import Material
from rollback.sanitise.scores.score import Score

DIRECTIONS: Final = 3


class SpectralMad(Score):
    """Largest |projection - median| / MAD on the 3 main directions of all rows (base and new) of the same label.

    Source: B. Tran et al., "Spectral Signatures in Backdoor Attacks" (2018), https://arxiv.org/abs/1811.00636; median
    and MAD in place of the mean and no scale.
    """

    name: ClassVar[str] = "spectral_mad"
    says: ClassVar[str] = "it lies far out along a main direction of its label"
    judges_label: ClassVar[bool] = False

    def rate(self, material: Material) -> Suspicion:
        """See `Score`."""
        rated = np.zeros(len(material.y))
        for label in np.unique(material.y).tolist():
            own = material.y == label
            along = components(material.points[own], DIRECTIONS)
            off = np.abs(along - np.median(along, axis=0))
            mad = np.median(off, axis=0)
            spread = np.where(mad > 0, mad, off.mean(axis=0))
            rated[own] = np.max(off / np.where(spread > 0, spread, 1.0), axis=1)
        return material.pooled(rated)
