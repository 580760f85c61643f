"""The public messages as types: what comes in, what goes out. `monitor.schemas` publishes them as JSON Schema.

Inference and feedback events are decoded straight to columns elsewhere; their types here are the published
definition. Incidents and vetting requests are written with these types. Unknown fields are ignored by readers, so
that fields can be added.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypeAlias, TypedDict

import msgspec

Family = Literal["stable", "drift", "poisoning", "evasion", "fault", "inconclusive"]
FAMILIES: tuple[Family, ...] = ("stable", "drift", "poisoning", "evasion", "fault", "inconclusive")
Hypothesis = Literal[
    "covariate_drift",
    "concept_drift",
    "new_class",
    "label_flip",
    "label_error",
    "backdoor",
    "clean_label",
    "feedback_compromise",
    "model_tampering",
    "evasion_burst",
    "probing",
    "pipeline_fault",
    "regression",
]
DetectorStatus = Literal["ok", "fired", "error", "warming"]

Timestamp: TypeAlias = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
"""RFC 3339."""
Seconds: TypeAlias = Annotated[float, msgspec.Meta(description="Seconds since the epoch.")]
Probability: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Capability: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=3)]
"""What a verdict was reached with."""
Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]
Value: TypeAlias = str | float | bool | None
"""A feature as sent: a number, a category's name, or null where it is missing."""


class InferenceEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """`tocsin.inference.v1`: one classified event, as the model served it.

    ``features`` is an array in the bundle's order or an object by name. ``scores`` are probabilities as an array in
    class order, an object by class name, or one number (binary: the probability of the positive class). ``session``
    correlates events (flow, host); ``ref`` is a link for a person, passed through and never scored.
    """

    id: Name
    ts: Timestamp | Seconds
    model: Name
    version: Name
    features: list[Value] | dict[str, Value]
    scores: list[Probability] | dict[str, Probability] | Probability
    source: str | None = None
    session: str | None = None
    ref: str | None = None


class FeedbackEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """`tocsin.feedback.v1`: what an event really was, according to ``origin`` (analyst, feed, sandbox).

    Whether an origin is trusted is said by the configuration and the channel, never by the event. ``model``,
    ``features`` and ``scores`` are for feedback on events that were not seen here.
    """

    id: Name
    ts: Timestamp | Seconds
    label: Name
    origin: Name
    model: str | None = None
    features: list[Value] | dict[str, Value] | None = None
    scores: list[Probability] | dict[str, Probability] | Probability | None = None


class VettingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`tocsin.vetting.v1`: please label this event; the answer is a feedback event of a trusted origin.

    ``incident`` is the incident's uid. ``why`` is for the analyst. ``deadline`` is null where an answer may
    take its time. ``model`` and ``version`` classified the event; older requests do not name them.
    """

    schema: Literal["tocsin.vetting.v1"] = "tocsin.vetting.v1"
    incident: Name
    id: Name
    why: str
    features: dict[str, Value]
    scores: dict[str, Probability]
    asked_at: Seconds
    deadline: Seconds | None = None
    ref: str | None = None
    model: str | None = None
    version: str | None = None


class OffsetRange(msgspec.Struct, frozen=True):
    """Offsets of one partition (or lines of one file, from 0), ``first`` and ``last`` included."""

    topic: str
    partition: int
    first: int
    last: int


class WindowItem(msgspec.Struct, frozen=True):
    """The window in which the incident was opened or changed; its ranges say exactly which events it held."""

    index: int
    first_id: str
    last_id: str
    offsets: list[OffsetRange] = []


class Alternative(msgspec.Struct, frozen=True):
    """Another hypothesis and its probability."""

    hypothesis: str
    confidence: Probability


class TopItem(msgspec.Struct, frozen=True):
    """A feature or slice and how much it added to a detector's score, in the detector's own unit; null: beyond all."""

    name: str
    contribution: float | None


class EvidenceItem(msgspec.Struct, frozen=True):
    """What one detector said about the window. A figure that is not finite is null, as is ``e_value`` without one."""

    detector: str
    status: DetectorStatus
    score: float | None
    threshold: float | None
    e_value: float | None = None
    top: list[TopItem] = []


class ImplicatedItem(msgspec.Struct, frozen=True):
    """What the evidence points at: features with their value or range, sources, origins, labels, at most 100 events."""

    features: dict[str, Value] = {}
    sources: list[str] = []
    origins: list[str] = []
    labels: list[str] = []
    events: Annotated[list[str], msgspec.Meta(max_length=100)] = []


class ActionTaken(msgspec.Struct, frozen=True):
    """One response and how it stands; ``key`` names it for good, and a later message holds its newer state.

    ``action`` is `rollback`, `retraining` or `promotion`; ``target`` the version that is to serve (of a retraining: the
    candidate, empty until there is one). ``proposed`` waits for approval, ``halted`` for a person to mend something;
    what nothing was done for yet is ``withdrawn`` when its reason is gone.
    """

    action: str
    target: str
    key: str
    result: Literal["proposed", "running", "done", "declined", "withdrawn", "rejected", "halted"]
    detail: str = ""


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """`tocsin.incident.v1`: one line or message; the same ``uid`` from create through update to close.

    ``opened_at`` and ``at`` are event time in seconds since the epoch. ``status`` is `suspected` while labels are being
    asked for (pages nobody). ``confidence`` is the probability of the hypothesis, ``family_confidence`` that of the
    family. ``severity`` is 0-10, ``atlas`` holds MITRE ATLAS technique ids. ``summary`` is two plain sentences for an
    analyst. ``action`` is empty in observe mode. ``level`` is what the verdict was reached with (0 events alone, 1
    labels too, 2 both checkpoints, 3 the training buffer as well), ``weaker`` what makes it weaker than usual,
    ``decider`` what would decide it; empty where it is decided. ``also`` holds milder families that hold beside it,
    with their hypotheses: a drift beside a poisoning. ``first_poisoned``: of the versions since last known good, the
    oldest that did already what the incident is about; null where that cannot be told. ``audit_checkpoint`` is the
    signed length and root of the audit log when this was told (a C2SP checkpoint), empty without a log: kept, it shows
    later whether the log was cut off or written anew. ``missed`` is what `tocsin hunt` has found, in a sentence; empty
    until somebody hunts. ``share`` is the largest share of a window's events that is touched, null where that cannot be
    told. ``folded`` counts the windows that showed the same since the message before. A close says why in
    ``close_reason``, and where a person closed it, who, in ``closed_by``.
    """

    schema: Literal["tocsin.incident.v1"] = "tocsin.incident.v1"
    uid: Name
    activity: Literal["create", "update", "close"]
    status: Literal["suspected", "confirmed", "retracted", "resolved"]
    model: Name
    version: Name
    last_known_good: str | None
    opened_at: Seconds
    at: Seconds
    window: WindowItem
    family: Literal["drift", "poisoning", "evasion", "fault", "inconclusive"]
    hypothesis: Hypothesis | None
    confidence: Probability
    family_confidence: Probability
    alternatives: list[Alternative] = []
    evidence: list[EvidenceItem] = []
    implicated: ImplicatedItem = ImplicatedItem()
    severity: Annotated[int, msgspec.Meta(ge=0, le=10)]
    atlas: list[str] = []
    action: list[ActionTaken] = []
    level: Capability = 0
    weaker: list[str] = []
    decider: str = ""
    also: dict[str, str] = {}
    first_poisoned: str | None = None
    audit_checkpoint: str = ""
    missed: str = ""
    share: Probability | None = None
    folded: Annotated[int, msgspec.Meta(ge=0)] = 0
    close_reason: str = ""
    closed_by: str = ""
    summary: str


class DetectorRecord(TypedDict):
    """One detector's part of a window's record. A figure that is not finite is null."""

    status: DetectorStatus
    score: float | None
    threshold: float | None
    e_value: float | None
    gauges: dict[str, float | None]
    top: list[TopItem]


class VerdictRecord(TypedDict):
    """The verdict on a window; the last three as in an incident (earlier records have none)."""

    family: Family
    hypothesis: Hypothesis | None
    confidence: float | None
    family_confidence: float | None
    level: NotRequired[Capability]
    weaker: NotRequired[list[str]]
    decider: NotRequired[str]
    also: NotRequired[dict[str, str]]


class WindowRecord(TypedDict):
    """One line of `windows.ndjson`: the fields that readers may rely on; there are more."""

    model: str
    version: str
    index: int
    events: int
    detectors: dict[str, DetectorRecord]
    verdict: VerdictRecord
