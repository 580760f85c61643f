"""One error budget for the whole gate: what the buffer's own detector and a reproduction decide is part of it."""

from __future__ import annotations

import numpy as np
import pytest
from gate_models import clean_trial, rows
from scipy.stats import binom

from detectors.batch import Reference
from detectors.retraining_buffer import Parameters
from monitor.release_gate import LABELS_ERROR, REPRODUCED_ERROR, Release, _false_labels, _harms
from monitor.whole_gate import with_trial
from rollback.gates.check import at_most
from rollback.retraining.foreign import OnTrial


def findings(*told: tuple[int, int], llr: float = 9.0) -> dict[str, object]:
    return {"findings": [{"answers": n, "false": false, "llr": llr} for n, false in told]}


def test_checks_beside_the_trial_take_their_part_of_the_budget_and_the_trial_has_the_rest() -> None:
    own = at_most("false_labels.1", 0.0, 0.7, 0.004)
    whole = with_trial(Release("passed", (own,), (), (), (), 0.004), OnTrial(clean_trial(0), (), ()), seed=0)
    assert whole.error_budget == 0.02
    assert sum(c.error_rate or 0.0 for c in whole.checks) == pytest.approx(0.02)


@pytest.mark.parametrize("told", [((16, 0),), ((8, 0), (8, 0)), ((5, 5), (4, 4), (16, 3), (6, 1))])
def test_false_labels_of_all_findings_together_are_within_their_part(told: tuple[tuple[int, int], ...]) -> None:
    checks = _false_labels(findings(*told), Parameters(), whole=True)
    assert len(checks) == len(told)
    assert sum(c.error_rate or 0.0 for c in checks) <= LABELS_ERROR + 1e-12


def test_labels_that_are_all_false_reject_as_soon_as_the_detector_would_convict() -> None:
    for count in (1, 2, 4):
        checks = _false_labels(findings(*[(5, 5)] * count), Parameters(), whole=False)
        assert not any(check.passed for check in checks)
    (true,) = _false_labels(findings((8, 1), llr=-9.0), Parameters(), whole=True)
    assert true.passed
    assert _false_labels(findings((8, 5), llr=0.5), Parameters(), whole=False) == []


@pytest.mark.parametrize("n", [5, 8, 16])
def test_honest_labels_fail_as_seldom_as_stated(n: int) -> None:
    """A finding is there with probability `level`; its labels are as bad as honest ones may be."""
    p, rng = Parameters(), np.random.default_rng(n)
    tries = 4000
    false = rng.binomial(n, p.false_honest, tries)
    checks = [_false_labels(findings((n, int(k))), p, whole=True)[0] for k in np.unique(false).tolist()]
    failing = {k for k, check in zip(np.unique(false).tolist(), checks, strict=True) if not check.passed}
    share = p.level * float(np.mean(np.isin(false, list(failing))))
    rate = checks[0].error_rate
    assert rate is not None
    assert share <= rate + 3 * p.level * np.sqrt(0.1 / tries)
    assert rate <= p.level * float(binom.sf(0, n, p.false_honest))


def test_reproductions_that_differ_as_honest_retrains_do_fail_as_seldom_as_stated() -> None:
    held = rows(900, 1)
    scores = np.eye(2)[held.y]
    same = Reference(held.schema, held.x, held.y, held.source, held.session, scores, scores)
    checks = _harms("reproduced_harm", same, [], REPRODUCED_ERROR / 2)
    assert [c.error_rate for c in checks] == [REPRODUCED_ERROR / 2] * 2
    rng = np.random.default_rng(0)
    z = rng.normal(0, 2, 20_000)
    assert np.mean(z > checks[0].limit) <= REPRODUCED_ERROR / 2 + 3 * np.sqrt(REPRODUCED_ERROR / 2 / 20_000)
