"""`tocsin retrain` as anybody calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from small_registry import NAME, Small, make_small

from monitor.cli.main import main
from monitor.cli.retrained import learned, outcome
from monitor.messages import ImplicatedItem, Incident, WindowItem
from monitor.retraining import hint
from rollback.gates.check import at_most
from rollback.retraining.out import Gate
from rollback.sanitise.case import Hint
from rollback.sanitise.rows import Slice
from rollback.sanitise.slice_judge import describe
from rollback.tables.table import read_table

pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")
pytest.importorskip("pyarrow", reason="the outputs are Parquet: pip install 'tocsin[data]'")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make_small(tmp_path_factory.mktemp("command"))


def options(small: Small, out: Path, *more: object) -> list[str]:
    columns = ["--label", "label", "--source", "source", "--session", "session", "--device", "cpu"]
    fixed = ["retrain", "--registry", small.root / "registry", "--name", NAME, "--buffer", small.buffer, "--out", out]
    return [str(part) for part in [*fixed, *columns, *more]]


def run(arguments: list[str]) -> int | str | None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments, {})
    return stopped.value.code


def test_the_command_says_the_candidate_and_says_it_again(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(options(small, tmp_path / "out", "--json"))
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert {0: "passed", 1: "rejected", 3: "vetting"}[code] == told["result"]  # type: ignore[index]  # a number
    gate = json.loads((tmp_path / "out" / "gate.json").read_bytes())
    assert (gate["result"], gate["passed"], gate["checks"]) == (told["result"], told["passed"], told["checks"])
    small.registry.verify(told["candidate"])
    assert small.registry.pointers().serving == "1"
    kept, out = (len(read_table(tmp_path / "out" / f"{name}.parquet")) for name in ("retained", "removed"))
    assert f"{kept:,} of {kept + out:,} new ones; {out:,} were left out: {tmp_path / 'out'}/removed.parquet" in said.err

    versions = small.registry.versions()
    assert run(options(small, tmp_path / "out")) == code
    again = capsys.readouterr()
    assert (again.out, "(as found before)" in again.err) == (told["candidate"] + "\n", True)
    assert small.registry.versions() == versions

    assert run(options(small, tmp_path / "out", "--seed", 5)) == 2
    assert "is the folder of another request" in capsys.readouterr().err
    assert small.registry.versions() == versions


def test_anew_keeps_the_results_of_another_request_beside_its_own(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code = run(options(small, out, "--seed", 1, "--json"))
    first, files = json.loads(capsys.readouterr().out), {path.name for path in out.iterdir() if path.is_file()}
    assert run(options(small, out, "--seed", 2, "--anew", "--json")) in {0, 1, 3}
    told = capsys.readouterr()
    second = json.loads(told.out)
    aside = out / f"candidate-{first['candidate']}"
    assert (second["candidate"] != first["candidate"], str(aside) in told.err) == (True, True)
    assert {path.name for path in aside.iterdir()} == files - {".lock"}
    assert json.loads((aside / "candidate.json").read_bytes()) == {"version": first["candidate"]}
    assert json.loads((out / "candidate.json").read_bytes()) == {"version": second["candidate"]}
    assert code in {0, 1, 3}
    assert run(options(small, out, "--seed", 2, "--anew")) in {0, 1, 3}
    assert "(as found before)" in capsys.readouterr().err


def test_an_incident_of_another_model_is_a_usage_error(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    incident = {
        "uid": "u", "activity": "create", "status": "confirmed", "model": "other", "version": "2",
        "last_known_good": "1", "opened_at": 0, "at": 0, "window": {"index": 0, "first_id": "a", "last_id": "b"},
        "family": "poisoning", "hypothesis": None, "confidence": 1.0, "family_confidence": 1.0, "severity": 1,
        "summary": "",
    }  # fmt: skip
    path = tmp_path / "incidents.ndjson"
    path.write_text("{}\n" + json.dumps(incident) + "\n")
    assert run(options(small, tmp_path / "out", "--incident", path)) == 2
    assert "is about model 'other'" in capsys.readouterr().err


def test_all_that_an_incident_implicates_reaches_the_hint() -> None:
    named = ImplicatedItem({"ttl": 64.0}, ["s1"], ["feed"], ["benign"], ["e1", "e2"])
    incident = Incident(
        uid="u", activity="create", status="confirmed", model=NAME, version="2", last_known_good="1", opened_at=0.0,
        at=0.0, window=WindowItem(0, "a", "b"), family="poisoning", hypothesis=None, confidence=1.0,
        family_confidence=1.0, severity=1, summary="", implicated=named,
    )  # fmt: skip
    assert hint(incident) == Hint({"ttl": 64.0}, ("s1",), "benign", ("feed",), ("e1", "e2"))


@pytest.mark.parametrize("content", [b"", b"no json", b"{}", b"\xff\xfe"])
def test_what_is_no_incident_is_refused(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = tmp_path / "incident.json"
    path.write_bytes(content)
    assert run(options(small, tmp_path / "out", "--incident", path)) == 1
    assert "is no tocsin.incident.v1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"),
    [(option, "cannot be read") for option in ("--vetting", "--holdout", "--incident", "--live")],
)
def test_a_file_that_is_not_there_is_named(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, message: str
) -> None:
    assert run(options(small, tmp_path / "out", option, tmp_path / "none.ndjson")) == 1
    said = capsys.readouterr().err
    assert "none.ndjson" in said
    assert message in said or "No such file" in said


def test_an_unknown_recipe_names_those_that_there_are(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(options(small, tmp_path / "out", "--recipe", "alchemy")) == 1
    assert "no recipe 'alchemy'; there are: boosting, ensemble, exec, " in capsys.readouterr().err


def test_a_recipe_file_of_another_ending_is_refused_by_its_ending(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.txt"
    recipe.write_text("recipe: mlp\n")
    assert run(options(small, tmp_path / "out", "--recipe", recipe)) == 1
    assert f"{recipe}: the name of a recipe file ends in .json, .yaml, .yml" in capsys.readouterr().err


def test_a_model_that_is_not_there_is_refused_before_anything_is_made(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = options(small, tmp_path / "out", "--name", "nidss")
    assert run(wrong) == 1
    assert f"nidss: there is no such model; there are: {NAME}" in capsys.readouterr().err
    assert run([*wrong, "--registry", str(tmp_path / "nowhere")]) == 1
    assert "tocsin train or tocsin registry add makes one" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


def test_a_file_in_the_place_of_the_folder_is_named(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("mine")
    assert run(options(small, tmp_path / "out")) == 1
    assert f"{tmp_path / 'out'}: is a file; name a folder" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "mine"


def test_slices_that_went_for_good_are_named_and_so_is_what_would_let_a_passed_candidate_learn_more(
    small: Small, tmp_path: Path
) -> None:
    pieces = [Slice(label, "s1", {"ttl": 64.0}, 9.0, 40, swap) for label, swap in
              (("benign", 0.9), ("benign", 0.2), ("attack", 0.9))]  # fmt: skip
    told = {
        "base": {"rows": 1500},
        "benign": {"name": "benign", "named": True},
        "sanitising": {"new": 400, "removed": 80, "unlabelled": 3, "slices": msgspec.to_builtins(pieces)},
    }
    version = small.registry.load("1")
    manifest = msgspec.structs.replace(version.manifest, lineage={"retrain": told}, gate={"result": "passed"})
    (tmp_path / "vetting.ndjson").write_text('{}\n{"optional": false}\n{"optional": true}\n')
    assert [*learned(replace(version, manifest=manifest), tmp_path)] == [
        f"slice_1 was taken out: {describe(pieces[0])}",
        (
            "trained on 1,500 rows of the trusted base and 320 of 400 new ones; 80 were left out, and 3 without a "
            f"label: {tmp_path}/removed.parquet says why"
        ),
        f"2 rows in {tmp_path}/vetting.ndjson may be of a new family, which answers (--vetting) have it learn",
        "1 of the rows that went one by one are asked about too, for what they teach: nothing waits",
    ]


def test_a_candidate_does_not_wait_for_labels_that_nothing_depends_on(small: Small, tmp_path: Path) -> None:
    holds = at_most("removed_values.1", 0.4, 0.1, 0.01, failing="holds")
    (tmp_path / "vetting.ndjson").write_text('{"optional": true}\n')
    said = outcome(Gate(False, "vetting", (holds,)), small.registry.load("1"), tmp_path)  # noqa: FBT003 - a record
    assert "label the rows" not in said


def test_a_candidate_that_only_a_check_holds_is_looked_at_and_not_labelled(small: Small, tmp_path: Path) -> None:
    holds = at_most("removed_values.1", 0.4, 0.1, 0.01, failing="holds")
    said = outcome(Gate(False, "vetting", (holds,)), small.registry.load("1"), tmp_path)  # noqa: FBT003 - a record
    assert said == (
        f"waits for a person: see {tmp_path}/gate.html for what removed_values.1 found; tocsin registry promote makes "
        "it serve all the same"
    )
    (tmp_path / "vetting.ndjson").write_text("{}\n")
    assert f"label the rows in {tmp_path}/vetting.ndjson and answer with --vetting, each with another --out; see" in (
        outcome(Gate(False, "vetting", (holds,)), small.registry.load("1"), tmp_path)  # noqa: FBT003 - a record
    )


def test_what_is_left_of_a_refused_retraining_is_no_half_file(small: Small, tmp_path: Path) -> None:
    assert run(options(small, tmp_path / "out", "--recipe", "alchemy")) == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".lock", "attempt.json", "stages.json"}


WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "{blocked}":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
from monitor.cli.main import main
from monitor.retraining import hint
from monitor.messages import ImplicatedItem, Incident, WindowItem
from rollback.sanitise.case import Hint
main()
"""


@pytest.mark.parametrize(("blocked", "extra"), [("pyarrow", "tocsin[data]"), ("torch", "tocsin[retrain]")])
def test_without_an_extra_the_command_says_what_to_install(
    small: Small, tmp_path: Path, blocked: str, extra: str
) -> None:
    command = [sys.executable, "-c", WITHOUT.format(blocked=blocked), *options(small, tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert (done.returncode, done.stdout) == (1, "")
    assert extra in done.stderr
