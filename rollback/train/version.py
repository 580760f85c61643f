"""From a table of samples to a model version: split, train, score what was held out, hand it to a registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from safetensors.numpy import save

from detectors.batch import Bools, Ints, Strings
from rollback.benign import as_field, require_class
from rollback.bundle import MODEL, REFERENCE, Bundle, with_canaries
from rollback.manifest import Bounds, Draft, FeatureSpec
from rollback.reference import ReferenceRows, reference_rows
from rollback.registry.registry import Buffer, Registry
from rollback.scorer import OnnxScorer
from rollback.tables.table import Table, TableError, infer_schema, sorted_classes, write_table
from rollback.train.bounds import bounded, bounds_of
from rollback.train.chosen import Chosen, choose
from rollback.train.metrics import evaluate
from rollback.train.recipe import Device, Progress, Trained, TrainingRows
from rollback.train.split import hold_out, reference_size

WEIGHTS: Final = "weights.safetensors"
ABOUT_ROWS: Final = ("id", "ts", "source", "origin", "trusted")
"""Columns of a training buffer that say something about a row: never features."""
FEWEST_ROWS: Final = 200
FEWEST_CLASSES: Final = 2


@dataclass(frozen=True, slots=True)
class Request:
    """What to train on which columns. ``ignore`` columns are no features; ``seed`` decides split and training.

    ``recipe`` is a name or a recipe file; ``bounds`` say what features can be in the domain. Where the training was cut
    off it goes on from what it left in ``checkpoints``, if any. ``benign`` names the class that lets things pass.
    """

    label: str
    source: str | None = None
    session: str | None = None
    ignore: tuple[str, ...] = ()
    recipe: str = "mlp"
    seed: int = 0
    device: Device = "auto"
    parent: str | None = None
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    checkpoints: Path | None = None
    benign: str | None = None


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A trained version that is in no registry yet.

    ``learned`` [rows of the table] marks what it was trained on: not the reference, nor rows without a label.
    ``remarks`` say in words what was assumed about the table.
    """

    draft: Draft
    files: dict[str, bytes]
    learned: Bools
    remarks: tuple[str, ...]


def train_version(table: Table, request: Request, progress: Progress) -> NewVersion:
    """Train on a table; the metrics are those of `model.onnx` on the reference, which was held out by whole sessions.

    The same table and request give the same version on the same machine (on a CPU). Raises
    `rollback.tables.table.TableError` for a table that cannot be trained on, `rollback.train.recipe.RecipeError` and
    `rollback.benign.BenignClassError`.
    """
    recipe = choose(request.recipe)
    features, classes = _columns(table, request)
    features = bounded(features, request.bounds)
    require_class(request.benign, classes)
    rows = reference_rows(table, features, classes, label=request.label, source=request.source, session=request.session)
    labelled = rows.y >= 0
    _require_enough(table, request, rows.y)
    session, remarks = _sessions(rows.session, request.session)
    if about := _about_rows(table, request):
        remarks.append(f"columns that are about a row and no features: {', '.join(about)}")
    if not labelled.all():
        remarks.append(f"{np.count_nonzero(~labelled)} rows without a label were left out")

    held = np.zeros(len(rows), dtype=np.bool_)
    size = reference_size(int(np.count_nonzero(labelled)))
    held[labelled] = hold_out(session[labelled], rows.y[labelled], size, np.random.default_rng(request.seed))
    learned = labelled & ~held
    reference = rows.take(held)
    if not len(reference):
        raise TableError(
            f"{table.path}: no reference can be held out: every class lies in one session (column "
            f"{request.session or request.label!r}), and sessions are never divided"
        )
    remarks += [
        f"class {name!r} is in too few sessions to be in the reference as well"
        for i, name in enumerate(classes)
        if not np.any(reference.y == i)
    ]

    draft = Draft(
        classes=classes,
        features=features,
        parent=request.parent,
        lineage=_lineage(table, request, learned, reference),
        benign=as_field(request.benign),
    )
    schema = draft.manifest("", "", "").schema
    training = TrainingRows(schema, rows.x[learned], rows.y[learned], session[learned], bounds=bounds_of(features))
    trained = recipe.train(
        training, seed=request.seed, device=request.device, progress=progress, checkpoints=request.checkpoints
    )
    draft = msgspec.structs.replace(
        draft, onnx=trained.onnx, features=trained.features or features, recipe=_recipe(request, recipe, trained)
    )
    draft = msgspec.structs.replace(draft, metrics=_metrics(draft, trained.model, reference))
    files = {MODEL: trained.model, WEIGHTS: save(trained.weights), REFERENCE: reference.to_npz()}
    return NewVersion(draft, with_canaries(draft, files), learned, tuple(remarks))


def add_version(
    registry: Registry,
    new: NewVersion,
    table: Table,
    request: Request,
    *,
    buffer: Path,
    version: str | None,
    by: str,
    reason: str,
) -> Bundle:
    """Write the rows that were learned to the file ``buffer`` and add the version with them as its training buffer.

    Raises `rollback.registry.registry.RegistryError`.
    """
    write_table(buffer, {name: column[new.learned] for name, column in table.columns.items()})
    kept = Buffer(buffer, request.label, request.source, request.session)
    return registry.add(new.draft, new.files, by=by, reason=reason, version=version, buffer=kept)


def _columns(table: Table, request: Request) -> tuple[tuple[FeatureSpec, ...], tuple[str, ...]]:
    """Features, whose missing values the model handles itself, and classes."""
    roles = [name for name in (request.label, request.source, request.session) if name is not None]
    inferred = infer_schema(table, exclude=[*roles, *request.ignore, *_about_rows(table, request)])
    features = tuple(msgspec.structs.replace(f, missing=None) for f in inferred)
    return features, sorted_classes(table.strings(request.label))


def _about_rows(table: Table, request: Request) -> list[str]:
    """The columns that are no features although no option names them."""
    named = {request.label, request.source, request.session, *request.ignore}
    return [name for name in ABOUT_ROWS if name in table.columns and name not in named]


def _require_enough(table: Table, request: Request, y: Ints) -> None:
    where = f"{table.path}: column {request.label!r}"
    classes = np.unique(y[y >= 0])
    if len(classes) < FEWEST_CLASSES:
        raise TableError(f"{where}: number of different classes: {len(classes)}; a classifier needs two at least")
    if np.count_nonzero(y >= 0) < FEWEST_ROWS:
        raise TableError(f"{where}: {np.count_nonzero(y >= 0)} labelled rows; at least {FEWEST_ROWS} are needed")


def _sessions(session: Strings, column: str | None) -> tuple[Strings, list[str]]:
    """Sessions in which every row without one is its own, and a remark where there are such rows."""
    empty = session == ""
    if not empty.any():
        return session, []
    alone = np.char.add("\0row ", np.arange(len(session)).astype(np.str_))
    if column is None:
        remark = "no session column (--session): every row counts as its own session, and similar rows as independent"
    else:
        remark = f"{np.count_nonzero(empty)} rows have no session in column {column!r}: each counts as its own"
    return np.where(empty, alone, session), [remark]


def _lineage(table: Table, request: Request, learned: Bools, reference: ReferenceRows) -> dict[str, Any]:
    """What the version was made from."""
    data = {
        "file": Path(table.path).name,
        "rows": len(table),
        "learned": int(np.count_nonzero(learned)),
        "reference": len(reference),
        "sessions": request.session is not None,
        "ignored": [*request.ignore, *_about_rows(table, request)],
    }
    return {"data": data}


def _recipe(request: Request, recipe: Chosen, trained: Trained) -> dict[str, Any]:
    """How it was made."""
    return {
        "name": recipe.name,
        "seed": request.seed,
        "device": request.device,
        "parameters": dict(trained.settings),
        "figures": dict(trained.figures),
    }


def _metrics(draft: Draft, model: bytes, reference: ReferenceRows) -> dict[str, float]:
    """How good the model is on the reference, scored as it will be served."""
    scores = OnnxScorer(model, draft.manifest("", "", ""))(reference.x)
    figures = evaluate(scores, reference.y, draft.classes)
    return {f"reference_{name}": value for name, value in figures.items()}
