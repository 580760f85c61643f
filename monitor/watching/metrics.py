"""What Prometheus sees. Names and labels are public: a test holds a snapshot of them.

Label values are bounded: models and versions are those of the registry, features those of the schema (the strongest
few, the rest together as `other`), everything else is a fixed set of words. Sources, sessions and ids are named by
whoever sends events, and so are never labels.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import product
from typing import Any, Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics

from monitor.decoding.reject import Reason
from monitor.messages import FAMILIES
from monitor.watching.exemplar import exemplar
from monitor.watching.gauge_board import GaugeBoard, Reading

STATUSES: Final = ("ok", "fired", "error", "warming")
ACTIVITIES: Final = ("create", "update", "close")
ACTIONS: Final = ("rollback", "retraining", "promotion")
RESULTS: Final = ("proposed", "running", "done", "declined", "withdrawn", "rejected", "halted")
REQUESTS: Final = ("asked", "answered", "expired")
TRUST: Final = ("trusted", "untrusted")
TOP_FEATURES: Final = 10
OTHER: Final = "other"
OF_LABELS: Final = frozenset({"label_agreement"})
"""Detectors whose figures are about labels: these come without events, too."""
IMPORTANCES: Final = {
    "importance": "serving",
    "importance_last_known_good": "last_known_good",
    "importance_reference": "reference",
}
"""What the detector of importances calls what is shown, and who decides so: either version, or the reference's past."""
TURN_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The figures of one process, in the ``registry`` that is passed in. ``clock`` gives seconds since the epoch."""

    def __init__(self, registry: CollectorRegistry, version: str, clock: Callable[[], float]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus-client leaves it untyped
        self._board = GaugeBoard()
        self._features: dict[str, frozenset[str]] = {}
        self._partitions: AbstractSet[tuple[str, str]] = frozenset()
        self._clock = clock

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"tocsin_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"tocsin_{name}", text, labels, registry=registry)

        Info("tocsin_build", "What is running.", registry=registry).info({"version": version})
        which = ("model", "version")
        self._events = counter("events", "Inference events taken in.", *which)
        self._quarantined = counter("quarantined", "Messages that cannot be read.", "model", "reason")
        for reason in get_args(Reason):
            self._quarantined.labels("-", reason)  # there at once, as what `_begin` begins
        self._duplicates = counter("duplicates", "Repeated events, not scored again.", "model")
        self._conflicts = counter("id_conflicts", "Events with an id seen before and other content.", "model")
        self._late = counter("late_events", "Events older than their window.", "model")
        self._future = counter("future_events", "Events from the future.", "model")
        self._labels = counter("labels", "Feedback by what became of it.", "model", "outcome", "trust")
        self._pending = gauge("labels_pending", "Feedback that waits for its event.", "model")
        self._claims = counter("claimed_trust", "Feedback of a trusted origin on an unguarded channel.", "model")
        self._vetting = counter("vetting", "Requests for labels by what became of them.", "model", "outcome")
        self._windows = counter("windows", "Windows judged.", *which)
        self._score = gauge("detector_score", "Statistic of the latest window.", *which, "detector")
        self._threshold = gauge("detector_threshold", "What the statistic is held against.", *which, "detector")
        self._e_value = gauge("detector_e_value", "Evidence against the null so far.", *which, "detector")
        self._status = gauge("detector_status", "1 for the status that holds.", *which, "detector", "status")
        self._judged = gauge("window_judged_timestamp_seconds", "When a window was last judged.", *which)
        self._reached = gauge(
            "window_event_timestamp_seconds", "Event time that the latest window with events reached.", *which
        )
        self._gauge = gauge("detector_figure", "A detector's further figures.", *which, "detector", "gauge")
        self._top = gauge(
            "detector_contribution", "What a feature adds to the statistic.", *which, "detector", "feature"
        )
        self._importance = gauge(
            "importance_ratio", "Share of a feature in what a version decides.", *which, "of", "feature"
        )
        self._verdict = gauge("verdict", "1 for the family of the latest verdict.", *which, "family")
        self._confidence = gauge("verdict_confidence_ratio", "Probability of the verdict's hypothesis.", *which)
        self._sure = gauge("verdict_family_confidence_ratio", "Probability of its family: what is acted on.", *which)
        self._open = gauge("incidents_open", "Open incidents.", "model")
        self._incidents = counter("incidents", "Incident messages.", "model", "family", "activity")
        self._folded = counter("incident_findings_folded", "Windows whose finding an open incident says.", "model")
        self._dismissed = counter(
            "incident_findings_dismissed", "Windows whose finding an operator has dismissed: nobody is told.", "model"
        )
        self._actions = counter("actions", "Actions by outcome.", "model", "action", "outcome")
        self._waiting = gauge("responses_waiting", "Responses that wait for approval or are halted.", "model")
        self._lag = gauge("source_lag_messages", "Messages not yet read.", "topic", "partition")
        self._dropped = counter("lines_dropped", "Lines that a topic or stdout did not take.")
        self._source_errors = counter("source_errors", "Reads and commits that failed and are tried again.")
        self._turn = Histogram(
            "tocsin_loop_turn_seconds", "How long a turn of the loop takes.", buckets=TURN_BUCKETS, registry=registry
        )
        self._saved_at = float("nan")
        # asked at each scrape: an age that only the loop could move would look young while the loop hangs
        gauge("checkpoint_age_seconds", "Time since the last checkpoint.").set_function(self._checkpoint_age)

    def features(self, model: str, names: Collection[str]) -> None:
        """The features of a model, of which its label values are made; from here on all its counters are there."""
        self._features[model] = frozenset(names)
        self._begin(model)

    def events(self, model: str, version: str, n: int) -> None:
        """Events taken in."""
        self._events.labels(model, version).inc(n)

    def quarantined(self, model: str, reason: str, n: int = 1) -> None:
        """Messages that cannot be read; ``model`` is "-" where it is not one of the configured."""
        self._quarantined.labels(model, reason).inc(n)

    def duplicates(self, model: str, n: int) -> None:
        """Repeats with the same content."""
        self._duplicates.labels(model).inc(n)

    def conflicts(self, model: str, n: int) -> None:
        """The same id with other content."""
        self._conflicts.labels(model).inc(n)

    def late(self, model: str, n: int) -> None:
        """Events older than their window."""
        self._late.labels(model).inc(n)

    def future(self, model: str, n: int) -> None:
        """Events from the future."""
        self._future.labels(model).inc(n)

    def labels(self, model: str, outcome: str, *, trusted: bool, n: int = 1) -> None:
        """Feedback by ``outcome`` (joined, expired, ...)."""
        self._labels.labels(model, outcome, "trusted" if trusted else "untrusted").inc(n)

    def labels_pending(self, model: str, n: int) -> None:
        """How much feedback waits for its event now."""
        self._pending.labels(model).set(n)

    def claimed_trust(self, model: str, n: int = 1) -> None:
        """Feedback that names a trusted origin where nobody is believed."""
        self._claims.labels(model).inc(n)

    def vetting(self, model: str, outcome: str, n: int = 1) -> None:
        """Requests for labels by ``outcome`` (asked, answered, expired)."""
        self._vetting.labels(model, outcome).inc(n)

    def window(self, record: Mapping[str, Any]) -> None:
        """A judged window, as `windows.ndjson` holds it (`monitor.messages.WindowRecord`)."""
        model, version = record["model"], record["version"]
        self._windows.labels(model, version).inc()
        show = self._board.show if record["events"] else self._board.add
        show(model, version, self._readings(record))

    def incidents_open(self, model: str, n: int) -> None:
        """How many incidents are open now; a model that is watched no longer has no series once it is none."""
        if n or model in self._features:
            self._open.labels(model).set(n)
        else:
            self._open.remove(model)

    def incident(self, model: str, family: str, activity: str, uid: str = "") -> None:
        """An incident message was sent; ``uid`` is its exemplar."""
        self._incidents.labels(model, family, activity).inc(1, exemplar(uid))

    def folded(self, model: str) -> None:
        """A window showed what is told already."""
        self._folded.labels(model).inc()

    def dismissed(self, model: str) -> None:
        """A window showed what an operator has dismissed."""
        self._dismissed.labels(model).inc()

    def action(self, model: str, action: str, outcome: str, uid: str = "") -> None:
        """A response came to stand so; ``uid`` of its incident is the exemplar."""
        self._actions.labels(model, action, outcome).inc(1, exemplar(uid))

    def responses_waiting(self, model: str, n: int) -> None:
        """How many responses wait for a person now."""
        self._waiting.labels(model).set(n)

    def lag(self, messages: Mapping[tuple[str, int], int]) -> None:
        """Messages not yet read, for every partition that is ours now; others are forgotten."""
        now = {(topic, str(number)): n for (topic, number), n in messages.items()}
        for gone in self._partitions - now.keys():  # never all at once: a scrape in between would see none
            self._lag.remove(*gone)
        for which, n in now.items():
            self._lag.labels(*which).set(n)
        self._partitions = now.keys()

    def source_error(self) -> None:
        """A read or a commit failed, and will be tried again."""
        self._source_errors.inc()

    def line_dropped(self, n: int) -> None:
        """A line for a topic that does not take it in time."""
        self._dropped.inc(n)

    def checkpointed(self) -> None:
        """A checkpoint is on disk."""
        self._saved_at = self._clock()

    def turn(self, seconds: float) -> None:
        """A turn of the loop is over."""
        self._turn.observe(seconds)

    def _begin(self, model: str) -> None:
        """What has not happened yet is 0 and not absent: a rate does not see the first change of what was absent."""
        of_events = (self._duplicates, self._conflicts, self._late, self._future)
        for counter in (*of_events, self._claims, self._folded, self._dismissed):
            counter.labels(model)
        for gauge in (self._pending, self._open, self._waiting):
            gauge.labels(model)
        for by_word, *words in (
            (self._incidents, FAMILIES, ACTIVITIES),
            (self._actions, ACTIONS, RESULTS),
            (self._vetting, REQUESTS),
            (self._labels, ("joined",), TRUST),
        ):
            for labels in product(*words):
                by_word.labels(model, *labels)

    def _checkpoint_age(self) -> float:
        return self._clock() - self._saved_at

    def _readings(self, record: Mapping[str, Any]) -> Iterator[Reading]:
        verdict = record["verdict"]
        yield Reading(self._judged, (), self._clock())
        if record["events"]:
            yield Reading(self._reached, (), _number(record["at"]))
        for family in FAMILIES:
            yield Reading(self._verdict, (family,), float(verdict["family"] == family))
        yield Reading(self._confidence, (), _number(verdict["confidence"]))
        yield Reading(self._sure, (), _number(verdict["family_confidence"]))
        features = self._features.get(record["model"], frozenset())
        for name, detector in record["detectors"].items():
            yield from self._standing(name, detector)
            if record["events"] or name in OF_LABELS:
                yield from self._figures(name, detector, features)
                yield from self._importances(detector.get("facts", {}), features)

    def _standing(self, name: str, detector: Mapping[str, Any]) -> Iterator[Reading]:
        yield Reading(self._threshold, (name,), _number(detector["threshold"]))
        if detector["e_value"] is not None:
            yield Reading(self._e_value, (name,), detector["e_value"])
        for status in STATUSES:
            yield Reading(self._status, (name, status), float(detector["status"] == status))

    def _figures(self, name: str, detector: Mapping[str, Any], features: Collection[str]) -> Iterator[Reading]:
        """What was seen in a window: where it has no events, only what labels show; rates of nothing are no news."""
        yield Reading(self._score, (name,), _number(detector["score"]))
        for gauge, value in detector["gauges"].items():
            yield Reading(self._gauge, (name, gauge), _number(value))
        for feature, value in strongest(detector["top"], features).items():
            yield Reading(self._top, (name, feature), value)

    def _importances(self, facts: Mapping[str, Any], features: Collection[str]) -> Iterator[Reading]:
        for fact, whose in IMPORTANCES.items():
            if fact in facts:
                for feature, share in with_rest(facts[fact], features).items():
                    yield Reading(self._importance, (whose, feature), share)


def with_rest(shares: Mapping[str, float], features: Collection[str]) -> dict[str, float]:
    """The largest few shares of ``features``; what is missing to 1 is `other`.

    >>> with_rest({"port": 0.5, "bytes": 0.25}, {"port", "bytes"})
    {'port': 0.5, 'bytes': 0.25, 'other': 0.25}
    """
    known = sorted(((n, s) for n, s in shares.items() if n in features), key=lambda item: -item[1])[:TOP_FEATURES]
    return dict(known) | {OTHER: max(0.0, 1.0 - sum(share for _, share in known))}


def strongest(top: Collection[Mapping[str, Any]], features: Collection[str]) -> dict[str, float]:
    """Contributions of the strongest few ``features``; those of everything else are one sum, `other`.

    >>> strongest([{"name": "port", "contribution": 2.0}, {"name": "sensor 7", "contribution": 1.0}], {"port"})
    {'port': 2.0, 'other': 1.0}
    """
    ranked = sorted(top, key=lambda item: -abs(_number(item["contribution"])))
    shown: dict[str, float] = {}
    for item in ranked:
        known = item["name"] in features and item["name"] not in shown and len(shown) < TOP_FEATURES
        name = item["name"] if known else OTHER
        shown[name] = shown.get(name, 0.0) + _number(item["contribution"])
    return shown


def _number(value: float | None) -> float:
    """What JSON cannot hold is null in a record, and no number here either."""
    return float("nan") if value is None else float(value)
