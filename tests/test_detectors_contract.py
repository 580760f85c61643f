"""What every detector promises. Detectors are found in the package: a new one is tested here without being named."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from session_stream import NUMERIC, LinearModel, reference, schema, window

from detectors.batch import Floats, Labels, Reference, Scorer, Window
from detectors.evidence import Budget, Detector, Evidence, detector_classes

CLASSES = detector_classes()
NAMES = sorted(CLASSES)


def make(name: str, seed: int = 1) -> Detector:
    cls, parameters = CLASSES[name]
    build: Any = cls
    detector: Detector = build(parameters(), Budget(), np.random.default_rng(seed))
    return detector


def held(classes: int = 2, *, lkg: bool = True) -> Reference:
    g = LinearModel(classes, tilt=((0, 0.1),)) if lkg else None
    return reference(np.random.default_rng(11), 2400, g=g, classes=classes)


def windows(count: int, classes: int = 2, n: int = 300, **options: Any) -> list[Window]:
    g = LinearModel(classes, tilt=((0, 0.1),))
    return [window(np.random.default_rng([12, i]), i, n, g=g, classes=classes, **options) for i in range(count)]


def feedback(about: Window, every: int = 5) -> Labels:
    """Labels for every fifth event: what LKG says, half of them trusted, one of a class that nobody knows."""
    rows = np.arange(0, len(about), every)
    batch = about.batch.take(rows)
    g = about.g[rows] if about.g is not None else np.full_like(about.f[rows], np.nan)
    label = np.nan_to_num(g).argmax(axis=1).astype(np.int64)
    label[-1] = -1
    return Labels(
        id=batch.id,
        ts=batch.ts + 1,
        event_ts=batch.ts,
        label=label,
        name=np.where(label >= 0, np.char.add("k", label.astype(str)), "unheard-of"),
        origin=np.where(rows % 2 == 0, "sandbox", "crowd"),
        trusted=rows % 2 == 0,
        vetted=np.zeros(len(rows), bool),
        source=batch.source,
        session=batch.session,
        x=batch.x,
        served=batch.scores,
        f=about.f[rows],
        g=g,
    )


def with_x(about: Window, x: Floats, f: Scorer | None = None) -> Window:
    """The window with other inputs, scored again."""
    x = x.copy()
    score = about.score_f if f is None else f
    assert score is not None
    scores = score(x)
    g = None if about.score_g is None else about.score_g(x)
    return replace(about, batch=replace(about.batch, x=x, scores=scores), f=scores, g=g)


def plain(evidence: Evidence) -> str:
    """Evidence as JSON: what NaN, infinity or a numpy scalar would break."""
    return json.dumps(dataclasses.asdict(evidence), allow_nan=False, sort_keys=True)


def observe_all(detector: Detector, stream: list[Window], *, labelled: bool = True) -> list[str]:
    return [plain(detector.observe(w, feedback(w) if labelled else None)) for w in stream]


def test_detectors_are_found() -> None:
    assert {"importance_drift", "input_similarity", "pipeline_fault", "prediction_entropy"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_name_is_the_file_name(name: str) -> None:
    assert CLASSES[name][0].name == name


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_one_frozen_dataclass_that_checks_itself(name: str) -> None:
    parameters = CLASSES[name][1]()
    fields = dataclasses.fields(parameters)
    assert fields
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(parameters, fields[0].name, 1)
    numbers = [f.name for f in fields if isinstance(getattr(parameters, f.name), int | float)]
    assert any(_refuses(type(parameters), number) for number in numbers)


def _refuses(parameters: type[Any], number: str) -> bool:
    """Whether -1 is refused with a reason."""
    try:
        parameters(**{number: -1})
    except ValueError as error:
        return bool(str(error))
    return False


@pytest.mark.parametrize("name", NAMES)
def test_every_window_gets_one_evidence_of_that_name(name: str) -> None:
    detector = make(name)
    detector.fit(held())
    for one in windows(3):
        evidence = detector.observe(one, feedback(one))
        assert evidence.detector == name
        assert evidence.status in {"ok", "fired", "warming"}
        assert all(np.isfinite(v) for v in evidence.gauges.values())
        assert np.isfinite(evidence.score)
        assert np.isfinite(evidence.threshold)
        assert evidence.e_value is None or 0 <= evidence.e_value < np.inf
        plain(evidence)


@pytest.mark.parametrize("name", NAMES)
def test_clean_windows_do_not_alarm(name: str) -> None:
    detector = make(name)
    detector.fit(held())
    assert not any(detector.observe(w, feedback(w)).status == "fired" for w in windows(4))


@pytest.mark.parametrize("name", NAMES)
def test_a_reference_of_three_events_leaves_it_warming_or_quiet(name: str) -> None:
    detector = make(name)
    detector.fit(held().take(np.arange(3)))
    for one in windows(2):
        assert detector.observe(one, feedback(one)).status in {"warming", "ok"}


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_detector_goes_on_as_if_never_stopped(name: str) -> None:
    stream = windows(6)
    going, stopped = make(name), make(name)
    going.fit(held())
    stopped.fit(held())
    observe_all(going, stream[:3])
    observe_all(stopped, stream[:3])
    resumed = make(name)
    resumed.fit(held())
    resumed.restore(stopped.state())
    assert observe_all(resumed, stream[3:]) == observe_all(going, stream[3:])


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_state_is_not_changed_by_what_follows(name: str) -> None:
    stream = windows(4)
    detector = make(name)
    detector.fit(held())
    observe_all(detector, stream[:2])
    saved = detector.state()
    expected = observe_all(detector, stream[2:])
    resumed = make(name)
    resumed.fit(held())
    resumed.restore(saved)
    assert observe_all(resumed, stream[2:]) == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_evidence_after_any_number_of_fits(name: str) -> None:
    once, twice = make(name), make(name)
    once.fit(held())
    twice.fit(held())
    observe_all(twice, windows(2))
    twice.fit(held())
    assert observe_all(once, windows(3)) == observe_all(twice, windows(3))


@pytest.mark.parametrize("name", NAMES)
def test_the_state_is_json_and_arrays(name: str) -> None:
    detector = make(name)
    detector.fit(held())
    observe_all(detector, windows(2))
    assert _storable(detector.state())


def _storable(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(k, str) and _storable(v) for k, v in value.items())
    if isinstance(value, list):
        return all(_storable(v) for v in value)
    return value is None or isinstance(value, np.ndarray) or type(value) in {bool, int, float, str}


@pytest.mark.parametrize("name", NAMES)
def test_observing_never_changes_the_reference(name: str) -> None:
    given = held()
    copies = {column: getattr(given, column).copy() for column in given.arrays()}
    detector = make(name)
    detector.fit(given)
    observe_all(detector, windows(3))
    for column, copy in copies.items():
        np.testing.assert_array_equal(getattr(given, column), copy)
        assert not getattr(given, column).flags.writeable


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("classes", [2, 5])
def test_it_works_with_two_and_five_classes_with_and_without_lkg_and_bundle(name: str, classes: int) -> None:
    for lkg in (True, False):
        detector = make(name)
        detector.fit(held(classes, lkg=lkg))
        for one in windows(2, classes, asked=lkg):
            shown = one if lkg else replace(one, g=None, score_g=None)
            assert detector.observe(shown, feedback(shown)).status in {"ok", "warming", "fired"}


@pytest.mark.parametrize("name", NAMES)
def test_odd_windows_do_not_break_it(name: str) -> None:
    detector = make(name)
    detector.fit(held())
    one = windows(1)[0]
    missing, constant, unseen = one.batch.x.copy(), one.batch.x.copy(), one.batch.x.copy()
    missing[:, [0, NUMERIC]] = np.nan
    constant[:, [1, NUMERIC + 1]] = 0.0
    unseen[:, NUMERIC:] = -1.0
    largest = one.batch.x.copy()
    largest[0, :NUMERIC], largest[1, :NUMERIC] = np.finfo(np.float64).max, np.finfo(np.float64).min
    odd = [with_x(one, x) for x in (missing, constant, unseen, largest, np.full_like(missing, np.nan))]
    single = replace(
        one, batch=one.batch.take(slice(0, 1)), f=one.f[:1], g=None if one.g is None else one.g[:1], fresh=one.fresh[:1]
    )
    stale = replace(one, fresh=np.zeros(len(one), bool))
    for shown in (*odd, single, stale):
        plain(detector.observe(shown, None))
        plain(detector.observe(shown, feedback(shown, every=1).take(slice(0, 0))))
        plain(detector.observe(shown, feedback(shown, every=1)))


@pytest.mark.parametrize("name", NAMES)
def test_odd_references_do_not_break_it(name: str) -> None:
    normal = held()
    missing, constant, unseen = normal.x.copy(), normal.x.copy(), normal.x.copy()
    missing[:, [0, NUMERIC]] = np.nan
    constant[:, [1, NUMERIC + 1]] = 0.0
    unseen[:, NUMERIC:] = -1.0
    unlabelled = np.full(len(normal), -1, np.int64)
    for x in (missing, constant, unseen):
        detector = make(name)
        detector.fit(replace(normal, x=x, y=unlabelled, session=np.full(len(normal), "")))
        observe_all(detector, windows(2))


def test_the_stream_of_these_tests_has_every_kind_of_feature() -> None:
    assert {f.kind for f in schema().features} == {"numeric", "categorical"}
