"""`tocsin response` as a person types it, and that the daemon takes up what it says."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from theatre import PASSED, POISONED, PROMOTION, RETRAINING, ROLLBACK, Theatre

from monitor.cli.main import main
from monitor.response import ANSWERS
from rollback.reload.memory import Behaviour
from rollback.response.desk import Answer, FolderDesk
from rollback.response.policy import PolicySettings
from rollback.train.trainer import Retrained

Run = Callable[..., tuple[int, str, str]]
CONFIG = """
mode: {mode}
kafka: {{bootstrap_servers: [localhost:9092], inference_topic: soc.inference}}
models: {{nids: {{}}}}
registry: {folder}
state_dir: {folder}
"""


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``tocsin response`` on the state folder of the theatre; returns exit code, stdout and stderr."""
    config = tmp_path / "tocsin.yaml"
    config.write_text(CONFIG.format(folder=tmp_path, mode="propose"))

    def call(command: str, *arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["response", command, "--config", str(config), *arguments], {})
        captured = capsys.readouterr()
        code = left.value.code
        return (code if isinstance(code, int) else 0), captured.out, captured.err

    return call


def answers(t: Theatre) -> list[Answer]:
    """What lies on the desk in the state folder."""
    return list(FolderDesk(t.folder / ANSWERS).answers())


def take_up(t: Theatre) -> None:
    """Let the responder have those answers, and go on."""
    desk = FolderDesk(t.folder / ANSWERS)
    for answer in desk.answers():
        t.desk.give(answer)
        desk.taken(answer)
    t.run()


def at_promotion(theatre: Callable[..., Theatre]) -> Theatre:
    """Rolled back and retrained; the promotion waits for approval."""
    t = theatre()
    t.will(PASSED)
    t.responder.consider(POISONED)
    t.run()
    assert t.phase(PROMOTION) == "approval"
    return t


def halted(theatre: Callable[..., Theatre]) -> Theatre:
    """The rollback is halted: the server refuses."""
    t = theatre(Behaviour("refuses"))
    t.responder.consider(POISONED)
    t.run()
    assert t.phase(ROLLBACK) == "halted"
    return t


def test_before_anything_has_happened_that_is_said(run: Run) -> None:
    assert run("list") == (0, "nothing is being done, and nothing waits for a decision\n", "")
    assert run("list", "--json") == (0, "[]\n", "")


def test_what_waits_is_listed_with_what_it_would_do_and_why_it_waits(theatre: Callable[..., Theatre], run: Run) -> None:
    t = theatre(mode="propose")
    t.responder.consider(POISONED)
    code, out, err = run("list")
    key, what, standing = out.splitlines()
    assert (code, err, key) == (0, "", ROLLBACK)
    assert what == "  roll nids back from version 2 to 1"
    assert standing == "  proposed since 1970-01-01T00:16:40+00:00: mode is propose: it waits for approval"


def test_what_is_over_is_listed_only_where_everything_is_asked_for(theatre: Callable[..., Theatre], run: Run) -> None:
    at_promotion(theatre)
    shown = run("list")[1].splitlines()[::3]
    everything = run("list", "--all")[1].splitlines()
    assert (shown, everything[::3]) == ([PROMOTION], [ROLLBACK, RETRAINING, PROMOTION])
    assert everything[1::3] == [
        "  roll nids back from version 2 to 1",
        "  retrain nids's version 2 on sanitised data",
        "  promote nids's version 3 in place of 1",
    ]


def test_the_list_comes_as_json_without_the_incident_s_message(theatre: Callable[..., Theatre], run: Run) -> None:
    t = at_promotion(theatre)
    code, out, err = run("list", "--json", "--all")
    listed = json.loads(out)
    assert (code, err) == (0, "")
    assert [(case["key"], case["kind"], case["phase"]) for case in listed] == [
        (ROLLBACK, "rollback", "done"),
        (RETRAINING, "retraining", "made"),
        (PROMOTION, "promotion", "approval"),
    ]
    assert {(case["incident"], case["model"]) for case in listed} == {("i1", "nids")}
    assert all("message" not in case for case in listed)
    case = t.case(PROMOTION)
    assert case is not None
    assert (listed[2]["expected"], listed[2]["target"], listed[2]["since"]) == ("1", "3", case.since)


def test_an_approval_moves_what_waited_and_says_who_and_why(theatre: Callable[..., Theatre], run: Run) -> None:
    t = theatre(mode="propose")
    t.responder.consider(POISONED)
    code, out, err = run("approve", "i1", "--by", "ann", "--reason", "seen")
    assert (code, err) == (0, "")
    assert out.startswith(f"approve: {ROLLBACK}\n  roll nids back from version 2 to 1\n  proposed since ")
    assert out.endswith("\nThe daemon takes it up at its next turn.\n")
    assert answers(t) == [Answer(ROLLBACK, "approve", "ann", reason="seen")]
    assert t.moves() == []
    take_up(t)
    assert (t.phase(ROLLBACK), t.moves()) == ("done", [("1", "2")])


def test_whoever_runs_it_decides_unless_another_name_is_given(theatre: Callable[..., Theatre], run: Run) -> None:
    t = theatre(mode="propose")
    t.responder.consider(POISONED)
    assert run("decline", ROLLBACK)[0] == 0
    assert answers(t) == [Answer(ROLLBACK, "decline", getpass.getuser())]


def test_what_was_declined_stays_so_and_can_no_longer_be_approved(theatre: Callable[..., Theatre], run: Run) -> None:
    t = theatre(mode="propose")
    t.responder.consider(POISONED)
    assert run("decline", "i1", "--reason", "it is a test")[0] == 0
    take_up(t)
    assert t.phase(ROLLBACK) == "declined"
    assert run("approve", "i1") == (
        1,
        "",
        f"tocsin: {ROLLBACK} is declined: there is nothing to approve about it\n",
    )
    assert answers(t) == []


def test_what_is_halted_is_tried_again_when_somebody_says_so(theatre: Callable[..., Theatre], run: Run) -> None:
    t = halted(theatre)
    assert "  halted since " in run("list")[1]
    assert run("again", "i1", "--by", "ann")[0] == 0
    t.servers.behave("server 0", Behaviour())
    take_up(t)
    assert (t.phase(ROLLBACK), t.servers.serving()) == ("done", {"server 0": "1"})


def test_what_is_halted_is_given_up_by_declining_it(theatre: Callable[..., Theatre], run: Run) -> None:
    t = halted(theatre)
    assert run("decline", "i1")[0] == 0
    take_up(t)
    assert t.phase(ROLLBACK) == "declined"


@pytest.mark.parametrize(
    ("command", "standing"),
    [("approve", "halted"), ("again", "proposed")],
)
def test_an_answer_that_means_nothing_to_the_case_is_refused(
    theatre: Callable[..., Theatre], run: Run, command: str, standing: str
) -> None:
    t = halted(theatre) if standing == "halted" else theatre(mode="propose")
    t.responder.consider(POISONED)
    said = f"tocsin: {ROLLBACK} is {standing}: there is nothing to {command} about it\n"
    assert run(command, "i1") == (1, "", said)
    assert answers(t) == []


@pytest.mark.parametrize("command", ["approve", "decline", "again"])
def test_what_runs_takes_no_answer(theatre: Callable[..., Theatre], run: Run, command: str) -> None:
    t = theatre()
    t.responder.consider(POISONED)
    said = f"tocsin: {ROLLBACK} is running (verify): there is nothing to {command} about it\n"
    assert run(command, ROLLBACK) == (1, "", said)
    assert answers(t) == []


def test_a_beginning_that_fits_several_cases_names_them_all(theatre: Callable[..., Theatre], run: Run) -> None:
    t = at_promotion(theatre)
    code, out, err = run("approve", "i1/")
    assert (code, out) == (1, "")
    assert err == (
        "tocsin: 'i1/' must name one case (tocsin response list shows them); it fits:\n"
        f"  {ROLLBACK}\n  {RETRAINING}\n  {PROMOTION}\n"
    )
    assert answers(t) == []
    assert run("approve", "i1/p")[0] == 0
    assert [answer.key for answer in answers(t)] == [PROMOTION]


def test_a_command_that_is_repeated_does_not_approve_what_came_of_it(theatre: Callable[..., Theatre], run: Run) -> None:
    t = theatre(mode="propose")
    t.will(PASSED)
    t.responder.consider(POISONED)
    assert run("approve", "i1")[0] == 0
    take_up(t)
    assert t.phase(PROMOTION) == "approval"
    code, _, err = run("approve", "i1")
    assert (code, "must name one case" in err, answers(t)) == (1, True, [])


def test_a_whole_key_names_its_case_though_it_begins_another_one_s(theatre: Callable[..., Theatre], run: Run) -> None:
    t = theatre(mode="propose", policy=PolicySettings(retrain=False))
    t.responder.consider(POISONED)
    t.desk.give(Answer(ROLLBACK, "approve", "ann"))
    t.run()
    t.registry.release("2", by="release", reason="refuted")
    t.registry.promote("2", expected="1", known_good=False, by="release", reason="sync")
    t.responder.consider(POISONED)
    assert sorted(t.responder.cases) == [ROLLBACK, f"{ROLLBACK}/2"]
    assert run("approve", ROLLBACK)[2] == f"tocsin: {ROLLBACK} is done: there is nothing to approve about it\n"
    assert run("approve", f"{ROLLBACK}/2")[0] == 0
    assert [answer.key for answer in answers(t)] == [f"{ROLLBACK}/2"]


def test_a_key_that_fits_nothing_says_where_keys_are_shown(theatre: Callable[..., Theatre], run: Run) -> None:
    t = theatre(mode="propose")
    t.responder.consider(POISONED)
    said = "tocsin: 'i7' must name one case (tocsin response list shows them); it fits:\n  none\n"
    assert run("approve", "i7") == (1, "", said)
    assert not (t.folder / ANSWERS).exists()


def test_an_empty_key_names_no_case(theatre: Callable[..., Theatre], run: Run) -> None:
    t = theatre(mode="propose")
    t.responder.consider(POISONED)
    said = "tocsin: '' must name one case (tocsin response list shows them); it fits:\n  none\n"
    assert run("approve", "") == (1, "", said)  # a script's variable was not set
    assert answers(t) == []


def test_a_retraining_that_was_rejected_is_over(theatre: Callable[..., Theatre], run: Run) -> None:
    t = theatre()
    t.will(Retrained("rejected", "3", "holdout accuracy"))
    t.responder.consider(POISONED)
    t.run()
    assert t.phase(RETRAINING) == "rejected"
    assert run("list") == (0, "nothing is being done, and nothing waits for a decision\n", "")
    assert "  rejected since " in run("list", "--all")[1]


def test_in_mode_observe_no_answer_is_taken_though_what_stands_is_listed(
    theatre: Callable[..., Theatre], run: Run, tmp_path: Path
) -> None:
    t = theatre(mode="propose")
    t.responder.consider(POISONED)
    (tmp_path / "tocsin.yaml").write_text(CONFIG.format(folder=tmp_path, mode="observe"))
    said = "tocsin: mode is observe: nothing is done, and no answer is taken up; set mode to propose or act\n"
    assert run("approve", "i1") == (1, "", said)
    assert (answers(t), run("list")[1].splitlines()[0]) == ([], ROLLBACK)


def test_a_user_without_a_name_is_asked_who_decides(
    theatre: Callable[..., Theatre], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 65532")

    monkeypatch.setattr(getpass, "getuser", nameless)  # a container that runs under a number
    t = theatre(mode="propose")
    t.responder.consider(POISONED)
    said = f"tocsin: user {os.getuid()} has no name here: say with --by who does this\n"
    assert run("approve", "i1") == (1, "", said)
    assert run("approve", "i1", "--by", "ann")[0] == 0
    assert answers(t) == [Answer(ROLLBACK, "approve", "ann")]


def test_a_promotion_that_somebody_vouches_for_becomes_last_known_good(
    theatre: Callable[..., Theatre], run: Run
) -> None:
    t = at_promotion(theatre)
    assert run("approve", PROMOTION, "--known-good", "--by", "ann")[0] == 0
    take_up(t)
    assert (t.registry.pointers().serving, t.registry.pointers().last_known_good) == ("3", "3")


def test_to_vouch_for_a_rollback_means_nothing_and_is_refused(theatre: Callable[..., Theatre], run: Run) -> None:
    t = theatre(mode="propose")
    t.responder.consider(POISONED)
    said = f"tocsin: {ROLLBACK} is no promotion: --known-good means nothing to it\n"
    assert run("approve", "i1", "--known-good") == (1, "", said)
    assert answers(t) == []


def test_a_hold_is_shown_until_it_is_ended(theatre: Callable[..., Theatre], run: Run) -> None:
    t = theatre()
    t.responder.consider(POISONED)
    desk = FolderDesk(t.folder / ANSWERS)
    assert run("hold") == (0, "on hold: no step is begun until tocsin response resume\n", "")
    assert desk.held()
    assert run("list")[1].splitlines()[:2] == [
        f"everything is on hold: {t.folder / ANSWERS / 'HOLD'} is there",
        ROLLBACK,
    ]
    assert json.loads(run("list", "--json")[1])[0]["key"] == ROLLBACK
    assert run("resume") == (0, "steps are begun again\n", "")
    assert not desk.held()
    assert run("list")[1].splitlines()[0] == ROLLBACK


def test_an_audit_log_with_a_changed_record_is_not_shown_as_if_it_were_whole(
    theatre: Callable[..., Theatre], run: Run
) -> None:
    t = theatre(mode="propose")
    t.responder.consider(POISONED)
    t.path.write_bytes(t.path.read_bytes().replace(b'"target":"1"', b'"target":"9"'))
    for command in (["list"], ["approve", "i1"]):
        code, out, err = run(*command)
        assert (code, out) == (1, "")
        assert str(t.path) in err
    assert answers(t) == []


def test_a_configuration_that_is_missing_is_said_to_be_so(tmp_path: Path, run: Run) -> None:
    (tmp_path / "tocsin.yaml").unlink()
    code, out, err = run("hold")
    assert (code, out) == (78, "")
    assert "tocsin.yaml" in err
    assert not (tmp_path / ANSWERS).exists()
