from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.batch import Batch, Floats, Labels
from monitor.decoding.feedback import Feedback
from monitor.hashes import KeyedHash
from monitor.labels.joins import JoinSettings, LabelJoin
from monitor.labels.labelled import Rescored
from monitor.state.checkpoint import CheckpointStore, MemorySegments, decode, encode

KEY = b"0123456789abcdef"
HASH = KeyedHash(KEY)
CLASSES = ("benign", "attack")


def events(ids: Sequence[str], version: str = "1", scale: float = 1.0) -> Batch:
    n = len(ids)
    return Batch(
        model="nids",
        version=version,
        ts=np.arange(n, dtype=np.float64),
        id=np.array(ids, dtype=np.str_),
        source=np.array([f"source-{i}" for i in ids], dtype=np.str_),
        session=np.array([f"session-ü-{i}" for i in ids], dtype=np.str_),
        ref=np.array([f"ref-{i}" for i in ids], dtype=np.str_),
        x=scale * np.arange(2 * n, dtype=np.float64).reshape(n, 2),
        scores=np.tile([0.75, 0.25], (n, 1)),
        partition=np.zeros(n, dtype=np.int64),
        offset=np.arange(n),
        key=HASH.texts(ids),
        digest=HASH.texts(ids),
    )


def said(
    ids: Sequence[str],
    label: str = "attack",
    origin: str = "analyst",
    *,
    trusted: bool = False,
    named: bool = True,
    features: Floats | None = None,
) -> Feedback:
    n = len(ids)
    x = np.zeros((n, 0)) if features is None else features
    return Feedback(
        model="nids",
        id=np.array(ids, dtype=np.str_),
        ts=np.full(n, 50.0),
        label=np.full(n, label),
        origin=np.full(n, origin),
        source=np.full(n, "-"),
        trusted=np.full(n, trusted),
        claimed=np.zeros(n, dtype=np.bool_),
        named=np.full(n, named),
        carries=np.full(n, features is not None),
        x=x,
        scores=np.full((n, 2 if features is not None else 0), np.nan),
        key=HASH.texts(ids),
        digest=HASH.tuples([(i, label, origin, str(trusted)) for i in ids]),
        partition=np.zeros(n, dtype=np.int64),
        offset=np.arange(n),
    )


def join(**settings: int) -> LabelJoin:
    return LabelJoin(JoinSettings(**settings), MemorySegments(), KEY)


def store(labels: LabelJoin, batch: Batch, classes: Sequence[str] = CLASSES) -> None:
    labels.store(batch, classes, batch.scores + 0.01, None)


def taken(labels: LabelJoin, version: str = "1") -> Labels:
    found = labels.take(version)
    assert found is not None
    return found


def test_a_label_gets_what_is_known_of_its_event() -> None:
    labels = join()
    store(labels, events(["a", "b"]))
    labels.add(said(["b"], trusted=True))
    found = taken(labels)
    assert [found.id[0], found.source[0], found.session[0]] == ["b", "source-b", "session-ü-b"]
    assert [found.label[0], found.name[0], found.origin[0]] == [1, "attack", "analyst"]
    assert (found.trusted[0], found.vetted[0]) == (True, False)
    assert (found.ts[0], found.event_ts[0]) == (50.0, 1.0)
    assert found.x.tolist() == [[2.0, 3.0]]
    assert (found.served.tolist(), found.f.tolist()) == ([[0.75, 0.25]], [[0.76, 0.26]])
    assert np.isnan(found.g).all()
    assert labels.take("1") is None


def test_a_label_that_is_early_waits_for_its_event() -> None:
    labels = join()
    labels.add(said(["a"]))
    assert (labels.take("1"), labels.waiting) == (None, 1)
    store(labels, events(["x"]))
    assert labels.ready() == []
    store(labels, events(["a"]))
    assert labels.ready() == ["1"]
    assert (taken(labels).id.tolist(), labels.waiting) == (["a"], 0)


def test_a_label_without_an_event_is_given_up_after_a_while_and_counted() -> None:
    labels = join(pending_windows=2)
    labels.add(said(["nothing"]))
    labels.add(said(["elsewhere"], named=False))
    store(labels, events(["x"]))
    assert labels.counts["without_event"] == 0
    store(labels, events(["y"]))
    assert (labels.counts["without_event"], labels.counts["unattributed"], labels.waiting) == (1, 1, 0)


def test_a_label_that_comes_in_the_last_window_of_its_patience_is_joined() -> None:
    labels = join(pending_windows=1)
    labels.add(said(["a"]))
    store(labels, events(["a"]))
    assert (labels.counts["joined"], labels.counts["without_event"]) == (1, 0)


def test_events_beyond_the_horizon_are_forgotten() -> None:
    labels = join(horizon_windows=2)
    for name in "abc":
        store(labels, events([name]))
    labels.add(said(["a", "b", "c"]))
    assert taken(labels).id.tolist() == ["b", "c"]


def test_too_many_waiting_labels_push_out_the_oldest() -> None:
    labels = join(pending_labels=3)
    labels.add(said(["a", "b"]))
    store(labels, events(["x"]))
    labels.add(said(["c", "d"], features=np.ones((2, 2))))
    assert (labels.waiting, labels.counts["given_up"]) == (3, 1)
    store(labels, events(["a", "b", "c", "d"]))
    assert taken(labels).id.tolist() == ["b", "c", "d"]


def test_the_same_statement_again_is_dropped_but_other_origins_and_labels_are_kept() -> None:
    labels = join()
    store(labels, events(["a"]))
    for label, origin in [("attack", "x"), ("attack", "x"), ("attack", "y"), ("benign", "x")]:
        labels.add(said(["a"], label, origin))
    found = taken(labels)
    assert list(zip(found.origin.tolist(), found.name.tolist(), strict=True)) == [
        ("x", "attack"),
        ("x", "benign"),
        ("y", "attack"),
    ]
    assert labels.counts["repeats"] == 1


def test_an_untrusted_copy_does_not_silence_the_trusted_statement() -> None:
    labels = join()
    store(labels, events(["a"]))
    labels.add(said(["a"], origin="sandbox", trusted=False))
    labels.add(said(["a"], origin="sandbox", trusted=True))
    assert sorted(taken(labels).trusted.tolist()) == [False, True]


def test_only_a_trusted_answer_to_a_request_is_vetted() -> None:
    labels = join()
    store(labels, events(["a", "b"]))
    labels.add(said(["a", "b"], trusted=True), asked={"a"})
    labels.add(said(["a"], origin="someone"), asked={"a"})
    found = taken(labels)
    vetted = dict(zip(zip(found.id.tolist(), found.origin.tolist(), strict=True), found.vetted.tolist(), strict=True))
    assert vetted == {("a", "analyst"): True, ("b", "analyst"): False, ("a", "someone"): False}


def test_a_class_that_the_model_does_not_know_is_kept_by_name() -> None:
    labels = join()
    store(labels, events(["a"]))
    labels.add(said(["a"], label="worm"))
    found = taken(labels)
    assert (found.label.tolist(), found.name.tolist(), labels.counts["unknown_class"]) == ([-1], ["worm"], 1)


def test_an_id_that_two_versions_scored_is_labelled_in_both() -> None:
    labels = join()
    store(labels, events(["a"], version="1"))
    store(labels, events(["a"], version="2"), ("attack", "benign"))
    labels.add(said(["a"]))
    assert (taken(labels, "1").label.tolist(), taken(labels, "2").label.tolist()) == ([1], [0])
    assert labels.counts["ambiguous"] == 0


def test_who_repeats_an_id_cannot_take_its_label() -> None:
    labels = join()
    store(labels, events(["b", "a"]))
    store(labels, events(["a"], scale=100))
    labels.add(said(["a"]))
    assert taken(labels).x.tolist() == [[2.0, 3.0]]
    assert labels.counts["ambiguous"] == 1


def test_an_equal_hash_of_another_id_is_no_match() -> None:
    labels = join()
    store(labels, events(["a"]))
    forged = said(["a"])
    collision = Feedback(**{f: getattr(forged, f) for f in forged.__slots__} | {"id": np.array(["other"])})
    labels.add(collision)
    assert (labels.take("1"), labels.waiting) == (None, 1)


def test_feedback_with_features_is_used_when_its_event_never_comes() -> None:
    def rescore(x: Floats) -> Rescored:
        return Rescored("7", CLASSES, np.column_stack([1 - x[:, 0], x[:, 0]]), np.full((len(x), 2), 0.5))

    labels = LabelJoin(JoinSettings(pending_windows=5), MemorySegments(), KEY, rescore)
    labels.add(said(["lost", "also"], features=np.array([[0.25, 1], [0.5, 1]])))
    labels.add(said(["bare"]))
    labels.finish()
    found = taken(labels, "7")
    assert found.id.tolist() == ["also", "lost"]
    assert found.f.tolist() == found.served.tolist() == [[0.5, 0.5], [0.75, 0.25]]
    assert found.session.tolist() == ["also", "lost"]
    assert (labels.counts["rescored"], labels.counts["without_event"], labels.waiting) == (2, 1, 0)


def test_an_event_can_be_looked_up_for_a_request() -> None:
    labels = join()
    store(labels, events(["a", "b"]))
    found = labels.event("1", "b")
    assert found is not None
    assert (found.x.tolist(), found.served.tolist(), found.ref) == ([2.0, 3.0], [0.75, 0.25], "ref-b")
    assert labels.event("2", "b") is None
    assert labels.event("1", "c") is None


def test_blocks_are_put_once_and_the_state_stays_small(tmp_path: Path) -> None:
    with CheckpointStore(tmp_path) as segments:
        labels = LabelJoin(JoinSettings(horizon_windows=3), segments, KEY)
        sizes = []
        for window in range(6):
            store(labels, events([f"{window}/{i}" for i in range(200)]))
            state = labels.state()
            sizes.append(len(encode(state)))
            segments.save(state)
        assert max(sizes) < 2500
        assert len(list((tmp_path / "segments").iterdir())) == 4


def test_events_that_left_memory_are_loaded_for_their_labels() -> None:
    labels = join()
    for window in range(40):
        store(labels, events([f"{window}"]))
        labels.state()
    labels.add(said([str(i) for i in range(40)]))
    assert sorted(taken(labels).id.tolist(), key=int) == [str(i) for i in range(40)]


STEPS = st.lists(
    st.tuples(
        st.just("store"), st.lists(st.integers(0, 12), min_size=1, max_size=4, unique=True), st.sampled_from("12")
    )
    | st.tuples(st.just("add"), st.lists(st.integers(0, 12), min_size=1, max_size=4), st.sampled_from("xy")),
    max_size=25,
)


def played(steps: Sequence[tuple[str, list[int], str]], *, restart: bool) -> tuple[list[object], dict[str, int]]:
    segments = MemorySegments()
    settings = JoinSettings(horizon_windows=4, pending_windows=3, pending_labels=5)
    labels, found = LabelJoin(settings, segments, KEY), []
    for what, ids, other in steps:
        names = [str(i) for i in ids]
        if what == "store":
            store(labels, events(names, version=other))
        else:
            labels.add(said(names, origin=other))
        if restart:
            saved = decode(encode(labels.state()))
            labels = LabelJoin(settings, segments, KEY)
            labels.restore(saved)
    labels.finish()
    for version in labels.ready():
        part = taken(labels, version)
        found += [version, part.id.tolist(), part.origin.tolist(), part.x.tolist(), part.session.tolist()]
    return found, dict(labels.counts)


@settings(deadline=None)
@given(STEPS)
def test_joins_are_the_same_after_restarts(steps: list[tuple[str, list[int], str]]) -> None:
    assert played(steps, restart=True) == played(steps, restart=False)


@settings(deadline=None)
@given(STEPS)
def test_every_statement_is_accounted_for(steps: list[tuple[str, list[int], str]]) -> None:
    one_version = [(what, ids, "1" if what == "store" else other) for what, ids, other in steps]
    _, counts = played(one_version, restart=False)
    sent = sum(len(ids) for what, ids, _ in steps if what == "add")
    ends = ("joined", "repeats", "without_event", "given_up")
    assert sum(counts.get(end, 0) for end in ends) == sent


@pytest.mark.parametrize("name", ["horizon_windows", "pending_windows", "pending_labels", "statements"])
def test_settings_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        JoinSettings(**{name: 0})
