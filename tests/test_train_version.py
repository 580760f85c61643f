"""From a table to a signed version, and the command that does it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from monitor.cli.main import main
from monitor.demo.flows import table
from monitor.demo.traffic import TrafficConfig, generate
from rollback.registry.file import FileRegistry
from rollback.signing.keys import Keys, new_signing_key
from rollback.tables.table import Table, TableError, read_table, write_table
from rollback.train.version import FEWEST_ROWS, NewVersion, Request, add_version, train_version

pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")

REQUEST = Request("label", "source", "session", ignore=("id", "ts"), device="cpu", seed=7)
ROWS = 1500


def silent(*_: object) -> None:
    """Shows no progress."""


def make_table(rows: int = ROWS, **change: np.ndarray) -> Table:
    flows = generate(TrafficConfig(), np.random.default_rng(0), rows, 1.7e9)
    return Table("flows.csv", table(flows) | change, np.arange(rows) + 2)


@pytest.fixture(scope="module")
def new() -> NewVersion:
    return train_version(make_table(), REQUEST, silent)


def test_a_version_keeps_whole_sessions_out_as_its_reference(new: NewVersion, tmp_path: Path) -> None:
    data = make_table()
    registry = FileRegistry(tmp_path, "nids", Keys.of(new_signing_key()), lambda: 1.7e9)
    added = add_version(
        registry, new, data, REQUEST, buffer=tmp_path / "rows.csv.zst", version=None, by="test", reason="first"
    )
    registry.verify("1")
    bundle = registry.load("1")
    assert bundle.manifest == added.manifest
    reference = bundle.reference()
    assert reference is not None
    session = data.strings("session")
    assert 0.2 * ROWS < len(reference) <= 0.25 * ROWS
    assert not set(reference.session) & set(session[new.learned])
    assert len(reference) + new.learned.sum() == ROWS
    assert bundle.manifest.lineage["data"]["learned"] == new.learned.sum()
    assert (bundle.manifest.recipe["name"], bundle.manifest.recipe["seed"]) == ("mlp", 7)


def test_the_training_buffer_holds_the_rows_that_were_learned_and_no_reference(new: NewVersion, tmp_path: Path) -> None:
    data = make_table()
    registry = FileRegistry(tmp_path, "nids", Keys.of(new_signing_key()), lambda: 1.7e9)
    add_version(registry, new, data, REQUEST, buffer=tmp_path / "rows.csv.zst", version="a", by="test", reason="first")
    buffer = registry.buffer("a")
    assert buffer is not None
    assert (buffer.label, buffer.source, buffer.session) == ("label", "source", "session")
    kept = read_table(buffer.path, text=["session"])
    assert kept.strings("id").tolist() == data.strings("id")[new.learned].tolist()
    assert list(kept.columns) == list(data.columns)


def test_the_metrics_are_those_of_the_bundle_on_its_reference(new: NewVersion, tmp_path: Path) -> None:
    registry = FileRegistry(tmp_path, "nids", Keys.of(new_signing_key()), lambda: 1.7e9)
    buffer = tmp_path / "rows.csv"
    add_version(registry, new, make_table(), REQUEST, buffer=buffer, version=None, by="test", reason="first")
    bundle = registry.load("1")
    reference, score = bundle.reference(), bundle.scorer()
    assert reference is not None
    assert score is not None
    right = score(reference.x).argmax(axis=1) == reference.y
    assert bundle.manifest.metrics["reference_accuracy"] == np.mean(right)
    assert bundle.manifest.metrics["reference_recall.attack"] == np.mean(right[reference.y == 0])
    assert 0.9 < bundle.manifest.metrics["reference_auc"] < 1
    assert "layers.0.weight" in load(bundle.files["weights.safetensors"])


def test_the_same_table_and_seed_give_the_same_files(new: NewVersion) -> None:
    again = train_version(make_table(), REQUEST, silent)
    assert again.files == new.files
    assert again.draft == new.draft


def test_without_sessions_every_row_is_its_own_and_that_is_said() -> None:
    request = Request("label", ignore=("id", "ts", "source", "session"), device="cpu")
    made = train_version(make_table(400), request, silent)
    assert made.learned.sum() == 300
    assert any("every row counts as its own session" in remark for remark in made.remarks)


def test_rows_without_a_label_are_left_out_and_counted() -> None:
    label = make_table(600).strings("label").copy()
    label[:50] = ""
    made = train_version(make_table(600, label=label), REQUEST, silent)
    assert not made.learned[:50].any()
    assert "50 rows without a label were left out" in made.remarks


def test_a_label_column_that_is_not_there_is_refused_with_the_columns_that_are() -> None:
    with pytest.raises(TableError, match=r"no column 'lable' \(did you mean 'label'\?\); there are: id, ts"):
        train_version(make_table(300), Request("lable"), silent)


def test_one_class_only_is_refused() -> None:
    with pytest.raises(TableError, match="column 'label': number of different classes: 1; a classifier needs two"):
        train_version(make_table(300, label=np.full(300, "benign")), REQUEST, silent)


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(TableError, match=f"{FEWEST_ROWS - 1} labelled rows; at least {FEWEST_ROWS} are needed"):
        train_version(make_table(FEWEST_ROWS - 1), REQUEST, silent)


@pytest.fixture(scope="module")
def flows_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "flows.csv"
    write_table(path, make_table(800).columns)
    return path


def options(flows_csv: Path, registry: Path) -> list[object]:
    columns = ["--label", "label", "--source", "source", "--session", "session", "--ignore", "id", "--ignore", "ts"]
    return ["train", "--data", flows_csv, *columns, "--registry", registry, "--name", "nids"]


def run(arguments: list[object]) -> int | str | None:
    """The command in this process, which has torch loaded already: its exit code."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments], {})
    return stopped.value.code


def test_the_command_prints_the_version_and_nothing_else_on_stdout(
    flows_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*options(flows_csv, tmp_path), "--version", "v7", "--device", "cpu"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "v7\n"
    assert "held out" in shown.err
    assert (tmp_path / "nids" / "v7" / "attestation.json").is_file()


def test_the_command_prints_json_where_it_is_asked_to(
    flows_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*options(flows_csv, tmp_path), "--json", "--device", "cpu"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["version"], result["classes"], result["features"]) == ("1", ["attack", "benign"], 24)
    assert result["metrics"]["reference_accuracy"] > 0.8


def test_a_wrong_column_is_a_failure_that_names_it(
    flows_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*options(flows_csv, tmp_path), "--ignore", "wire"]) == 1
    assert "no column 'wire'" in capsys.readouterr().err


def test_without_torch_the_command_says_what_to_install(flows_csv: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None\nfrom monitor.cli.main import main\nmain()"
    command = [sys.executable, "-c", code, *map(str, options(flows_csv, tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert (done.returncode, done.stdout) == (1, "")
    assert 'pip install "tocsin[retrain]"' in done.stderr


@pytest.mark.parametrize("blocked", ["torch", "onnx"])
def test_nothing_but_a_recipe_needs_torch_or_onnx(blocked: str) -> None:
    modules = "rollback, rollback.registry.file, rollback.train.version, rollback.redteam.success, monitor.cli.main"
    also = "monitor.cli.train, monitor.cli.registry, monitor.demo.traffic"
    code = f"import sys; sys.modules['{blocked}'] = None\nimport {modules}, {also}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_columns_about_a_row_are_no_features() -> None:
    trusted = np.ones(ROWS)
    made = train_version(make_table(trusted=trusted), Request("label", None, "session", device="cpu"), silent)
    assert not {"id", "ts", "source", "trusted"} & {feature.name for feature in made.draft.features}
    assert any("no features: id, ts, source, trusted" in remark for remark in made.remarks)


def test_sessions_that_leave_nothing_to_hold_out_are_refused() -> None:
    data = make_table()
    flows = data.columns | {"session": data.strings("label")}
    with pytest.raises(TableError, match="no reference can be held out"):
        train_version(Table("flows.csv", flows, data.line), REQUEST, silent)
