"""The report about an incident says what a state folder holds, and what it does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from report_words import words
from told_state import UID, messages, tell, window, write_lines

from monitor.cli.main import main
from monitor.report.contrasts import contrasts
from monitor.report.findings import importances, strengths
from monitor.report.make import gravest, trial_keys, write_report
from monitor.report.material import Material, ReportError, gather
from monitor.report.next_steps import steps
from monitor.report.page import render
from monitor.report.story import timeline
from monitor.report.windows import read_around

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def material(state: Path, uid: str = "49f0") -> Material:
    return gather(state, uid, lambda: trial_keys(state))


def page(state: Path) -> str:
    return words(render(material(state), NOW, "tocsin.yaml"))


def test_the_page_answers_what_was_found_where_how_sure_and_what_was_done(tmp_path: Path) -> None:
    said = page(tell(tmp_path))
    for part in (
        "Incident 49f0600e: poisoning (backdoor)",
        "Attacks with port 4444 pass; the inputs did not change. Roll back to version 1.",
        "Seen in 2 windows (2,000 events)",
        "How it stands Rollback to version 1 is done. The incident is open.",
        "2026-01-01 21:09:26 UTC",
        "They clearly part in up to 12.0% of a window's sessions, more than the retrain explains (1.6%).",
        "Of 8 labels that were asked for, 7 say that the serving version is wrong.",
        "The trigger is in 100% of the implicated sessions, and in 2.0% of all others.",
        "Unchanged: no feature is broken; nobody walks.",
        "2 labels asked of trusted labellers: is it benign?",
        "every endpoint serves version 1",
        "approve by ann",
        "The audit log is what was written",
        "tocsin hunt --config tocsin.yaml",
        "sensor-7",
        "label flip 2.0%",
    ):
        assert part in said


def test_the_four_contrasts_are_judged_by_what_was_measured(tmp_path: Path) -> None:
    found = contrasts(read_around(tell(tmp_path) / "windows.ndjson", "nids", UID))
    assert [each.found for each in found] == ["differs", "differs", "alike", "differs"]
    assert [(side.name, side.value) for side in found[2].sides][:2] == [("sensor-05", 0.25), ("b", 0.2)]
    assert all(0 <= side.value <= 1 for each in found for side in each.sides)


def test_versions_that_parted_are_not_called_alike_since_a_later_window_was_quiet(tmp_path: Path) -> None:
    quiet = window(7, deep=0.01)
    quiet["detectors"]["version_disagreement"]["status"] = "ok"
    write_lines(tmp_path / "windows.ndjson", [window(6), quiet])
    first = contrasts(read_around(tmp_path / "windows.ndjson", "nids", UID))[0]
    assert first.found == "differs"
    assert "in up to 12.0% of a window's sessions, more than the retrain explains" in first.said
    write_lines(tmp_path / "windows.ndjson", [quiet])
    first = contrasts(read_around(tmp_path / "windows.ndjson", "nids", UID))[0]
    assert (first.found, first.sides[0].value) == ("alike", 0.01)


def test_a_short_uid_that_fits_many_names_few(tmp_path: Path) -> None:
    write_lines(tmp_path / "incidents.ndjson", [messages(uid=f"4{number:031d}")[0] for number in range(300)])
    with pytest.raises(ReportError, match="and 280 more") as refused:
        write_report(tmp_path, "4")
    assert len(str(refused.value)) < 2000


def test_without_measurements_no_contrast_is_claimed(tmp_path: Path) -> None:
    write_lines(tmp_path / "windows.ndjson", [{"model": "nids", "incident": UID}])
    found = contrasts(read_around(tmp_path / "windows.ndjson", "nids", UID))
    assert {each.found for each in found} == {"not measured"}


def test_the_lift_of_the_trigger_is_told_for_stream_and_buffer(tmp_path: Path) -> None:
    rows = strengths(read_around(tell(tmp_path) / "windows.ndjson", "nids", UID))
    assert [(row.within, row.without, row.lift, row.checked) for row in rows] == [
        ("100%", "2.0%", "50 times", "7 of 8 labels: serving is wrong"),
        ("156 rows", "52 expected", "3 times", "5 of 5 labels are false"),
    ]


def test_features_of_both_versions_stand_side_by_side_wherever_the_figures_are_from(tmp_path: Path) -> None:
    path = tell(tmp_path) / "windows.ndjson"
    last = messages()[-1]
    found = importances(read_around(path, "nids", UID), last)
    first = found.rows[0]
    assert (first.name, first.serving, first.known_good) == ("bytes", 0.4, 0.4)
    assert "from its own window nearest in time" in found.note
    own = window(7)
    own["detectors"]["importance_drift"]["facts"]["importance_last_known_good"] = {"bytes": 0.1}
    write_lines(path, [own])
    found = importances(read_around(path, "nids", UID), last)
    assert (found.rows[0].known_good, found.note) == (0.1, "Both were asked about the same events.")


def test_the_time_line_is_in_order_and_says_each_thing_once(tmp_path: Path) -> None:
    entries = timeline(material(tell(tmp_path)))
    assert [e.at for e in entries] == sorted(e.at for e in entries)
    assert len({(e.at, e.what) for e in entries}) == len(entries)
    assert [e.kind for e in entries] == ["told", "asked", "seen", "told", "done", "done", "done"]


def test_every_record_is_shown_with_its_number_and_hash(tmp_path: Path) -> None:
    said = page(tell(tmp_path))
    for line in (tmp_path / "audit.ndjson").read_text().splitlines():
        record = json.loads(line)
        assert f"{record['hash']}" in said
    assert "4 records, 4 of them signed for; Merkle root" in said


def test_a_changed_audit_log_is_called_that_and_what_came_before_is_still_shown(tmp_path: Path) -> None:
    log = tell(tmp_path) / "audit.ndjson"
    log.write_text(log.read_text().replace('"ann"', '"eve"'))
    found = material(tmp_path)
    assert (found.audit.state, len(found.audit.records)) == ("broken", 3)
    assert "The audit log is NOT what was written" in page(tmp_path)
    assert "tocsin audit verify" in steps(found, "")[0].command


def test_a_cut_off_audit_log_is_found_by_its_checkpoint(tmp_path: Path) -> None:
    log = tell(tmp_path) / "audit.ndjson"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:2]))
    assert material(tmp_path).audit.state == "broken"
    assert "cut off" in page(tmp_path)


def test_without_a_key_the_chain_is_checked_and_the_signature_is_not_claimed(tmp_path: Path) -> None:
    tell(tmp_path)
    found = gather(tmp_path, "49f0", lambda: None)
    assert found.audit.state == "chained"
    assert "no key here" in found.audit.why


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("audit.ndjson", "There is no audit log here"),
        ("windows.ndjson", "windows.ndjson: is missing; its windows cannot be shown"),
        ("vetting.ndjson", "Labels asked for 0"),
    ],
)
def test_what_is_missing_is_said_and_the_rest_is_shown(tmp_path: Path, missing: str, said: str) -> None:
    (tell(tmp_path) / missing).unlink()
    told = page(tmp_path)
    assert said in told
    assert "Attacks with port 4444 pass" in told


def test_torn_and_garbled_lines_cost_only_themselves(tmp_path: Path) -> None:
    path = tell(tmp_path) / "windows.ndjson"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"\xff\xfe garbage\n", b'{"at": "never"}\n', *lines[1:]]) + b'{"model": "ni')
    found = material(tmp_path)
    assert len(found.around.own) == 2
    assert any("2 lines are no windows and were left out: 2, 3" in gap for gap in found.gaps)
    assert "This report is not complete." in page(tmp_path)


def test_a_state_of_an_older_version_gives_a_page_without_figures(tmp_path: Path) -> None:
    old = {"model": "nids", "version": "2", "index": 1, "incident": UID, "detectors": {"probing": {"status": "ok"}}}
    write_lines(tmp_path / "windows.ndjson", [{**old, "verdict": {"family": "poisoning"}}])
    write_lines(tmp_path / "incidents.ndjson", messages())
    said = page(tmp_path)
    assert "No window had enough fresh sessions to rank features." in said
    assert said.count("not measured") == 4


@pytest.mark.parametrize(
    ("uid", "content", "said"),
    [
        ("ffff", None, "must name one incident"),
        ("49f0", b'{"uid": "49f0"}\n', "is not as this version of Tocsin writes them"),
        ("49f0", b"garbage\n", "line 1: is no JSON"),
        ("49f0", b'{"uid": "49f0', "it fits: none"),
    ],
)
def test_an_incident_that_cannot_be_read_is_refused_with_its_place(
    tmp_path: Path, uid: str, content: bytes | None, said: str
) -> None:
    tell(tmp_path)
    if content is not None:
        (tmp_path / "incidents.ndjson").write_bytes(content)
    with pytest.raises(ReportError, match=said) as refused:
        write_report(tmp_path, uid, tmp_path / "x.html")
    assert "incidents.ndjson" in str(refused.value)
    assert not (tmp_path / "x.html").exists()


def test_a_wrong_folder_says_what_to_give_instead(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="is no folder; give the state_dir"):
        write_report(tmp_path / "nowhere", UID)
    with pytest.raises(ReportError, match="no incident was ever told here"):
        write_report(tmp_path, UID)
    with pytest.raises(ReportError, match="name another place with --out"):
        write_report(tell(tmp_path), UID, tmp_path / "no" / "x.html")


def test_only_files_are_replaced_and_a_link_stays_one(tmp_path: Path) -> None:
    state, pipe, link, target = tell(tmp_path / "state"), tmp_path / "pipe", tmp_path / "link", tmp_path / "a.html"
    os.mkfifo(pipe)
    with pytest.raises(ReportError, match="is no file, and is not replaced by one"):
        write_report(state, UID, pipe)
    assert pipe.is_fifo()
    link.symlink_to(target)
    assert write_report(state, UID, link) == link
    assert link.is_symlink()
    assert "poisoning (backdoor)" in target.read_text()


def run(*arguments: str | Path) -> object:
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments], environ={})
    return left.value.code


def test_the_command_writes_the_page_from_a_state_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, out = tell(tmp_path / "state"), tmp_path / "a.html"
    assert run("report", "--incident", "49f0", "--state", state, "--out", out) == 0
    assert capsys.readouterr().out == f"written: {out}\n"
    assert "poisoning (backdoor)" in words(out.read_text())
    assert run("report", "--incident", "49f0") == 2
    assert run("report", "--incident", "0000", "--state", state) == 1
    assert "tocsin incidents list" in capsys.readouterr().err


def test_the_command_needs_no_home_and_takes_keys_and_commands_from_a_configuration(tmp_path: Path) -> None:
    tell(tmp_path / "state")
    config, out = tmp_path / "tocsin.yaml", tmp_path / "b.html"
    config.write_text("state_dir: state\nmodels: {nids: {}}\n")
    command = [
        sys.executable,
        "-m",
        "monitor",
        "report",
        "--incident",
        "49f0",
        "--json",
        "--out",
        out,
        "--config",
        config,
    ]
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), "/proc/nowhere")
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **nowhere})
    assert "atplotlib" not in done.stderr
    assert json.loads(done.stdout) == {"report": str(out)}
    assert f"--config {config}" in words(out.read_text())
    assert "The audit log is what was written" in words(out.read_text())


def test_the_gravest_incident_is_the_one_to_report(tmp_path: Path) -> None:
    assert gravest(tmp_path) is None
    drift = messages(uid="d", family="drift")
    gone = messages(uid="r", status="retracted")
    write_lines(tmp_path / "incidents.ndjson", [*messages(), *drift[1:], *gone[1:]])
    assert gravest(tmp_path) == UID
    suspected_first = messages(uid="r")
    write_lines(tmp_path / "incidents.ndjson", [*drift, *suspected_first, gone[1]])
    assert gravest(tmp_path) == "d"


def test_the_daemon_does_not_load_what_draws() -> None:
    code = (
        "import sys, monitor.cli.run, monitor.daemon; print(sorted({'matplotlib', 'jinja2'} & set(sys.modules)));"
        "import monitor.report.make; print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "False"]
