"""Two versions of one model may code and order columns differently: inputs and scores in the other's terms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from detectors.batch import Floats, Scorer
from detectors.schema import UNSEEN, Feature, Schema


class Incompatible(Exception):  # noqa: N818 - it names a finding as much as a failure
    """Two schemas cannot be compared: other features or other classes."""


def _column(source: Feature, target: Feature) -> Callable[[Floats], Floats]:
    """Codes of ``source`` as codes of ``target``; numbers stay as they are."""
    if target.kind != "categorical" or source.vocabulary == target.vocabulary:
        return lambda values: values
    position = {word: float(i) for i, word in enumerate(target.vocabulary)}
    table = np.array([*(position.get(word, UNSEEN) for word in source.vocabulary), UNSEEN])

    def recode(values: Floats) -> Floats:
        missing = np.isnan(values)
        codes = np.where(missing, UNSEEN, values).astype(np.int64)
        return np.where(missing, np.nan, table[codes])  # UNSEEN is -1: the table's last entry

    return recode


def translate(source: Schema, target: Schema) -> Callable[[Floats], Floats]:
    """A function that takes x[n,d] coded by ``source`` to x coded by ``target``.

    Raises `Incompatible` where the features' names or kinds differ.

    >>> a = Schema((Feature("bytes"), Feature("service", "categorical", ("http", "dns"))), ("benign", "attack"))
    >>> b = Schema((Feature("service", "categorical", ("dns", "http")), Feature("bytes")), ("benign", "attack"))
    >>> translate(a, b)(np.array([[10.0, 0.0], [20.0, UNSEEN]])).tolist()
    [[1.0, 10.0], [-1.0, 20.0]]
    """
    if source == target:
        return lambda x: x
    by_name = {feature.name: i for i, feature in enumerate(source.features)}
    missing = sorted(set(target.names) ^ set(source.names))
    if missing:
        raise Incompatible(f"features differ between the versions: {', '.join(missing[:5])}")
    picks = []
    for feature in target.features:
        origin = source.features[by_name[feature.name]]
        if (origin.kind == "categorical") != (feature.kind == "categorical"):
            raise Incompatible(
                f"feature {feature.name} is {origin.kind} in one version and {feature.kind} in the other"
            )
        picks.append((by_name[feature.name], _column(origin, feature)))

    def apply(x: Floats) -> Floats:
        return np.column_stack([recode(x[:, i]) for i, recode in picks])

    return apply


def scorer_in_terms_of(schema: Schema, scorer: Scorer, own: Schema) -> Scorer:
    """``scorer``, whose model is described by ``own``, as a function of x and classes as in ``schema``.

    Raises `Incompatible` where features or classes differ.
    """
    if set(own.classes) != set(schema.classes):
        raise Incompatible(f"classes differ between the versions: {list(schema.classes)} and {list(own.classes)}")
    inward = translate(schema, own)
    columns = [own.classes.index(name) for name in schema.classes]
    if own == schema:
        return scorer
    return lambda x: scorer(inward(x))[:, columns]
