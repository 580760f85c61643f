"""What a sink is tried out with: it says that it is a test, and pages nobody."""

from __future__ import annotations

from typing import Final

import msgspec

from monitor.messages import EvidenceItem, ImplicatedItem, Incident, TopItem, VettingRequest, WindowItem

TEST_MODEL: Final = "tocsin-test"


def sample_incident(at: float) -> bytes:
    """One `tocsin.incident.v1` of ``at`` (seconds since the epoch); each time another incident."""
    return msgspec.json.encode(
        Incident(
            uid=f"test-{round(at * 1000)}",
            activity="create",
            status="suspected",
            model=TEST_MODEL,
            version="1",
            last_known_good=None,
            opened_at=at,
            at=at,
            window=WindowItem(0, "test-first", "test-last"),
            family="inconclusive",
            hypothesis=None,
            confidence=0.5,
            family_confidence=0.5,
            evidence=[EvidenceItem("prediction_entropy", "fired", 2.0, 1.0, None, [TopItem("a feature", 0.5)])],
            implicated=ImplicatedItem(sources=["a source"]),
            severity=0,
            summary="This is a test of Tocsin's alerts. Nothing happened, and nothing is to be done.",
        )
    )


def sample_request(at: float) -> VettingRequest:
    """A request for a label at ``at`` (seconds since the epoch), for a queue; each time another one."""
    ident = f"test-{round(at * 1000)}"
    return VettingRequest(
        incident=ident,
        id=ident,
        why="This is a test of Tocsin's vetting requests. There is nothing to answer.",
        features={"a feature": 0.5, "another": "a category"},
        scores={"attack": 0.5, "benign": 0.5},
        asked_at=at,
        deadline=at,
        ref="https://tocsin.example/events/test",
        model=TEST_MODEL,
        version="1",
    )
