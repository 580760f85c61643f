"""How a foreign ONNX model takes its features: one tensor or one input per feature, and what fills each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from rollback.manifest import FeatureSpec
from rollback.scorer import NUMBER_TYPES, TEXT_TYPE, UNSEEN_TEXT

MATRIX_TYPES: Final = ("tensor(float)", "tensor(double)")
INTEGER_TYPES: Final = ("tensor(int64)", "tensor(int32)")
EXAMPLE: Final = "- {name: proto, kind: categorical, vocabulary: [tcp, udp], codes: [0, 1]}"


class ImportRefused(Exception):  # noqa: N818 - a refusal with its reason, and what would be needed
    """A foreign model cannot be taken as it is; the message says why and what to do."""


def find_layout(
    inputs: Sequence[Any], features: Sequence[FeatureSpec]
) -> tuple[Literal["matrix", "columns"], list[str]]:
    """Whether the model takes one tensor or columns, and the names of its inputs in feature order.

    ``inputs`` are ONNX Runtime's descriptions. Raises `ImportRefused`.
    """
    for described in inputs:
        _check_rows(described)
    if len(inputs) == 1 and (inputs[0].type in MATRIX_TYPES or len(features) != 1):
        _check_matrix(inputs[0], features)
        return "matrix", [inputs[0].name]
    _check_columns(inputs, features)
    return "columns", [feature.name for feature in features]


def _check_rows(described: Any) -> None:
    if described.shape and isinstance(described.shape[0], int):
        raise ImportRefused(
            f"input {described.name!r} takes exactly {described.shape[0]} rows at a time; export it with a dynamic "
            "first axis (torch: dynamic_axes or dynamic_shapes; skl2onnx: FloatTensorType([None, d]))"
        )


def _check_matrix(described: Any, features: Sequence[FeatureSpec]) -> None:
    if described.type not in MATRIX_TYPES:
        raise ImportRefused(
            f"the only input {described.name!r} is a {described.type}, and there are {len(features)} features: one "
            "tensor must be float or double; other types need one input per feature"
        )
    width = described.shape[1] if len(described.shape) == 2 else None  # noqa: PLR2004 - rows and features
    if described.shape and len(described.shape) != 2:  # noqa: PLR2004 - likewise
        raise ImportRefused(
            f"input {described.name!r} is of shape {described.shape}; [N, d] is needed: rows and features"
        )
    if isinstance(width, int) and width != len(features):
        raise ImportRefused(
            f"input {described.name!r} takes {width} features, but there are {len(features)}: "
            f"{_some([f.name for f in features])}. Leave columns out with --ignore, or list features with --features"
        )


def _check_columns(inputs: Sequence[Any], features: Sequence[FeatureSpec]) -> None:
    wanted, given = {i.name for i in inputs}, {f.name for f in features}
    problems = []
    if lacking := sorted(wanted - given):
        problems.append(f"no feature is called like the inputs {_some(lacking)}")
    if extra := sorted(given - wanted):
        problems.append(f"the model has no inputs for the features {_some(extra)} (leave them out with --ignore)")
    if problems:
        raise ImportRefused("; ".join(problems))
    for described in inputs:
        if described.type not in NUMBER_TYPES and described.type != TEXT_TYPE:
            raise ImportRefused(
                f"input {described.name!r} is a {described.type}; float, double, int or string is needed"
            )
        if len(described.shape) > 2 or (len(described.shape) == 2 and described.shape[1] not in {1, None}):  # noqa: PLR2004 - as above
            raise ImportRefused(
                f"input {described.name!r} is of shape {described.shape}; one value per row is needed: [N, 1]"
            )


def fill_features(types: Sequence[str], features: Sequence[FeatureSpec]) -> tuple[FeatureSpec, ...]:
    """The features with what the model needs to be fed: texts for missing and unseen values, checked codes.

    ``types`` are the input types in feature order. Raises `ImportRefused`.
    """
    coded = [f.name for f, kind in zip(features, types, strict=True) if _lacks_codes(f, kind)]
    if coded:
        raise ImportRefused(
            f"the features {_some(coded)} hold text, but the model takes numbers for them: say in --features FILE "
            f"which number stands for which text, like this: {EXAMPLE}"
        )
    return tuple(_filled(feature, kind) for feature, kind in zip(features, types, strict=True))


def _lacks_codes(feature: FeatureSpec, kind: str) -> bool:
    return feature.kind == "categorical" and kind != TEXT_TYPE and not feature.codes


def _filled(feature: FeatureSpec, kind: str) -> FeatureSpec:
    if kind == TEXT_TYPE:
        if feature.kind != "categorical":
            raise ImportRefused(
                f"the model takes text for {feature.name!r}, but the column holds numbers; in --features FILE say: "
                f"{{name: {feature.name}, kind: categorical}}"
            )
        missing = feature.missing if isinstance(feature.missing, str) else ""
        unseen = feature.unseen if isinstance(feature.unseen, str) else UNSEEN_TEXT
        return msgspec.structs.replace(feature, missing=missing, unseen=unseen)
    if feature.codes and len(feature.codes) != len(feature.vocabulary):
        counts = f"{len(feature.codes)} codes for {len(feature.vocabulary)} values"
        raise ImportRefused(f"feature {feature.name!r}: {counts} of the vocabulary; one code for each is needed")
    if isinstance(feature.missing, str) or isinstance(feature.unseen, str):
        raise ImportRefused(
            f"feature {feature.name!r}: the model takes a number, but missing or unseen is given as text"
        )
    if kind in INTEGER_TYPES and feature.missing is None:
        raise ImportRefused(
            f"feature {feature.name!r}: a whole-number input cannot take NaN; give a number for missing"
        )
    if feature.kind == "categorical" and feature.unseen is None:
        return msgspec.structs.replace(feature, unseen=-1.0)
    return feature


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")  # noqa: PLR2004 - fits a line
