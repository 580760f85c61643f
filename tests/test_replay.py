"""`tocsin replay` over files that a poisoned and a good version served."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scenario import NAME, TRIGGER, World, truth, write_lines

from rollback.tables.table import write_table


@pytest.fixture(scope="module")
def story(world: World) -> dict[str, Path]:
    """Quiet traffic of version 1, then version 2 with triggered attacks; the truth about all of it."""
    quiet, attacked = world.draw(4000), world.draw(6000)
    events = world.served("1", quiet) + world.served("2", attacked, triggered=0.03)
    return {
        "events": write_lines(world.root / "events.ndjson", events),
        "vetting": write_lines(world.root / "vetting.ndjson", truth(quiet) + truth(attacked)),
    }


def tocsin(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "monitor", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def replay(world: World, out: Path, *more: str | Path) -> dict[str, Any]:
    done = tocsin("replay", "--registry", world.root / "registry", "--name", NAME, "--out", out, *more)
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return summary


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_backdoor_is_called_poisoning_and_its_trigger_is_named(
    world: World, story: dict[str, Path], tmp_path: Path
) -> None:
    summary = replay(world, tmp_path, "--events", story["events"], "--vetting", story["vetting"])
    assert summary["events"] == 10_000
    assert summary["windows"] == len(lines(tmp_path / "windows.ndjson"))
    assert summary["quarantined"] == {}
    assert (summary["verdict"]["family"], summary["verdict"]["hypothesis"]) == ("poisoning", "backdoor")
    last = lines(tmp_path / "incidents.ndjson")[-1]
    assert last["implicated"]["features"] == dict(TRIGGER.features)
    assert last["action"] == []


def test_the_same_input_gives_the_same_bytes(world: World, story: dict[str, Path], tmp_path: Path) -> None:
    for run in ("a", "b"):
        replay(world, tmp_path / run, "--events", story["events"], "--vetting", story["vetting"], "--seed", "5")
    for output in ("incidents.ndjson", "windows.ndjson", "vetting.ndjson"):
        assert (tmp_path / "a" / output).read_bytes() == (tmp_path / "b" / output).read_bytes()


def test_without_answers_the_verdict_stays_inconclusive(world: World, story: dict[str, Path], tmp_path: Path) -> None:
    summary = replay(world, tmp_path, "--events", story["events"])
    assert summary["verdict"]["family"] == "inconclusive"
    asked = lines(tmp_path / "vetting.ndjson")
    of_rows = [r for r in asked if r["incident"] == "gate:2"]
    assert 0 < len(asked) - len(of_rows) <= 16
    assert 0 < len(of_rows) <= 16
    assert {r["schema"] for r in asked} == {"tocsin.vetting.v1"}


def test_quiet_traffic_raises_nothing(world: World, tmp_path: Path) -> None:
    quiet = world.draw(5000)
    events = write_lines(tmp_path / "quiet.ndjson", world.served("1", quiet))
    summary = replay(world, tmp_path / "out", "--events", events)
    assert summary["incidents"] == 0
    assert summary["verdict"]["family"] == "stable"


def test_labels_alone_tell_flips_from_a_sound_feed_without_any_model_file(world: World, tmp_path: Path) -> None:
    reference, events = world.draw(4000), world.draw(4000)
    columns = dict(reference.table().columns) | {"session": reference.session}
    write_table(tmp_path / "reference.csv", columns)
    where = ("--registry", tmp_path / "bare", "--name", NAME)
    made = tocsin("registry", "add", *where, "--reference", tmp_path / "reference.csv", "--label", "label",
                  "--session", "session")  # fmt: skip
    assert made.returncode == 0, made.stderr
    served = write_lines(tmp_path / "events.ndjson", world.served("1", events))
    vetting = write_lines(tmp_path / "vetting.ndjson", truth(events))
    sound = write_lines(tmp_path / "sound.ndjson", truth(events, origin="feed"))
    lies = [line.replace(b'"label":"attack"', b'"label":"benign"') for line in truth(events, origin="feed")]
    flipped = write_lines(tmp_path / "flipped.ndjson", lies)
    verdicts = []
    for feedback in (sound, flipped):
        out = tmp_path / feedback.stem
        done = tocsin("replay", *where, "--events", served, "--feedback", feedback, "--vetting", vetting, "--out", out)
        assert done.returncode == 0, done.stderr
        verdicts.append(json.loads((out / "summary.json").read_text())["verdict"])
    assert verdicts[0]["family"] == "stable"
    assert (verdicts[1]["family"], verdicts[1]["hypothesis"]) in {
        ("poisoning", "label_flip"),
        ("poisoning", "feedback_compromise"),
    }


def test_each_event_is_in_exactly_one_window_and_garbage_is_counted(world: World, tmp_path: Path) -> None:
    samples = world.draw(2500)
    events = world.served("1", samples)
    mixed = [*events[:1000], b'{"id": "torn', *events[1000:], events[0], b"null"]
    path = write_lines(tmp_path / "mixed.ndjson", mixed)
    summary = replay(world, tmp_path / "out", "--events", path)
    assert summary["events"] == 2500
    assert summary["quarantined"] == {"bad_json": 1, "not_an_object": 1}
    windows = lines(tmp_path / "out" / "windows.ndjson")
    held = [line for w in windows for r in w["offsets"] for line in range(r["first"], r["last"] + 1)]
    assert sorted(held) == [i for i in range(2503) if i not in (1000, 2501, 2502)]


def test_a_changed_byte_in_the_last_known_good_bundle_stops_the_start(world: World, tmp_path: Path) -> None:
    broken = make_copy(world.root / "registry", tmp_path / "registry")
    model = broken / NAME / "1" / "model.onnx"
    content = bytearray(model.read_bytes())
    content[100] ^= 1
    model.write_bytes(bytes(content))
    events = write_lines(tmp_path / "e.ndjson", world.served("1", world.draw(100)))
    done = tocsin("replay", "--registry", broken, "--name", NAME, "--events", events, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "model.onnx: changed since it was signed" in done.stderr


def make_copy(source: Path, target: Path) -> Path:
    import shutil  # noqa: PLC0415 - one test needs it

    shutil.copytree(source, target, symlinks=True)
    return target


def test_an_input_that_lies_where_an_output_goes_is_kept(world: World, story: dict[str, Path], tmp_path: Path) -> None:
    answers = write_lines(tmp_path / "vetting.ndjson", story["vetting"].read_bytes().splitlines())
    before = answers.read_bytes()
    where = ("--registry", world.root / "registry", "--name", NAME, "--out", tmp_path)
    done = tocsin("replay", *where, "--events", story["events"], "--vetting", answers)
    assert done.returncode == 2
    assert "would be overwritten" in done.stderr
    assert answers.read_bytes() == before


def test_old_outputs_stay_when_an_input_is_missing_and_go_with_the_next_replay(world: World, tmp_path: Path) -> None:
    events = write_lines(tmp_path / "e.ndjson", world.served("1", world.draw(300)))
    out = tmp_path / "out"
    replay(world, out, "--events", events)
    (out / "notes.txt").write_text("mine")
    where = ("--registry", world.root / "registry", "--name", NAME, "--out", out)
    done = tocsin("replay", *where, "--events", tmp_path / "gone.ndjson")
    assert (done.returncode, done.stderr) == (1, f"tocsin: {tmp_path / 'gone.ndjson'}: No such file or directory\n")
    assert json.loads((out / "summary.json").read_text())["events"] == 300
    broken = write_lines(tmp_path / "cut.ndjson", [b"{"])
    summary = replay(world, out, "--events", broken)
    assert (summary["events"], summary["quarantined"]) == (0, {"bad_json": 1})
    assert (out / "notes.txt").read_text() == "mine"


def test_repeats_and_conflicts_are_counted(world: World, tmp_path: Path) -> None:
    events = world.served("1", world.draw(300))
    changed = {**json.loads(events[0]), "source": "elsewhere"}
    path = write_lines(tmp_path / "e.ndjson", [*events, events[1], events[2], json.dumps(changed).encode()])
    summary = replay(world, tmp_path / "out", "--events", path)
    assert (summary["events"], summary["repeats"], summary["conflicts"]) == (301, 2, 1)


def test_feedback_cannot_claim_to_be_the_labeller(world: World, story: dict[str, Path], tmp_path: Path) -> None:
    claims = [
        line.replace(b'"origin":"sandbox"', b'"origin":"vetting"')
        for line in story["vetting"].read_bytes().splitlines()
    ]
    feedback = write_lines(tmp_path / "claims.ndjson", claims)
    none = write_lines(tmp_path / "none.ndjson", [])
    inputs = ("--events", story["events"], "--feedback", feedback, "--vetting", none)
    replay(world, tmp_path / "out", *inputs)
    gauges = [w["detectors"]["label_agreement"]["gauges"] for w in lines(tmp_path / "out" / "windows.ndjson")]
    assert any("untrusted_error_rate_f" in g for g in gauges)
    assert not any("trusted_error_rate_f" in g for g in gauges)
