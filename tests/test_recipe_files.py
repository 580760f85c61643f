"""Choosing a recipe: by name, by file, from a manifest; what is wrong with a file is said with its key."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from rollback.manifest import Bounds
from rollback.own_model import read_features
from rollback.tables.table import Table
from rollback.train.bounds import bounds_of, read_bounds
from rollback.train.chosen import choose, chosen_of
from rollback.train.operator_file import LARGEST_FILE
from rollback.train.recipe import RecipeError, recipe_names

pytest.importorskip("torch", reason="training needs the extra: pip install 'tocsin[retrain]'")


def written(folder: Path, text: str) -> str:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return str(path)


def test_a_file_gives_recipe_and_parameters(tmp_path: Path) -> None:
    found = choose(written(tmp_path, "recipe: mlp\nhidden: [16]\npgd: {epsilon: 0.5}\n"))
    assert found.name == "mlp"
    assert found.parameters.hidden == (16,)
    assert (found.parameters.pgd.epsilon, found.parameters.pgd.steps) == (0.5, 5)
    assert found.told()["pgd"] == {"epsilon": 0.5, "steps": 5}


def test_what_a_manifest_notes_gives_the_same_recipe_again() -> None:
    first = choose("mlp")
    told = first.told()
    again = chosen_of({"name": told.pop("recipe"), "seed": 1, "parameters": told}, "7")
    assert again.parameters == first.parameters


def test_a_command_is_never_taken_from_a_manifest() -> None:
    with pytest.raises(RecipeError, match="recipe of version 7 is exec: what it runs is not taken from a bundle"):
        chosen_of({"name": "exec", "parameters": {"command": ["sh"]}}, "7")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("recipe: mlp\nhiden: [3]\n", r"recipe\.yaml: hiden: no such parameter; there are: hidden, "),
        ("recipe: mlp\npgd: {eps: 1}\n", r"recipe\.yaml: pgd\.eps: no such parameter; there are: epsilon, steps"),
        ("recipe: mlp\npgd: {steps: 1.5}\n", r"recipe\.yaml: pgd\.steps: .*int"),
        ("recipe: mlp\npgd: {epsilon: -1}\n", r"recipe\.yaml: pgd: epsilon must be above 0"),
        ("recipe: mlp\npgd: {}\ntrades: {}\n", r"recipe\.yaml: pgd, trades and smoothing: at most one"),
        ("recipe: mlp\nlearning_rate: .nan\n", r"recipe\.yaml: learning_rate: every number must be finite"),
        ("recipe: mlp\npgd: {epsilon: .nan}\n", r"recipe\.yaml: pgd: every number must be finite"),
        ("recipe: exec\ncommand: [a]\ntimeout_seconds: .inf\n", "timeout_seconds: every number must be finite"),
        ("recipe: partition\nbase: {recipe: mlp, learning_rate: .nan}\n", "base: every number must be finite"),
        ("recipe: ensemble\nmembers: [{recipe: mlp, privacy: {}}, {recipe: forest}]\n", "privacy of one says nothing"),
        ("recipe: oracle\n", r"recipe\.yaml: recipe: no recipe 'oracle'; there are: "),
        ("recipe: exec\n", r"recipe\.yaml: .*missing required field `command`"),
        ("recipe: exec\ncommand: []\n", r"recipe\.yaml: command: the program is missing"),
        ("recipe: partition\nbase: {recipe: exec, command: [sh]}\n", "base: exec cannot be a member"),
        ("recipe: ensemble\nmembers: [{recipe: mlp}]\n", "members: at least two"),
        ("- mlp\n", "expected is a mapping like"),
        ("recipe: {a: 1}\n", "expected is a mapping like"),
        ("", "expected is a mapping like"),
        ("recipe: [\n", "is no YAML"),
        ("!!python/object/apply:os.system ['true']\n", "is no YAML"),
        ("\0", "is no YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_its_path_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        choose(written(tmp_path, text))


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read: No such file"):
        choose(str(tmp_path / "none.yaml"))
    with pytest.raises(RecipeError, match="larger than"):
        choose(written(tmp_path, "#" * (LARGEST_FILE + 1)))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(RecipeError, match="cannot be read"):
        choose(str(tmp_path / "pipe.yaml"))
    with pytest.raises(RecipeError, match="cannot be read"):
        read_bounds(tmp_path / "pipe.yaml")


def test_bounds_are_read_from_a_file(tmp_path: Path) -> None:
    text = "{bytes: {low: 0, integer: true}, rate: {depends_on: [bytes, seconds], relation: ratio}}"
    assert read_bounds(Path(written(tmp_path, text))) == {
        "bytes": Bounds(low=0, integer=True),
        "rate": Bounds(depends_on=("bytes", "seconds"), relation="ratio"),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{a: {low: 2, high: 1}}", "low 2 is above high 1"),
        ("{a: {depends_on: [b]}}", "depends_on needs a relation"),
        ("{a: {depends_on: [b], relation: ratio}}", "a ratio is one of two features, got 1"),
        ("{a: {lowest: 1}}", "lowest"),
        ("[1]", "expected is a mapping like"),
    ],
)
def test_wrong_bounds_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        read_bounds(Path(written(tmp_path, text)))


def test_features_of_a_foreign_model_may_have_bounds_too(tmp_path: Path) -> None:
    path = Path(written(tmp_path, "[{name: bytes, bounds: {low: 0}}, {name: port}]"))
    columns = {"bytes": np.array([1.0, 2.0, 3.0]), "port": np.array([80.0, 443.0, 22.0])}
    features = read_features(path, Table("rows", columns, np.arange(3)))
    assert bounds_of(features) == {"bytes": Bounds(low=0)}
    assert b"bounds" not in msgspec.json.encode(features[1]), "what nobody has said is not in the manifest"


DOCUMENTED = (Path(__file__).parent.parent / "docs" / "recipes.md").read_text()
EXAMPLES = [text for text in re.findall(r"```yaml\n(.*?)```", DOCUMENTED, re.DOTALL) if "recipe:" in text]


@pytest.mark.parametrize("text", EXAMPLES)
def test_documented_recipe_files_are_right(tmp_path: Path, text: str) -> None:
    assert choose(written(tmp_path, text)).told()["recipe"] in text


def test_every_recipe_is_documented() -> None:
    assert [name for name in recipe_names() if f"| `{name}` |" not in DOCUMENTED] == []


def test_documented_bounds_are_right(tmp_path: Path) -> None:
    (text,) = (text for text in re.findall(r"```yaml\n(.*?)```", DOCUMENTED, re.DOTALL) if "relation:" in text)
    assert read_bounds(Path(written(tmp_path, text)))["rate"].relation == "ratio"
