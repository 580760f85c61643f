"""A detector that is saved and taken back goes on as if it had never stopped, wherever it was stopped."""

from __future__ import annotations

import json

import pytest
from eventful_stream import CLASSES, Run, held, make, windows

from monitor.state.state_codec import decode, encode

NAMES = sorted(CLASSES)
WINDOWS = 8
STREAM = windows(WINDOWS)
HELD = held()


@pytest.mark.parametrize("name", NAMES)
def test_a_restart_after_any_window_gives_the_same_evidence(name: str) -> None:
    going = Run(make(name), STREAM)
    going.detector.fit(HELD)
    saved, asked, seen = [], [], []
    for index in range(WINDOWS):
        saved.append(encode(going.detector.state()))
        asked.append(list(going.asked))
        seen += going.go(index, index + 1)
    for index in range(WINDOWS):
        resumed = Run(make(name), STREAM)
        resumed.detector.fit(HELD)
        resumed.detector.restore(decode(saved[index]))
        resumed.asked = asked[index]
        assert resumed.go(index, WINDOWS) == seen[index:], f"stopped after {index} windows"


@pytest.mark.parametrize("name", NAMES)
def test_a_second_restart_before_the_next_window_loses_nothing(name: str) -> None:
    going = Run(make(name), STREAM)
    going.detector.fit(HELD)
    going.go(0, WINDOWS - 2)
    saved, asked = encode(going.detector.state()), list(going.asked)
    for _ in range(2):
        resumed = Run(make(name), STREAM)
        resumed.detector.fit(HELD)
        resumed.detector.restore(decode(saved))
        resumed.asked, saved = asked, encode(resumed.detector.state())
    assert resumed.go(WINDOWS - 2, WINDOWS) == going.go(WINDOWS - 2, WINDOWS)


def test_on_this_stream_detectors_alarm_and_ask() -> None:
    loud, curious = set(), set()
    for name in NAMES:
        run = Run(make(name), STREAM)
        run.detector.fit(HELD)
        seen = [json.loads(line) for line in run.go(0, WINDOWS)]
        loud |= {name} if any(e["status"] == "fired" for e in seen) else set()
        curious |= {name} if any(e["asks"] for e in seen) else set()
    assert {"input_similarity", "pipeline_fault", "served_mismatch", "version_disagreement"} <= loud
    assert "version_disagreement" in curious
    assert len(curious) > 1
