"""The desk in a folder: answers come to the daemon whole, in order, once, whatever else lies there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rollback.response.desk import HOLD, Answer, FolderDesk, House
from rollback.signing.keys import new_signing_key

APPROVED = Answer("i1/rollback/2/1", "approve", "ann", reason="seen")


def written(folder: Path, answer: Answer, at: int) -> Path:
    """The answer's file, as if it had been put down at that second."""
    before = set(folder.glob("*"))
    FolderDesk(folder).give(answer)
    (path,) = set(folder.glob("*")) - before
    os.utime(path, (at, at))
    return path


def test_answers_come_oldest_first_until_they_are_taken(tmp_path: Path) -> None:
    later, sooner = Answer("a", "decline", "bob"), Answer("b", "again", "ann", known_good=True)
    written(tmp_path, later, 200)
    written(tmp_path, sooner, 100)
    desk = FolderDesk(tmp_path)
    assert desk.answers() == [sooner, later]
    desk.taken(sooner)
    desk.taken(sooner)
    assert FolderDesk(tmp_path).answers() == [later]


def test_a_later_answer_about_the_same_case_replaces_the_one_that_was_not_yet_taken(tmp_path: Path) -> None:
    desk = FolderDesk(tmp_path)
    changed_mind = Answer(APPROVED.key, "decline", "ann", reason="it was a test")
    desk.give(APPROVED)
    desk.give(changed_mind)
    assert desk.answers() == [changed_mind]


def test_a_file_that_is_no_answer_is_named_once_and_holds_up_no_other(tmp_path: Path) -> None:
    for number, content in enumerate([b"", b"{}", b"\xff\xfe", b'{"key": "a", "decision": "burn", "by": "x"}']):
        (tmp_path / f"{number}.json").write_bytes(content)
    (tmp_path / "folder.json").mkdir()
    said: list[str] = []
    desk = FolderDesk(tmp_path, said.append)
    desk.give(APPROVED)
    for _ in range(2):
        assert desk.answers() == [APPROVED]
    names = [f"{tmp_path}/{name}.json: holds no answer: " for name in (0, 1, 2, 3, "folder")]
    assert [line[: len(name)] for line, name in zip(sorted(said), names, strict=True)] == names


def test_an_answer_is_read_once_its_unreadable_file_was_written_anew(tmp_path: Path) -> None:
    path = written(tmp_path, APPROVED, 100)
    path.write_bytes(path.read_bytes()[:10])
    os.utime(path, (200, 200))
    desk = FolderDesk(tmp_path)
    assert desk.answers() == []
    desk.give(APPROVED)
    assert desk.answers() == [APPROVED]


def test_an_answer_that_is_still_being_written_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "half.tmp").write_bytes(b'{"key": "i1/ro')
    said: list[str] = []
    assert (FolderDesk(tmp_path, said.append).answers(), said) == ([], [])


def test_an_answer_that_cannot_be_removed_is_taken_once(tmp_path: Path) -> None:
    said: list[str] = []
    desk = FolderDesk(tmp_path, said.append)
    desk.give(APPROVED)
    (path,) = tmp_path.iterdir()
    desk.answers()
    changed = path.stat().st_mtime_ns
    path.unlink()
    path.mkdir()  # not even its owner can unlink a folder
    os.utime(path, ns=(changed, changed))
    desk.taken(APPROVED)
    assert desk.answers() == []
    assert [line.startswith(f"{path}: was taken up, but cannot be removed: ") for line in said] == [True]


def test_a_desk_whose_folder_cannot_be_read_complains_once_and_has_no_answers(tmp_path: Path) -> None:
    (tmp_path / "answers").write_bytes(b"no folder")
    said: list[str] = []
    desk = FolderDesk(tmp_path / "answers", said.append)
    for _ in range(2):
        assert (desk.answers(), desk.held()) == ([], "")
    assert said == [f"{tmp_path / 'answers'}: cannot be read: Not a directory"]


def test_a_hold_lasts_until_it_is_ended_and_both_may_be_said_twice(tmp_path: Path) -> None:
    folder = tmp_path / "answers"
    desk, other = FolderDesk(folder), FolderDesk(folder)
    assert (desk.held(), desk.answers()) == ("", [])
    for _ in range(2):
        other.hold()
        assert desk.held()
    assert ((folder / HOLD).exists(), desk.answers()) == (True, [])
    for _ in range(2):
        other.resume()
        assert not desk.held()


def test_two_people_answer_about_the_same_case_and_both_are_heard(tmp_path: Path) -> None:
    desk = FolderDesk(tmp_path)
    desk.give(APPROVED)
    desk.give(Answer(APPROVED.key, "approve", "bob"))
    assert sorted(answer.by for answer in desk.answers()) == ["ann", "bob"]


def test_where_approvers_are_named_an_answer_counts_only_with_the_signature_of_whom_it_names(tmp_path: Path) -> None:
    ann, bob, eve = (new_signing_key() for _ in range(3))
    said: list[str] = []
    desk = FolderDesk(tmp_path, said.append, House({"ann": ann.public, "bob": bob.public}))
    plain, forged, own = (Answer(f"k{n}", "approve", "ann", given_at=float(n)) for n in range(3))
    desk.give(plain)
    desk.give(forged, bob)
    desk.give(Answer("k3", "approve", "eve"), eve)
    desk.give(own, ann)
    assert desk.answers() == [own]
    assert len(said) == 3
    assert any(f"is signed by key {bob.public.key_id}, which is not that of 'ann'" in why for why in said)
    assert any(f"signed by {eve.public.key_id}, trusted: " in why for why in said)
    assert FolderDesk(tmp_path).answers() == [plain]  # without approvers a signed one is none


def test_the_configuration_and_a_file_of_ones_choice_hold_everything_as_well(tmp_path: Path) -> None:
    file = tmp_path / "stop" / "now"
    desk = FolderDesk(tmp_path / "answers", house=House(hold_file=file))
    assert desk.held() == ""
    file.parent.mkdir()
    file.touch()
    assert desk.held() == f"{file} is there"
    assert FolderDesk(tmp_path / "answers", house=House(held=True)).held() == "the configuration says hold"


def test_only_the_file_that_its_answer_would_be_called_is_an_answer(tmp_path: Path) -> None:
    said: list[str] = []
    desk = FolderDesk(tmp_path, said.append)
    desk.give(APPROVED)
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / "my.json")
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "deep.json").write_bytes(b"[" * 5000)
    (tmp_path / "long.json").write_bytes(b" " * 70_000)
    (tmp_path / "link.json").symlink_to("my.json")
    for _ in range(2):
        assert desk.answers() == []
    assert len(said) == 5
    assert any("is not called as its answer would be" in why for why in said)


def test_an_answer_that_was_replaced_after_it_was_read_is_not_lost(tmp_path: Path) -> None:
    desk = FolderDesk(tmp_path)
    desk.give(APPROVED)
    (read,) = desk.answers()
    later = Answer(APPROVED.key, "decline", "ann")
    desk.give(later)
    desk.taken(read)
    assert desk.answers() == [later]


@pytest.mark.parametrize("by", ["", " ", " ann", "ann\n"])
def test_nobody_answers_without_a_name_or_with_another_spelling_of_one(tmp_path: Path, by: str) -> None:
    desk = FolderDesk(tmp_path)
    desk.give(Answer(APPROVED.key, "approve", by))
    assert desk.answers() == []
