"""`manifest.json`: what a model version is, and the digest of every file that belongs to it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from detectors.schema import Feature, Kind, Schema
from rollback.benign import require_class


class Bounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a feature can be in the domain, whoever makes it: adversarial training stays within.

    ``low`` and ``high`` bound it (None: as far as the trusted rows go). ``integer`` numbers are whole. An ``immutable``
    feature is not an attacker's to change. A dependent one follows from those in ``depends_on`` by ``relation``: their
    sum or product, or the first minus (difference) or over (ratio) the second.
    """

    low: float | None = None
    high: float | None = None
    integer: bool | None = None
    immutable: bool = False
    depends_on: tuple[str, ...] = ()
    relation: Literal["sum", "product", "difference", "ratio"] | None = None

    def __post_init__(self) -> None:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        if bool(self.depends_on) != (self.relation is not None):
            raise ValueError("depends_on needs a relation (sum, product, difference, ratio), and a relation depends_on")
        if self.relation in {"difference", "ratio"} and len(self.depends_on) != 2:  # noqa: PLR2004 - a pair
            raise ValueError(f"a {self.relation} is one of two features, got {len(self.depends_on)}")


class FeatureSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input column of the model, in order.

    ``missing`` is the value that a missing entry is fed to the model as (NaN is written as null: the model handles it
    itself). ``codes`` are the numbers that a foreign model expects for the vocabulary's entries, where the model takes
    categories as numbers; ``unseen`` is what a value outside the vocabulary is fed as. ``bounds`` say what it can be
    in the domain, where an operator has said so.
    """

    name: str
    kind: Kind = "numeric"
    vocabulary: tuple[str, ...] = ()
    missing: float | str | None = 0.0
    codes: tuple[float, ...] = ()
    unseen: float | str | None = None
    bounds: Bounds | msgspec.UnsetType = msgspec.UNSET


class OnnxSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to feed `model.onnx` and read it: found once when the version is added, kept for good.

    ``layout`` is one tensor [N, d] or one input per feature. ``output`` names the tensor of probabilities (or None with
    ``zipmap`` naming a list of dictionaries); ``columns`` gives for each class of the manifest its position there, -1
    for what the other class leaves of 1 (a model with one probability). ``keys`` are the classes in the dictionaries.
    """

    layout: Literal["matrix", "columns"]
    inputs: tuple[str, ...]
    output: str
    zipmap: bool = False
    columns: tuple[int, ...] = ()
    keys: tuple[str | int, ...] = ()


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is signed. ``files`` maps each file of the bundle (not itself, not the attestation) to its SHA-256.

    ``benign`` is the class that lets things pass, where an operator has named it.
    """

    format: Literal["tocsin.bundle.v1"] = "tocsin.bundle.v1"
    name: str
    version: str
    created_at: str
    parent: str | None = None
    classes: tuple[str, ...]
    features: tuple[FeatureSpec, ...]
    score_kind: Literal["simplex", "independent"] = "simplex"
    onnx: OnnxSpec | None = None
    files: dict[str, str] = {}
    lineage: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    gate: dict[str, Any] = {}
    benign: str | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        require_class(self.named_benign, self.classes)

    @property
    def named_benign(self) -> str | None:
        """The class that an operator has named as the one that lets things pass; None where nobody has."""
        return None if isinstance(self.benign, msgspec.UnsetType) else self.benign

    @property
    def schema(self) -> Schema:
        """The columns as detectors see them."""
        return Schema(tuple(Feature(f.name, f.kind, f.vocabulary) for f in self.features), self.classes)

    @property
    def shadow(self) -> str | None:
        """The version beside which this one stands in as last known good; None for a version that may serve."""
        about = self.lineage.get("shadow")
        return str(about["of"]) if about else None


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What the maker of a version knows; the registry adds name, version and time."""

    classes: tuple[str, ...]
    features: tuple[FeatureSpec, ...]
    parent: str | None = None
    score_kind: Literal["simplex", "independent"] = "simplex"
    onnx: OnnxSpec | None = None
    lineage: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    gate: dict[str, Any] = {}
    benign: str | msgspec.UnsetType = msgspec.UNSET

    def manifest(self, name: str, version: str, created_at: str) -> Manifest:
        """The manifest of this draft, without ``files`` yet."""
        return Manifest(name=name, version=version, created_at=created_at, **msgspec.structs.asdict(self))
