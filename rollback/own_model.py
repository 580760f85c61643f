"""Makes a version out of what a user brings: an ONNX model, or none, and a reference table."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from detectors.schema import Kind
from rollback.benign import as_field, require_class
from rollback.bundle import MODEL, REFERENCE, with_canaries
from rollback.limits import BundleLimits
from rollback.manifest import Bounds, Draft, FeatureSpec
from rollback.onnx.adopt import ImportRefused, import_onnx
from rollback.reference import reference_rows, score_columns
from rollback.tables.table import Table, encode, infer_schema, read_table, sorted_classes


class FeatureFileError(Exception):
    """A features file is unreadable or contradicts itself; the message names file and place."""


@dataclass(frozen=True, slots=True)
class ReferenceTable:
    """The reference's file and what its columns mean; every other column is a feature."""

    path: Path
    label: str
    source: str | None = None
    session: str | None = None
    ignore: tuple[str, ...] = ()

    @property
    def roles(self) -> tuple[str, ...]:
        """The columns that are no features."""
        return tuple(c for c in (self.label, self.source, self.session) if c is not None) + self.ignore

    def read(self) -> Table:
        """The table, with source and session as text."""
        return read_table(self.path, text=[c for c in (self.source, self.session) if c is not None])


@dataclass(frozen=True, slots=True)
class OwnModel:
    """A version to be: what goes to `Registry.add`, how the class order was found, and a warning ("" for none)."""

    draft: Draft
    files: dict[str, bytes]
    class_order: str
    warning: str = ""


def own_model(
    reference: ReferenceTable,
    *,
    onnx: Path | None = None,
    classes: Sequence[str] | None = None,
    features: Path | None = None,
    parent: str | None = None,
    limits: BundleLimits | None = None,
    benign: str | None = None,
) -> OwnModel:
    """Read everything that a version consists of, and check that model and reference fit each other.

    Without ``onnx`` the version is a name with a reference. A model beyond ``limits`` is not read. ``benign`` names the
    class that lets things pass. Raises `rollback.tables.table.TableError`, `FeatureFileError`,
    `rollback.onnx.adopt.ImportRefused` and `rollback.benign.BenignClassError`.
    """
    table = reference.read()
    no_features = (*reference.roles, *score_columns(table))
    specs = infer_schema(table, no_features) if features is None else read_features(features, table)
    lineage = {"reference": _file_facts(reference.path, rows=len(table), label=reference.label)}
    if onnx is None:
        names = tuple(classes) if classes else sorted_classes(table.strings(reference.label))
        if len(names) < 2:  # noqa: PLR2004 - nothing to tell apart otherwise
            raise ImportRefused(
                f"{reference.path}: column {reference.label!r} names {len(names)} classes, and a classifier has two at "
                "least: say all of them with --classes"
            )
        require_class(benign, names)
        draft = Draft(classes=names, features=specs, parent=parent, lineage=lineage, benign=as_field(benign))
        return OwnModel(draft, {REFERENCE: _rows(reference, table, draft)}, "of the reference's labels")
    try:
        model = _read_model(onnx, limits or BundleLimits())
        found = import_onnx(model, specs, encode(table, specs), table.strings(reference.label), classes)
    except ImportRefused as error:
        raise ImportRefused(f"{onnx}: {error}") from error
    except OSError as error:
        raise ImportRefused(f"{onnx}: cannot be read: {error.strerror}") from error
    require_class(benign, found.classes)
    draft = Draft(
        classes=found.classes,
        features=found.features,
        parent=parent,
        onnx=found.spec,
        lineage={**lineage, "model": _file_facts(onnx, class_order=found.how)},
        # without a labelled row there is no accuracy
        metrics={} if math.isnan(found.accuracy) else {"reference_accuracy": found.accuracy},
        benign=as_field(benign),
    )
    files = with_canaries(draft, {MODEL: model, REFERENCE: _rows(reference, table, draft)})
    return OwnModel(draft, files, found.how, found.warning)


def _read_model(path: Path, limits: BundleLimits) -> bytes:
    if objection := limits.objection(MODEL, path.stat().st_size):
        raise ImportRefused(objection)
    return path.read_bytes()


def _rows(reference: ReferenceTable, table: Table, draft: Draft) -> bytes:
    rows = reference_rows(
        table,
        draft.features,
        draft.classes,
        label=reference.label,
        source=reference.source,
        session=reference.session,
    )
    return rows.to_npz()


def _file_facts(path: Path, **more: Any) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest(), **more}


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One feature as a person writes it; what is left out is read from the reference."""

    name: str
    kind: Kind | None = None
    vocabulary: tuple[str, ...] | None = None
    missing: float | str | msgspec.UnsetType | None = msgspec.UNSET
    codes: tuple[float, ...] | dict[str, float] = ()
    unseen: float | str | None = None
    bounds: Bounds | msgspec.UnsetType = msgspec.UNSET


FORMAT: Final = "a list like: [{name: bytes}, {name: proto, kind: categorical, codes: {tcp: 6, udp: 17}, missing: -1}]"


def read_features(path: Path, table: Table) -> tuple[FeatureSpec, ...]:
    """The features that a YAML or JSON file lists: exactly these, in the model's order.

    Kind and vocabulary are read from ``table`` where an entry leaves them out. Raises `FeatureFileError` and
    `rollback.tables.table.TableError`.
    """
    try:
        entries = msgspec.convert(yaml.safe_load(path.read_text("utf-8")), list[_Entry])
    except OSError as error:
        raise FeatureFileError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise FeatureFileError(f"{path}: {error}; expected is {FORMAT}") from error
    names = [entry.name for entry in entries]
    if not names or len(set(names)) != len(names):
        raise FeatureFileError(f"{path}: it must name at least one feature, and each once; expected is {FORMAT}")
    return tuple(_feature(path, entry, table) for entry in entries)


def _feature(path: Path, entry: _Entry, table: Table) -> FeatureSpec:
    others = [name for name in table.columns if name != entry.name]
    vocabulary, codes = entry.vocabulary, entry.codes
    if isinstance(codes, dict):
        vocabulary, codes = tuple(codes), tuple(codes.values())
    elif codes and vocabulary is None:
        raise FeatureFileError(
            f"{path}: feature {entry.name!r}: codes need their vocabulary, or write codes: {{tcp: 6}}"
        )
    kind = entry.kind or ("categorical" if vocabulary else None)
    inferred = infer_schema(table, others)[0] if kind is None or vocabulary is None else FeatureSpec(entry.name)
    kind = kind or inferred.kind
    if kind == "categorical" and vocabulary is None:
        vocabulary = inferred.vocabulary or sorted_classes(table.strings(entry.name))
    default = None if kind == "categorical" and not codes else 0.0
    missing = default if entry.missing is msgspec.UNSET else entry.missing
    return FeatureSpec(entry.name, kind, vocabulary or (), missing, codes, entry.unseen, entry.bounds)
