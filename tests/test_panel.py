"""A panel says when its detectors cannot see, and survives models that fail on an event."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from session_stream import LinearModel, reference, schema, window

from detectors.batch import Floats, Labels, Reference, Window
from detectors.evidence import Budget, Detector, Evidence, State, detector_classes
from monitor.panel import Panel, Versions, scored_only
from monitor.scoring import forgiving
from rollback.scorer import ScorerError


class Says(Detector):
    """Says what it was told to."""

    name = "says"

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence

    def fit(self, reference: Reference) -> None:
        """Nothing to learn."""

    def observe(self, window: Window, labels: Labels | None) -> Evidence:  # noqa: ARG002 - it has made up its mind
        return self._evidence

    def state(self) -> State:
        return {}

    def restore(self, state: State) -> None:
        """Nothing to restore."""


def versions() -> Versions:
    rng = np.random.default_rng(0)
    held = reference(rng, 2400, g=LinearModel(2))
    return Versions(schema(), LinearModel(2), LinearModel(2), held)


def seen(evidence: Evidence, made: Window) -> Evidence:
    (said,) = Panel(versions(), [Says(evidence)]).observe(made, None)
    return said


def made(*, fresh: bool) -> Window:
    one = window(np.random.default_rng(1), 0, 200)
    return replace(one, fresh=np.full(len(one), fresh))


def test_a_window_whose_sessions_have_all_voted_is_not_called_watched() -> None:
    panel = Panel(versions(), [cls(p(), Budget(), np.random.default_rng(0)) for cls, p in detector_classes().values()])  # type: ignore[call-arg]  # detectors are made alike
    statuses = {e.detector: e.status for e in panel.observe(made(fresh=False), None)}
    assert set(statuses.values()) == {"warming"}


def test_what_has_fired_stays_fired_when_nothing_new_votes() -> None:
    assert seen(Evidence("says", "fired"), made(fresh=False)).status == "fired"
    assert seen(Evidence("says", "ok"), made(fresh=True)).status == "ok"


@pytest.mark.parametrize(
    "odd",
    [Evidence("says", "ok", score=np.nan), Evidence("says", "ok", e_value=np.nan), Evidence("says", "ok", llr=np.nan)],
)
def test_a_figure_that_is_no_number_is_an_error_not_quiet(odd: Evidence) -> None:
    said = seen(odd, made(fresh=True))
    assert (said.status, "NaN" in said.note) == ("error", True)


def test_an_event_on_which_the_model_fails_leaves_the_others_scored() -> None:
    calls = []

    def score(x: Floats) -> Floats:
        calls.append(len(x))
        if np.any(x[:, 0] == 13):
            raise ScorerError("index out of bounds")
        return np.column_stack([x[:, 0], 1 - x[:, 0]])

    x = np.zeros((1000, 1))
    x[[7, 900]] = 13
    scores = forgiving(score, 2)(x)
    assert np.flatnonzero(np.isnan(scores).all(axis=1)).tolist() == [7, 900]
    assert np.array_equal(np.delete(scores, [7, 900], axis=0), np.tile([0.0, 1.0], (998, 1)))
    assert len(calls) < 50


class Fails(Says):
    """Cannot observe anything."""

    name = "fails"

    def observe(self, window: Window, labels: Labels | None) -> Evidence:  # noqa: ARG002 - it fails before
        raise ZeroDivisionError("no sessions")


def test_a_detector_that_fails_says_error_and_stays_so_through_a_checkpoint() -> None:
    panel = Panel(versions(), [Fails(Evidence("fails", "ok"))])
    (evidence,) = panel.observe(made(fresh=True), None)
    assert (evidence.status, "no sessions" in evidence.note) == ("error", True)
    again = Panel(versions(), [Fails(Evidence("fails", "ok"))])
    again.restore(panel.state())
    assert again.observe(made(fresh=True), None)[0].note == evidence.note


def test_columns_that_are_not_the_versions_are_not_judged() -> None:
    one = made(fresh=True)
    narrow = replace(one, batch=replace(one.batch, x=one.batch.x[:, 1:].copy()))
    panel = Panel(versions(), [Says(Evidence("says", "ok"))])
    assert panel.window(0, narrow.batch, narrow.fresh).g is None
    assert [e.status for e in panel.observe(narrow, None)] == ["warming"]


def test_rows_of_the_reference_that_a_version_fails_on_are_left_out_and_counted() -> None:
    held, notes = versions().reference, list[str]()
    assert held is not None
    f, g = held.f.copy(), held.g.copy()
    f[[3, 5]], g[[5, 7]] = np.nan, np.nan
    left = scored_only(replace(held, f=f, g=g), notes)
    assert len(left) == len(held) - 3
    assert not np.isnan(left.f).any()
    assert not np.isnan(left.g).any()
    assert notes == ["3 rows of the reference cannot be scored and are left out"]


def test_a_version_without_any_scores_leaves_the_reference_whole() -> None:
    held, notes = versions().reference, list[str]()
    assert held is not None
    assert len(scored_only(replace(held, g=np.full_like(held.g, np.nan)), notes)) == len(held)
    assert notes == []
