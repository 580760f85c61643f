"""What every registry promises, and what the folder promises besides."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import multiprocessing
import pkgutil
import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import rollback.registry
from rollback.bundle import IntegrityError
from rollback.manifest import Draft, FeatureSpec
from rollback.registry.file import FileRegistry
from rollback.registry.memory import MemoryRegistry
from rollback.registry.registry import Buffer, Pointers, Registry, RegistryError
from rollback.signing.keys import Keys, new_signing_key
from rollback.signing.trust_list import keys_from_files

KEYS = Keys.of(new_signing_key())
MAKERS: dict[type, Callable[[Path], Registry]] = {
    FileRegistry: lambda folder: FileRegistry(folder, "nids", KEYS, lambda: 1700000000.0),
    MemoryRegistry: lambda _: MemoryRegistry("nids", KEYS, lambda: 1700000000.0),
}


def implementations() -> set[type]:
    """Every class under `rollback.registry` that has all methods of the seam."""
    methods = {name for name in vars(Registry) if not name.startswith("_")}
    modules = [
        importlib.import_module(m.name) for m in pkgutil.iter_modules(rollback.registry.__path__, "rollback.registry.")
    ]
    classes = {c for m in modules for _, c in inspect.getmembers(m, inspect.isclass) if c is not Registry}
    return {c for c in classes if methods <= set(dir(c))}


def test_every_implementation_is_under_contract() -> None:
    assert implementations() == set(MAKERS)


@pytest.fixture(params=sorted(MAKERS, key=lambda c: c.__name__))
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    return MAKERS[request.param](tmp_path / "registry")


def draft(parent: str | None = None) -> Draft:
    return Draft(classes=("benign", "attack"), features=(FeatureSpec("bytes"),), parent=parent)


def add(registry: Registry, version: str | None = None, content: bytes = b"x") -> str:
    bundle = registry.add(draft(), {"weights.safetensors": content}, by="ann", reason="test", version=version)
    return bundle.manifest.version


def test_an_empty_registry_has_nothing(registry: Registry) -> None:
    assert registry.versions() == []
    assert registry.pointers() == Pointers(None, None, assumed=False)
    assert registry.history() == []


def test_the_first_version_serves_and_is_assumed_to_be_good(registry: Registry) -> None:
    assert add(registry) == "1"
    assert registry.pointers() == Pointers("1", "1", assumed=True)
    assert [(m.action, m.version) for m in registry.history()] == [("add", "1"), ("assume", "1")]


def test_later_versions_wait_until_they_are_promoted(registry: Registry) -> None:
    assert [add(registry), add(registry, "hotfix"), add(registry)] == ["1", "hotfix", "2"]
    assert registry.versions() == ["1", "hotfix", "2"]
    assert registry.pointers().serving == "1"
    moved = registry.promote("2", expected="1", known_good=False, by="ann", reason="better")
    assert moved == Pointers("2", "1", assumed=True)
    assert registry.history()[-1].previous == "1"


def test_only_a_person_makes_a_version_known_good(registry: Registry) -> None:
    add(registry)
    add(registry)
    assert registry.promote("1", expected="1", known_good=True, by="ann", reason="vetted") == Pointers("1", "1")
    assert registry.promote("2", expected="1", known_good=True, by="ann", reason="gate") == Pointers("2", "2")
    assert [m.action for m in registry.history()][-3:] == ["known-good", "promote", "known-good"]


def test_promote_is_compare_and_set_and_may_be_repeated(registry: Registry) -> None:
    for _ in range(3):
        add(registry)
    registry.promote("2", expected="1", known_good=False, by="ann", reason="")
    count = len(registry.history())
    assert registry.promote("2", expected="1", known_good=False, by="ann", reason="").serving == "2"
    assert len(registry.history()) == count
    with pytest.raises(RegistryError, match="serving is version 2, not 1 as expected: it was moved meanwhile"):
        registry.promote("3", expected="1", known_good=False, by="ann", reason="")
    assert registry.pointers().serving == "2"


def test_rollback_serves_the_last_known_good_version(registry: Registry) -> None:
    add(registry)
    add(registry)
    with pytest.raises(RegistryError, match="nothing to roll back to"):
        registry.rollback(expected="1", by="ann", reason="")
    registry.promote("2", expected="1", known_good=False, by="ann", reason="")
    with pytest.raises(RegistryError, match="moved meanwhile"):
        registry.rollback(expected="3", by="ann", reason="")
    assert registry.rollback(expected="2", by="ann", reason="poisoned") == Pointers("1", "1", assumed=True)
    last = registry.history()[-1]
    assert (last.action, last.version, last.previous, last.by, last.reason) == ("rollback", "1", "2", "ann", "poisoned")


def test_what_was_rolled_back_from_stays_in_quarantine_until_somebody_releases_it_with_a_reason(
    registry: Registry,
) -> None:
    add(registry)
    add(registry)
    registry.promote("2", expected="1", known_good=False, by="ann", reason="")
    registry.rollback(expected="2", by="tocsin", reason="incident i1")
    assert [(m.action, m.version) for m in registry.history()][-2:] == [("quarantine", "2"), ("rollback", "1")]
    with pytest.raises(RegistryError, match=r"version 2 is in quarantine since .* \(tocsin: incident i1\)"):
        registry.promote("2", expected="1", known_good=True, by="ann", reason="")
    assert registry.pointers().serving == "1"
    with pytest.raises(RegistryError, match="needs a reason"):
        registry.release("2", by="ann", reason=" ")
    registry.release("2", by="ann", reason="refuted")
    with pytest.raises(RegistryError, match="is not in quarantine"):
        registry.release("2", by="ann", reason="again")
    assert registry.promote("2", expected="1", known_good=False, by="ann", reason="").serving == "2"


def test_a_rollback_to_a_named_version_may_be_repeated_and_never_goes_to_one_in_quarantine(registry: Registry) -> None:
    for _ in range(3):
        add(registry)
    registry.promote("3", expected="1", known_good=False, by="ann", reason="")
    for _ in range(2):
        moved = registry.rollback(expected="3", target="1", by="tocsin", reason="poisoned")
        assert moved.serving == "1"
    assert [m.action for m in registry.history()].count("rollback") == 1
    registry.quarantine("2", by="ann", reason="doubtful")
    registry.quarantine("2", by="ann", reason="doubtful")
    assert [m.action for m in registry.history()].count("quarantine") == 2
    with pytest.raises(RegistryError, match="version 2 is in quarantine"):
        registry.rollback(expected="1", target="2", by="tocsin", reason="")
    with pytest.raises(RegistryError, match="version 1 serves and cannot be quarantined"):
        registry.quarantine("1", by="ann", reason="")


def test_who_was_promoted_meanwhile_by_hand_still_leaves_the_poisoned_version_in_quarantine(registry: Registry) -> None:
    add(registry)
    add(registry)
    registry.promote("2", expected="1", known_good=False, by="ann", reason="")
    registry.promote("1", expected="2", known_good=False, by="ann", reason="by hand")
    registry.rollback(expected="2", target="1", by="tocsin", reason="poisoned")
    assert [(m.action, m.version) for m in registry.history()][-1] == ("quarantine", "2")


def test_unknown_and_existing_versions_are_refused(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="model 'nids' has no version '1'; there are: none"):
        registry.load("1")
    add(registry)
    with pytest.raises(RegistryError, match="a version is never changed, add another"):
        add(registry, "1")
    with pytest.raises(RegistryError, match="has no version '9'; there are: 1"):
        registry.add(draft(parent="9"), {}, by="ann", reason="")
    with pytest.raises(RegistryError, match=r"has no version '\.\./1'"):
        registry.load("../1")


@pytest.mark.parametrize(
    "name", ["", ".keys", "../1", "a/b", "a b", "serving", "last-known-good", "history.ndjson", "x" * 101]
)
def test_names_that_are_no_safe_file_names_are_refused(registry: Registry, name: str) -> None:
    with pytest.raises(RegistryError, match="version"):
        add(registry, name)
    assert registry.versions() == []


def test_without_a_signing_key_nothing_is_added(tmp_path: Path) -> None:
    reader = FileRegistry(tmp_path, "nids", Keys(KEYS.trusted), lambda: 0.0)
    with pytest.raises(RegistryError, match="no signing key is configured"):
        add(reader)


def test_the_training_buffer_is_kept_by_its_digest(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("bytes,label\n1,benign\n")
    made = registry.add(draft(), {}, by="ann", reason="", buffer=Buffer(path, "label"))
    assert made.manifest.lineage["buffer"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    kept = registry.buffer("1")
    assert kept is not None
    assert kept.path.read_text() == "bytes,label\n1,benign\n"
    assert kept.label == "label"
    kept.path.write_text("bytes,label\n1,attack\n")
    with pytest.raises(IntegrityError, match="changed since it was added"):
        registry.verify("1")
    add(registry)
    assert registry.buffer("2") is None


def folder_registry(tmp_path: Path, count: int = 2) -> FileRegistry:
    registry = FileRegistry(tmp_path, "nids", KEYS, lambda: 1700000000.0)
    for _ in range(count):
        add(registry)
    return registry


def test_a_removed_version_is_gone_and_its_name_is_never_given_again(registry: Registry) -> None:
    for _ in range(3):
        add(registry)
    registry.remove("3", by="ann", reason="old")
    assert registry.versions() == ["1", "2"]
    assert [(m.action, m.version, m.by, m.reason) for m in registry.history()][-1] == ("remove", "3", "ann", "old")
    with pytest.raises(RegistryError, match="has no version '3'; there are: 1, 2"):
        registry.load("3")
    with pytest.raises(RegistryError, match="version '3' was there and was removed; its name is not given again"):
        add(registry, "3")
    assert add(registry) == "4"


def test_what_serves_or_is_known_good_cannot_be_removed(registry: Registry) -> None:
    for _ in range(2):
        add(registry)
    registry.promote("2", expected="1", known_good=False, by="ann", reason="")
    for version, why in (("2", "serves"), ("1", "is the last known good one"), ("9", "has no version '9'")):
        with pytest.raises(RegistryError, match=why):
            registry.remove(version, by="ann", reason="")
    assert registry.versions() == ["1", "2"]


def test_a_training_buffer_goes_with_the_last_version_that_has_it(tmp_path: Path) -> None:
    registry = FileRegistry(tmp_path / "registry", "nids", KEYS, lambda: 0.0)
    table = tmp_path / "rows.csv"
    table.write_text("bytes,label\n1,benign\n", encoding="utf-8")
    add(registry)
    for _ in range(2):
        registry.add(draft(), {"weights.safetensors": b"x"}, by="ann", reason="", buffer=Buffer(table, "label"))
    kept = tmp_path / "registry" / "nids" / "buffers"
    registry.remove("2", by="ann", reason="")
    assert len(list(kept.iterdir())) == 1
    assert registry.buffer("3") is not None
    registry.remove("3", by="ann", reason="")
    assert list(kept.iterdir()) == []


def test_a_removal_that_a_crash_cut_off_is_finished_by_the_next_writer(tmp_path: Path) -> None:
    registry = FileRegistry(tmp_path, "nids", KEYS, lambda: 0.0)
    add(registry)
    add(registry)
    (tmp_path / "nids" / "2").rename(tmp_path / "nids" / ".removed.0badcafe")
    assert registry.versions() == ["1"]
    add(registry, "next")
    assert not (tmp_path / "nids" / ".removed.0badcafe").exists()


def test_what_another_process_vouches_for_is_seen(tmp_path: Path) -> None:
    watcher, operator = folder_registry(tmp_path), FileRegistry(tmp_path, "nids", KEYS, lambda: 1700000001.0)
    assert watcher.pointers() == Pointers("1", "1", assumed=True)
    operator.promote("1", expected="1", known_good=True, by="ann", reason="vetted")
    assert watcher.pointers() == Pointers("1", "1", assumed=False)


def test_a_changed_version_is_never_promoted(tmp_path: Path) -> None:
    registry = folder_registry(tmp_path)
    (tmp_path / "nids" / "2" / "weights.safetensors").write_bytes(b"y")
    with pytest.raises(IntegrityError, match=r"nids/2/weights.safetensors: changed since it was signed"):
        registry.promote("2", expected="1", known_good=True, by="ann", reason="")
    assert registry.pointers() == Pointers("1", "1", assumed=True)


def test_a_changed_last_known_good_version_stops_the_rollback(tmp_path: Path) -> None:
    registry = folder_registry(tmp_path)
    registry.promote("2", expected="1", known_good=False, by="ann", reason="")
    (tmp_path / "nids" / "1" / "weights.safetensors").write_bytes(b"y")
    with pytest.raises(IntegrityError):
        registry.rollback(expected="2", by="ann", reason="")
    assert registry.pointers().serving == "2"


def test_a_signed_bundle_in_another_version_s_place_is_found(tmp_path: Path) -> None:
    registry = folder_registry(tmp_path)
    (tmp_path / "nids" / "2").rename(tmp_path / "moved")
    (tmp_path / "nids" / "1").rename(tmp_path / "nids" / "2")
    with pytest.raises(IntegrityError, match="belongs to model 'nids' version '1'; the folder was swapped"):
        registry.load("2")


def test_a_pointer_that_leads_out_is_refused(tmp_path: Path) -> None:
    registry = folder_registry(tmp_path)
    (tmp_path / "nids" / "serving").unlink()
    (tmp_path / "nids" / "serving").symlink_to("../../elsewhere")
    with pytest.raises(RegistryError, match=r"points to '\.\./\.\./elsewhere', which is no version"):
        registry.pointers()


def test_what_a_crashed_writer_left_is_no_version_and_is_cleared(tmp_path: Path) -> None:
    registry = folder_registry(tmp_path)
    (tmp_path / "nids" / ".3.abcd").mkdir()
    (tmp_path / "nids" / ".3.abcd" / "weights.safetensors").write_bytes(b"half")
    with (tmp_path / "nids" / "history.ndjson").open("ab") as history:
        history.write(b'{"at":17')
    assert registry.versions() == ["1", "2"]
    assert len(registry.history()) == 3
    assert add(registry) == "3"
    assert not (tmp_path / "nids" / ".3.abcd").exists()
    assert [m.version for m in registry.history()] == ["1", "1", "2", "3"]


def test_a_crash_before_the_first_pointer_is_made_good(tmp_path: Path) -> None:
    registry = folder_registry(tmp_path, 1)
    (tmp_path / "nids" / "serving").unlink()
    (tmp_path / "nids" / "last-known-good").unlink()
    add(registry)
    assert registry.pointers() == Pointers("1", "1", assumed=True)


def test_pointers_are_relative_symbolic_links(tmp_path: Path) -> None:
    folder_registry(tmp_path)
    assert str((tmp_path / "nids" / "serving").readlink()) == "1"


def test_of_many_threads_exactly_one_moves_the_pointer(registry: Registry) -> None:
    for _ in range(5):
        add(registry)

    def attempt(version: str) -> bool:
        try:
            registry.promote(version, expected="1", known_good=False, by=version, reason="race")
        except RegistryError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        won = [v for v, ok in zip("2345", pool.map(attempt, "2345"), strict=True) if ok]
    assert [registry.pointers().serving] == won
    assert [m.version for m in registry.history() if m.action == "promote"] == won


def promote_once(folder: Path, keys: tuple[Path, Path], version: str) -> int:
    registry = FileRegistry(folder, "nids", keys_from_files([keys[0]], keys[1]), lambda: 0.0)
    try:
        registry.promote(version, expected="1", known_good=False, by=version, reason="race")
    except RegistryError:
        return 0
    return 1


def test_of_many_processes_exactly_one_moves_the_pointer(tmp_path: Path) -> None:
    assert KEYS.signing is not None
    keys = (tmp_path / "public.pem", tmp_path / "private.pem")
    keys[0].write_bytes(KEYS.signing.public.pem())
    keys[1].write_bytes(KEYS.signing.pem())
    keys[1].chmod(0o600)
    registry = folder_registry(tmp_path / "registry", 4)
    with multiprocessing.get_context("fork").Pool(3) as pool:
        won = pool.starmap(promote_once, [(tmp_path / "registry", keys, v) for v in "234"])
    assert sum(won) == 1
    assert registry.pointers().serving == "234"[won.index(1)]


def _promote_without_room(folder: Path, answers: Any) -> None:
    """No file may grow: what a full disk does, without one."""
    history = folder / "nids" / "history.ndjson"
    resource.setrlimit(resource.RLIMIT_FSIZE, (history.stat().st_size, resource.RLIM_INFINITY))
    registry = FileRegistry(folder, "nids", KEYS, lambda: 1.7e9)
    for ask in (
        lambda: registry.promote("2", expected="1", known_good=True, by="ann", reason=""),
        lambda: registry.quarantine("2", by="ann", reason=""),
        lambda: add(registry),
    ):
        try:
            ask()
        except RegistryError as error:
            answers.put(str(error))
        else:
            answers.put("no error")


def test_a_full_disk_moves_no_pointer_and_adds_no_version(tmp_path: Path) -> None:
    registry = FileRegistry(tmp_path, "nids", KEYS, lambda: 1.7e9)
    add(registry)
    add(registry)
    before = registry.history()
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    process = context.Process(target=_promote_without_room, args=(tmp_path, answers))
    process.start()
    said = [answers.get(timeout=60) for _ in range(3)]
    process.join()
    assert all("File too large" in each for each in said), said
    assert (registry.pointers(), registry.versions()) == (Pointers("1", "1", assumed=True), ["1", "2"])
    assert registry.history() == before
    for version in ("1", "2"):
        registry.verify(version)
    assert registry.promote("2", expected="1", known_good=False, by="ann", reason="").serving == "2"
