"""A SOC's own training command: it is given the rows and their weights, and gives an ONNX model back.

The rows are handed over as Parquet with a description in JSON, in a private folder. What comes back is foreign: it goes
through what `tocsin registry add` asks of any model, and through the same gate as every candidate. That the same rows
give the same model is the command's own affair; it is told a seed. The command is an operator's: it is never taken from
a version's manifest.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from detectors.batch import Floats
from rollback.durable import read_plain
from rollback.manifest import Draft, FeatureSpec
from rollback.onnx.adopt import Imported, ImportRefused, import_onnx
from rollback.reload.template import fill
from rollback.scorer import UNSEEN_TEXT, OnnxScorer, ScorerError
from rollback.tables.table import Column, TableError, write_table
from rollback.train.foreign import Run, run_command
from rollback.train.recipe import Device, Progress, RecipeError, Trained, TrainingRows, answers_of

ROWS, SCHEMA, MODEL = "rows.parquet", "schema.json", "model.onnx"
LABEL, WEIGHT, SESSION, TRUSTED = "tocsin_label", "tocsin_weight", "tocsin_session", "tocsin_trusted"
MIB: Final = 2**20
LOOKED_AT: Final = 2000
"""So many rows are scored to find out how the model is read."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """``command``: a program and its arguments, in which {rows}, {schema}, {model} (paths) and {seed} are filled in.

    It sees PATH, LANG, LC_ALL, TZ and the variables that ``environment`` names; it may take ``timeout_seconds`` and
    ``memory_mib``, no file it writes may be larger than ``model_mib`` (or 64 MiB, if that is more), and its folder may
    hold ``folder_mib`` in ``folder_files``, with the rows that are handed over.
    """

    command: tuple[str, ...]
    environment: tuple[str, ...] = ()
    timeout_seconds: float = 3600.0
    memory_mib: int = 8192
    model_mib: int = 256
    folder_mib: int = 8192
    folder_files: int = 100_000

    def __post_init__(self) -> None:
        if not self.command or not self.command[0]:
            raise ValueError("command: the program is missing")
        if any("\0" in each for each in self.command):
            raise ValueError("command: holds a null character")
        if strange := [name for name in self.environment if not name or "=" in name or "\0" in name]:
            raise ValueError(f"environment: {strange[0]!r} is no name of a variable")
        if min(self.timeout_seconds, self.memory_mib, self.model_mib, self.folder_mib, self.folder_files) <= 0:
            raise ValueError("timeout_seconds, memory_mib, model_mib, folder_mib and folder_files must be above 0")


def train(
    rows: TrainingRows,
    *,
    seed: int,
    device: Device,  # noqa: ARG001 - the command knows its own
    progress: Progress,
    parameters: Parameters | None = None,
    checkpoints: Path | None = None,  # noqa: ARG001 - likewise
) -> Trained:
    """Have the command train on the rows; see `rollback.train.recipe.Recipe`."""
    if parameters is None:
        raise RecipeError("exec: no command is configured; name a recipe file with `recipe: exec` and `command: [...]`")
    p = parameters
    with tempfile.TemporaryDirectory(prefix="tocsin-exec-") as name:
        folder = Path(name)
        _hand_over(rows, seed, folder)
        paths = {
            f"{{{key}}}": str(folder / file) for key, file in (("rows", ROWS), ("schema", SCHEMA), ("model", MODEL))
        }
        command = [fill(each, {**paths, "{seed}": str(seed)}) for each in p.command]
        most = (p.memory_mib * MIB, p.model_mib * MIB, p.folder_mib * MIB, p.folder_files)
        run = Run(command, p.environment, p.timeout_seconds, *most)
        run_command(run, folder, os.environ)
        model = _taken_back(folder / MODEL, p)
    progress(1, 1, float("nan"))
    return _adopted(model, rows, p)


def _hand_over(rows: TrainingRows, seed: int, folder: Path) -> None:
    try:
        write_table(folder / ROWS, _columns(rows))
    except TableError as error:
        raise RecipeError(f"exec: {error}") from error
    described: dict[str, Any] = {
        "format": "tocsin.exec.v1",
        "features": [asdict(feature) for feature in rows.schema.features],
        "classes": list(rows.schema.classes),
        "label": LABEL,
        "weight": WEIGHT,
        "session": SESSION,
        "trusted": None if rows.trusted is None else TRUSTED,
        "unseen": UNSEEN_TEXT,
        "missing": "an empty text, or NaN",
        "seed": seed,
    }
    (folder / SCHEMA).write_bytes(msgspec.json.format(msgspec.json.encode(described), indent=2))


def _columns(rows: TrainingRows) -> dict[str, Column]:
    """Categories as words, numbers as they are."""
    columns: dict[str, Column] = {}
    for j, feature in enumerate(rows.schema.features):
        values = rows.x[:, j]
        columns[feature.name] = values
        if feature.kind == "categorical":
            known = len(feature.vocabulary)
            words = np.array([*feature.vocabulary, UNSEEN_TEXT, ""], dtype=np.str_)
            code = np.where((values < 0) | (values >= known), known, values)
            columns[feature.name] = words[np.where(np.isnan(values), known + 1, code).astype(np.int64)]
    taken = {LABEL, WEIGHT, SESSION, TRUSTED} & set(columns)
    if taken:
        raise RecipeError(f"exec: a feature is called {min(taken)!r}, which is what a column of ours is called")
    columns[LABEL] = np.array(rows.schema.classes, dtype=np.str_)[rows.y]
    columns[WEIGHT] = np.ones(len(rows)) if rows.weight is None else rows.weight
    columns[SESSION] = np.char.replace(rows.session, "\0", "")
    if rows.trusted is not None:
        columns[TRUSTED] = rows.trusted.astype(np.float64)
    return columns


def _taken_back(path: Path, p: Parameters) -> bytes:
    try:
        return read_plain(path, p.model_mib * MIB)
    except FileNotFoundError as error:
        raise RecipeError(f"exec: {p.command[0]} ended well and left no model: it must write to {{model}}") from error
    except OSError as error:
        raise RecipeError(f"exec: the model that {p.command[0]} left: {error.strerror}") from error


def _adopted(model: bytes, rows: TrainingRows, p: Parameters) -> Trained:
    """Any class order is accepted that the model states; codes of categories are their places in the vocabulary."""
    features = tuple(_spec(f.name, f.kind, f.vocabulary) for f in rows.schema.features)
    some = np.linspace(0, len(rows) - 1, min(LOOKED_AT, len(rows))).astype(np.int64)
    labels = np.array(rows.schema.classes, dtype=np.str_)[rows.y[some]]
    try:
        found = import_onnx(model, features, rows.x[some], labels, rows.schema.classes)
        own = OnnxScorer(model, _draft(found).manifest("", "", ""))
    except (ImportRefused, ScorerError) as error:
        raise RecipeError(f"exec: the model that {p.command[0]} gave back: {error}") from error
    if found.classes != rows.schema.classes:
        raise RecipeError(f"exec: the model tells the classes {', '.join(found.classes)} apart, not those of the rows")

    def score(x: Floats) -> Floats:
        return own(x)

    figures = {"accuracy_on_rows": found.accuracy}
    answers = answers_of(score, rows)
    return Trained(model, found.spec, {}, asdict(p), figures, answers, score, found.features)


def _spec(name: str, kind: Any, vocabulary: tuple[str, ...]) -> FeatureSpec:
    """Numbers that are missing are fed as NaN; a category as its place, which a model with texts does not look at."""
    return FeatureSpec(name, kind, vocabulary, missing=None, codes=tuple(float(i) for i in range(len(vocabulary))))


def _draft(found: Imported) -> Draft:
    return Draft(classes=found.classes, features=found.features, onnx=found.spec)
