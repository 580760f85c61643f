"""The recipe exec: a command's model is adopted, and whatever a command does wrong is said and harms nobody."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from recipe_rows import fit, make_rows, scorer, small

from rollback.train.chosen import Chosen, chosen
from rollback.train.recipe import RecipeError

pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")
pytest.importorskip("pyarrow", reason="rows are handed over as Parquet: pip install 'tocsin[data]'")


ROOT = Path(__file__).parent.parent


def command(code: str, **more: object) -> Chosen:
    arguments = [sys.executable, "-c", code, "{rows}", "{schema}", "{model}", "{seed}"]
    return chosen({"recipe": "exec", "command": arguments, **more}, "test")


def copying(folder: Path, classes: int = 2) -> Chosen:
    """A command that gives back a model which was made beforehand."""
    made = fit(small("forest"), make_rows(classes=classes))
    (folder / "made.onnx").write_bytes(made.model)
    return command(f"import shutil, sys; shutil.copy({str(folder / 'made.onnx')!r}, sys.argv[3])")


def test_the_model_that_comes_back_is_adopted_and_answers_as_it_does(tmp_path: Path) -> None:
    rows = make_rows()
    trained = fit(copying(tmp_path), rows)
    np.testing.assert_allclose(scorer(trained, rows)(rows.x), trained.own(rows.x))
    assert trained.figures["accuracy_on_rows"] > 0.8
    assert trained.settings["timeout_seconds"] == 3600.0


def test_rows_weights_and_a_description_are_handed_over(tmp_path: Path) -> None:
    seen = tmp_path / "seen.json"
    code = f"""
import json, sys, pyarrow.parquet as pq
table = pq.read_table(sys.argv[1]).to_pylist()
about = json.load(open(sys.argv[2]))
json.dump([table[:5], about, sys.argv[4]], open({str(seen)!r}, "w"), default=str)
"""
    rows = make_rows()
    weighed = type(rows)(rows.schema, rows.x, rows.y, rows.session, np.full(len(rows), 0.5))
    with pytest.raises(RecipeError, match="left no model"):
        fit(command(code), weighed, seed=42)
    table, about, seed = json.loads(seen.read_text())
    assert seed == "42"
    assert [about["label"], about["weight"], about["classes"]] == [
        "tocsin_label",
        "tocsin_weight",
        ["class0", "class1"],
    ]
    assert {row["tocsin_weight"] for row in table} == {0.5}
    assert [row["tocsin_label"] for row in table] == [f"class{y}" for y in rows.y[:5]]
    assert {row["proto"] for row in table} <= {"tcp", "udp", "icmp", "<unseen>", ""}


@pytest.mark.parametrize(
    ("code", "more", "said"),
    [
        ("import sys; sys.exit('no luck')", {}, r"ended with exit code 1: no luck"),
        ("import time; time.sleep(60)", {"timeout_seconds": 0.5}, "took longer than 0.5 s and was ended"),
        ("pass", {}, r"ended well and left no model: it must write to \{model\}"),
        ("import sys; open(sys.argv[3], 'wb').write(b'no onnx')", {}, "gave back: the file is no ONNX model"),
        ("import sys; open(sys.argv[3], 'wb').write(bytes(3 << 20))", {"model_mib": 2}, "has more than 2097152 bytes"),
        ("import os, sys; os.symlink('/etc/hostname', sys.argv[3])", {}, "the model that .* left: "),
        ("x = bytearray(600 << 20)", {"memory_mib": 300}, "MemoryError"),
        ("import os; os.kill(os.getpid(), 11)", {}, "was ended by SIGSEGV"),
        ("import os, sys; os.mkfifo(sys.argv[3])", {}, "left: is no plain file"),
        ("import os, sys; os.mkdir(sys.argv[3])", {}, "left: Is a directory"),
        ("import os; os.symlink('/etc/passwd', 'stderr'); os.mkfifo('x'); os._exit(1)", {}, "ended with exit code 1$"),
        (
            "import time\nfor i in range(3): open(str(i), 'wb').write(bytes(1 << 20))\ntime.sleep(60)",
            {"folder_mib": 2},
            "left more than 2 MiB in its folder and was ended",
        ),
        (
            "import time\nfor i in range(30): open(str(i), 'w')\ntime.sleep(60)",
            {"folder_files": 20},
            "left more than 20 files in its folder and was ended",
        ),
    ],
)
def test_what_a_command_does_wrong_is_said(code: str, more: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        fit(command(code, **more), make_rows())


def test_a_program_that_is_not_there_is_said() -> None:
    missing = chosen({"recipe": "exec", "command": ["no-such-trainer"]}, "test")
    with pytest.raises(RecipeError, match="no-such-trainer: there is no such program"):
        fit(missing, make_rows())


def test_a_model_of_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="3 probabilities"):
        fit(copying(tmp_path, classes=3), make_rows())


def test_the_command_sees_no_secret_and_no_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_SECRET", "hunter2")
    monkeypatch.setenv("ALLOWED", "yes")
    told = tmp_path / "told"
    code = f"import os; open({str(told)!r}, 'w').write(' '.join(sorted(os.environ)) + os.environ['ALLOWED'])"
    with pytest.raises(RecipeError, match="left no model"):
        fit(command(code, environment=["ALLOWED"]), make_rows())
    assert "TOCSIN_SECRET" not in told.read_text()
    assert told.read_text().endswith("yes")


@pytest.mark.parametrize("own_session", [False, True])
@pytest.mark.parametrize(("end", "said"), [("", "left no model"), ("import time; time.sleep(60)", "took longer")])
def test_what_a_command_has_left_running_is_ended(tmp_path: Path, end: str, said: str, *, own_session: bool) -> None:
    mark = tmp_path / "mark"
    late = f"import time, pathlib; time.sleep(1.5); pathlib.Path({str(mark)!r}).touch()"
    started = f"subprocess.Popen([sys.executable, '-c', {late!r}], start_new_session={own_session})"
    with pytest.raises(RecipeError, match=said):
        fit(command(f"import subprocess, sys; {started}; {end}", timeout_seconds=1.0), make_rows())
    time.sleep(1.0)
    assert not mark.exists()


def test_limits_that_we_are_under_ourselves_are_no_obstacle(tmp_path: Path) -> None:
    """A retraining is a child with limits; asking for more than these would fail."""
    made = tmp_path / "code.py"
    made.write_text(
        "import os, resource, subprocess, sys\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))\n"
        "from rollback.train.foreign import GUARD\n"
        "limits = [str(os.getpid()), str(1 << 40), str(1 << 40)]\n"
        "done = subprocess.run([sys.executable, '-I', str(GUARD), *limits, '/bin/true'])\n"
        "sys.exit(done.returncode)\n"
    )
    done = subprocess.run([sys.executable, str(made)], env={"PYTHONPATH": str(ROOT)}, check=False, timeout=60)
    assert done.returncode == 0


def test_the_command_ends_with_the_retraining_that_started_it(tmp_path: Path) -> None:
    """Killed outright, a retraining has no time to end anybody."""
    mark, begun = tmp_path / "mark", tmp_path / "begun"
    late = f"import time, pathlib as p; p.Path({str(begun)!r}).touch(); time.sleep(1); p.Path({str(mark)!r}).touch()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {late!r}])"  # as a shell script does
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import os, pathlib, sys\n"
        "from rollback.train.foreign import Run, run_command\n"
        f"run = Run([sys.executable, '-c', {code!r}], [], 60, 1 << 34, 1 << 30)\n"
        f"run_command(run, pathlib.Path({str(tmp_path)!r}), os.environ)\n"
    )
    process = subprocess.Popen([sys.executable, str(parent)], env={"PYTHONPATH": str(ROOT)})
    deadline = time.monotonic() + 60
    while not begun.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    time.sleep(1.5)
    assert not mark.exists()
