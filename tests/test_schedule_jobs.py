"""What is done from time to time, each by itself."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from lying_server import LyingServer
from prometheus_client import CollectorRegistry
from tiny_registry import DRAFT, NAME, add, make_registry, point

from monitor.inbox import Inbox, RegistryChecked, ServedOtherwise
from monitor.jobs.canary_probe import CanaryProbe, serves_otherwise
from monitor.jobs.housekeeping import DAY, Housekeeping
from monitor.jobs.registry_verification import FirstSight, RegistryVerification
from monitor.response import RETRAININGS
from monitor.watching.schedule_metrics import ScheduleMetrics
from rollback.audit.anchors import Seen
from rollback.canary.canaries import Canaries
from rollback.registry.file import FileRegistry
from rollback.registry.memory import MemoryRegistry
from rollback.registry.registry import Buffer, Pointers, RegistryError
from rollback.reload.memory import Behaviour, MemoryReloader
from rollback.reload.reloader import Observation
from rollback.reload.v2 import V2Reloader
from rollback.signing.keys import Keys, new_signing_key

A, B = "http://a", "http://b"


class Figures:
    """Metrics and inbox of one test."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.metrics = ScheduleMetrics(self._registry)
        self.inbox = Inbox()

    def value(self, name: str, **labels: str) -> float | None:
        return self._registry.get_sample_value(f"tocsin_{name}", labels)


@pytest.fixture
def figures() -> Figures:
    return Figures()


def probe(registry: MemoryRegistry, reloader: MemoryReloader | V2Reloader, figures: Figures) -> CanaryProbe:
    return CanaryProbe(NAME, registry, reloader, figures.metrics, figures.inbox, lambda: 5.0)


def test_endpoints_that_serve_what_they_should_are_shown_so(figures: Figures) -> None:
    probe(make_registry(), MemoryReloader({A: Behaviour(), B: Behaviour()}, "1"), figures)()
    for endpoint in (A, B):
        assert figures.value("endpoint_ok", model=NAME, endpoint=endpoint) == 1.0
        assert figures.value("endpoint_agreement_ratio", model=NAME, endpoint=endpoint) == 1.0
    assert figures.inbox.drain() == []


def test_an_endpoint_that_serves_something_else_is_put_in_the_inbox_at_every_probe(figures: Figures) -> None:
    registry = make_registry()
    looking = probe(registry, MemoryReloader({A: Behaviour()}, "1"), figures)
    point(registry, "2")
    looking()
    looking()
    first, second = figures.inbox.drain()
    assert isinstance(first, ServedOtherwise)
    assert (first.model, first.version, first.at) == (NAME, "2", 5.0)
    assert first.problem.startswith("http://a: version '1' answers, not '2'")
    assert first == second
    assert figures.value("endpoint_ok", model=NAME, endpoint=A) == 0.0
    assert figures.value("endpoint_agreement_ratio", model=NAME, endpoint=A) == 0.0


def test_an_endpoint_that_does_not_answer_is_shown_and_is_nothing_to_roll_back_for(figures: Figures) -> None:
    probe(make_registry(), MemoryReloader({A: Behaviour("hangs")}, "1"), figures)()
    assert figures.value("endpoint_ok", model=NAME, endpoint=A) == 0.0
    agreement = figures.value("endpoint_agreement_ratio", model=NAME, endpoint=A)
    assert agreement is not None
    assert agreement != agreement  # noqa: PLR0124 - no number: it could not be asked
    assert figures.inbox.drain() == []


def test_a_server_that_says_the_new_version_and_serves_the_old_is_found(figures: Figures) -> None:
    registry = make_registry()
    with LyingServer(registry, NAME) as server:
        reloader = V2Reloader([server.url], NAME)
        point(registry, "2")
        server.behaviour = Behaviour("says_new_serves_old")
        reloader.start("1", "2")
        probe(registry, reloader, figures)()
    (found,) = figures.inbox.drain()
    assert isinstance(found, ServedOtherwise)
    assert found.problem == f"{server.url}: it answers 0% of the canaries as version '2' does"


def test_every_change_is_logged_once(figures: Figures) -> None:
    registry = make_registry()
    reloader = MemoryReloader({A: Behaviour()}, "1")
    looking = probe(registry, reloader, figures)
    with structlog.testing.capture_logs() as logs:
        looking()
        point(registry, "2")
        looking()
        looking()
        reloader.start("1", "2")
        looking()
        looking()
    assert [line["event"] for line in logs] == ["endpoint_problem", "endpoint_mended"]


class Moving(MemoryReloader):
    """The pointer moves while the endpoints are asked."""

    def __init__(self, registry: MemoryRegistry) -> None:
        super().__init__({A: Behaviour()}, "1")
        self._registry = registry

    def observe(self, version: str, canaries: Canaries | None) -> tuple[Observation, ...]:
        point(self._registry, "2")
        self.start("1", "2")
        return super().observe(version, canaries)


def test_a_pointer_that_moves_during_a_probe_makes_its_answer_void(figures: Figures) -> None:
    registry = make_registry()
    probe(registry, Moving(registry), figures)()
    assert figures.inbox.drain() == []
    assert figures.value("endpoint_ok", model=NAME, endpoint=A) is None


def test_without_any_version_nothing_is_asked(figures: Figures) -> None:
    empty = MemoryRegistry(NAME, Keys.of(new_signing_key()), lambda: 0.0)
    probe(empty, MemoryReloader({A: Behaviour()}, "1"), figures)()
    assert figures.value("endpoint_ok", model=NAME, endpoint=A) is None


@given(st.sampled_from([None, "1", "2"]), st.one_of(st.none(), st.floats(0, 1)))
def test_only_a_positive_sign_of_something_else_counts(version: str | None, agreement: float | None) -> None:
    seen = Observation(A, version, agreement, "whatever is wrong")
    assert serves_otherwise(seen, "2") == (version == "1" or (agreement is not None and agreement < 1))
    assert not serves_otherwise(Observation(A, version, agreement), "2")


def verified(registry: FileRegistry | MemoryRegistry, figures: Figures) -> RegistryChecked:
    RegistryVerification(NAME, registry, figures.metrics, figures.inbox, lambda: 9.0)()
    (found,) = figures.inbox.drain()
    assert isinstance(found, RegistryChecked)
    return found


@pytest.fixture
def stored(tmp_path: Path) -> FileRegistry:
    """Versions 1 (serves, with a buffer) and 2, in a folder."""
    registry = FileRegistry(tmp_path / "registry", NAME, Keys.of(new_signing_key()), lambda: 0.0)
    buffer = tmp_path / "buffer.csv"
    buffer.write_text("x,label\n1,a\n")
    for version, kept in (("1", Buffer(buffer, "label")), ("2", None)):
        bundle = make_registry().load(version)
        files = {n: c for n, c in bundle.files.items() if n not in {"manifest.json", "attestation.json"}}
        registry.add(DRAFT, files, by="test", reason="test", buffer=kept)
    return registry


def test_a_registry_as_it_was_signed_is_verified(stored: FileRegistry, figures: Figures) -> None:
    versions = {v: Seen(stored.load(v).digest, stored.load(v).signed_by) for v in ("1", "2")}
    assert verified(stored, figures) == RegistryChecked(NAME, 9.0, "1", {}, (), versions, tuple(stored.history()))
    assert all(len(seen.digest) == 64 and len(seen.signed_by) == 16 for seen in versions.values())
    for version in ("1", "2"):
        assert figures.value("registry_verified", model=NAME, version=version) == 1.0
    assert figures.value("registry_pointers_ok", model=NAME) == 1.0


@pytest.mark.parametrize(
    ("file", "version"), [("1/model.onnx", "1"), ("2/reference.npz", "2"), ("buffers/*", "1"), ("2/manifest.json", "2")]
)
def test_a_changed_byte_is_found_and_named(
    stored: FileRegistry, figures: Figures, tmp_path: Path, file: str, version: str
) -> None:
    (path,) = (tmp_path / "registry" / NAME).glob(file)
    changed = path.read_bytes()[:-1] + b"!"
    path.unlink()  # else it would be changed in every version that shares it
    path.write_bytes(changed)
    with structlog.testing.capture_logs() as logs:
        found = verified(stored, figures)
    assert list(found.failed) == [version]
    assert path.name in found.failed[version]
    assert found.known_good_failed == (version == "1")
    assert figures.value("registry_verified", model=NAME, version=version) == 0.0
    assert [(line["event"], line["version"], line["known_good"]) for line in logs] == [
        ("version_not_verified", version, version == "1")
    ]


def test_a_pointer_that_was_moved_by_hand_is_found(stored: FileRegistry, figures: Figures, tmp_path: Path) -> None:
    link = tmp_path / "registry" / NAME / "serving"
    link.unlink()
    link.symlink_to("2")
    found = verified(stored, figures)
    assert len(found.pointers) == 1
    assert found.pointers[0].startswith("serving is version 2, but by the history it is version 1")
    assert figures.value("registry_pointers_ok", model=NAME) == 0.0
    assert found.failed == {}


def test_a_pointer_to_nowhere_is_found_and_the_versions_are_verified_all_the_same(
    stored: FileRegistry, figures: Figures, tmp_path: Path
) -> None:
    link = tmp_path / "registry" / NAME / "last-known-good"
    link.unlink()
    link.symlink_to("../../elsewhere")
    found = verified(stored, figures)
    assert "points to '../../elsewhere'" in found.pointers[0]
    assert found.last_known_good is None
    assert figures.value("registry_verified", model=NAME, version="2") == 1.0


class Busy(MemoryRegistry):
    """Somebody promotes version 2: seen at first is the moment between the entry in the history and its pointer."""

    looks = 0

    def pointers(self) -> Pointers:
        self.looks += 1
        return Pointers("1", "1", assumed=True) if self.looks == 1 else super().pointers()


def test_a_pointer_that_is_just_being_moved_is_no_problem(figures: Figures) -> None:
    registry = Busy(NAME, Keys.of(new_signing_key()), lambda: 0.0)
    add(registry, 1)
    add(registry, 2)
    registry.promote("2", expected="1", known_good=False, by="test", reason="test")
    registry.looks = 0
    assert verified(registry, figures).pointers == ()
    assert registry.looks > 1


def test_a_version_that_is_gone_is_forgotten(figures: Figures) -> None:
    figures.metrics.verified(NAME, {"1": True, "2": True}, pointers=True)
    figures.metrics.verified(NAME, {"2": True}, pointers=True)
    assert figures.value("registry_verified", model=NAME, version="1") is None
    assert figures.value("registry_verified", model=NAME, version="2") == 1.0


def test_a_registry_that_cannot_be_listed_is_an_error_of_the_run(
    stored: FileRegistry, figures: Figures, tmp_path: Path
) -> None:
    (tmp_path / "registry" / NAME / "history.ndjson").write_text("nonsense\n")
    with pytest.raises(RegistryError, match=r"history\.ndjson: line 1"):
        RegistryVerification(NAME, stored, figures.metrics, figures.inbox, lambda: 0.0)()


KEPT = ("attempt.json", "candidate.json", "gate.json", "incident.json", "removed.parquet", "vetting.ndjson", ".lock")
OVER = ("retained.parquet", "retrain.log", ".learned.csv.zst", ".part.removed.parquet", ".gate.json")
NOW = 1_000 * DAY


def retraining(state: Path, name: str = "0123456789abcdef", age_days: float = 31.0) -> Path:
    """A retraining's folder, complete, with what a crash could have left."""
    folder = state / RETRAININGS / name
    folder.mkdir(parents=True)
    for file in (*KEPT, *OVER):
        (folder / file).write_bytes(b"12345")
        os.utime(folder / file, (NOW - age_days * DAY,) * 2)
    return folder


def keep_house(state: Path, figures: Figures) -> None:
    Housekeeping(state, 30.0, figures.metrics, lambda: NOW)()


def test_of_an_old_retraining_the_answers_stay(tmp_path: Path, figures: Figures) -> None:
    folder = retraining(tmp_path)
    keep_house(tmp_path, figures)
    assert {path.name for path in folder.iterdir()} == set(KEPT)
    assert figures.value("housekeeping_freed_bytes_total") == 5.0 * len(OVER)


def test_a_retraining_that_is_young_is_left_alone(tmp_path: Path, figures: Figures) -> None:
    folder = retraining(tmp_path, age_days=29.0)
    old_but_for_one = retraining(tmp_path, "f" * 16)
    os.utime(old_but_for_one / "gate.json", (NOW - DAY,) * 2)
    keep_house(tmp_path, figures)
    assert len(list(folder.iterdir())) == len(list(old_but_for_one.iterdir())) == len(KEPT) + len(OVER)


def test_a_retraining_in_which_somebody_works_is_left_alone(tmp_path: Path, figures: Figures) -> None:
    folder = retraining(tmp_path)
    with (folder / ".lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keep_house(tmp_path, figures)
        assert (folder / "retained.parquet").exists()
    keep_house(tmp_path, figures)
    assert not (folder / "retained.parquet").exists()


def test_what_is_no_retraining_is_left_alone(tmp_path: Path, figures: Figures) -> None:
    unnamed = retraining(tmp_path, "notes")
    without_attempt = retraining(tmp_path, "a" * 16)
    (without_attempt / "attempt.json").unlink()
    beside = tmp_path / "audit.ndjson"
    beside.write_text("{}\n")
    (tmp_path / RETRAININGS / ("b" * 16)).write_text("a file")
    keep_house(tmp_path, figures)
    assert (unnamed / "retained.parquet").exists()
    assert (without_attempt / "retained.parquet").exists()
    assert beside.read_text() == "{}\n"
    assert figures.value("housekeeping_freed_bytes_total") == 0.0


@pytest.mark.parametrize("linked", ["file", "folder", "parent"])
def test_links_are_never_followed(tmp_path: Path, figures: Figures, linked: str) -> None:
    elsewhere = retraining(tmp_path / "elsewhere")
    state = tmp_path / "state"
    if linked == "parent":
        state.mkdir()
        (state / RETRAININGS).symlink_to(elsewhere.parent)
    elif linked == "folder":
        (state / RETRAININGS).mkdir(parents=True)
        (state / RETRAININGS / elsewhere.name).symlink_to(elsewhere)
    else:
        own = retraining(state)
        (own / "retained.parquet").unlink()
        (own / "retained.parquet").symlink_to(elsewhere / "retained.parquet")
        os.utime(own / "retained.parquet", (NOW - 31 * DAY,) * 2, follow_symlinks=False)
    keep_house(state, figures)
    assert {path.name for path in elsewhere.iterdir()} == {*KEPT, *OVER}


def test_without_any_retraining_there_is_nothing_to_do(tmp_path: Path, figures: Figures) -> None:
    keep_house(tmp_path, figures)
    assert figures.value("housekeeping_freed_bytes_total") == 0.0


def test_a_version_is_verified_when_it_is_first_seen_and_not_again(figures: Figures) -> None:
    registry = make_registry()
    verification = RegistryVerification(NAME, registry, figures.metrics, figures.inbox, lambda: 5.0)
    look = FirstSight(registry, verification)
    look()
    look()
    (first,) = figures.inbox.drain()
    assert isinstance(first, RegistryChecked)
    assert set(first.versions) == set(registry.versions())
    add(registry, 9)
    look()
    look()
    (second,) = figures.inbox.drain()
    assert isinstance(second, RegistryChecked)
    assert set(second.versions) == {*first.versions, "3"}
    verification()
    assert len(figures.inbox.drain()) == 1
    look()
    assert figures.inbox.drain() == []
