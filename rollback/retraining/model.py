"""The trainings of a retraining: models of the trusted base to compare with, and the candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from safetensors.numpy import save

from detectors.batch import Bools, Floats, Scorer, Strings
from rollback.bundle import MODEL, REFERENCE, with_canaries
from rollback.gates.gate import Pattern, Trial
from rollback.gates.pattern import pattern_of
from rollback.manifest import Draft, Manifest
from rollback.reference import ReferenceRows
from rollback.retraining.data import Data, RetrainRefusedError
from rollback.retraining.training_input import with_more
from rollback.retraining.unlearned import joined
from rollback.sanitise.case import Hint
from rollback.sanitise.rows import Progress, Rows, Sanitised, Slice
from rollback.scorer import OnnxScorer
from rollback.train.bounds import bounds_of
from rollback.train.chosen import choose, chosen_of
from rollback.train.metrics import evaluate
from rollback.train.recipe import Device, Trained, TrainingRows
from rollback.train.version import WEIGHTS

RESEEDS: Final = 8
"""So many models of the trusted base alone say what is noise."""
MOST_PATTERNS: Final = 3
"""So many slices are tried on the candidate, besides what the incident names."""


@dataclass(frozen=True, slots=True)
class Made:
    """A candidate that is in no registry yet; ``learned`` are its rows without the counterexamples, with their ids.

    ``weight`` [n] is that of the learned rows; early stopping looks at the ``trusted`` [n] ones, which are those of the
    base without answered ones: rows that were asked about are the odd ones, and say little of the others. ``more`` are
    the counterexamples.
    """

    draft: Draft
    files: dict[str, bytes]
    learned: Rows
    learned_id: Strings
    weight: Floats
    more: Rows | None
    trusted: Bools

    def told(self, lineage: Mapping[str, Any], gate: Mapping[str, Any]) -> Made:
        """The same with its history and what the gate said of it."""
        return replace(self, draft=msgspec.structs.replace(self.draft, lineage=dict(lineage), gate=dict(gate)))


class Learner:
    """Trains in the terms of one schema with one recipe. Raises `RetrainRefusedError` and `RecipeError`.

    A training that was cut off goes on from what it left in the folder ``checkpoints``, if any.
    """

    def __init__(
        self,
        lkg: Manifest,
        recipe: str | None,
        seed: int,
        device: Device,
        progress: Progress,
        checkpoints: Path | None = None,
    ) -> None:
        if recipe is None and "name" not in lkg.recipe:
            raise RetrainRefusedError(
                f"version {lkg.version} was not trained by Tocsin, so that its recipe is not known: say with --recipe "
                "how to train (--recipe mlp trains a small neural network in its place)"
            )
        if lkg.score_kind != "simplex":
            raise RetrainRefusedError(
                f"version {lkg.version} gives independent scores; recipes train simplex ones only"
            )
        self._recipe = chosen_of(lkg.recipe, lkg.version) if recipe is None else choose(recipe)
        self._lkg_kin = self._recipe.name == lkg.recipe.get("name")
        self._seed = seed
        self._device = device
        self._progress = progress
        self._checkpoints = checkpoints
        # the network handles missing and unseen values itself
        features = tuple(msgspec.structs.replace(f, missing=None, codes=(), unseen=None) for f in lkg.features)
        self._draft = Draft(classes=lkg.classes, features=features, parent=lkg.version)

    def fit(self, rows: Rows, seed: int, what: str | None = None) -> Scorer:
        """A model of these rows; ``what`` is shown as it goes on."""
        return self.scorer(self.train(rows, None, seed, what))

    def make(self, data: Data, found: Sanitised, returned: Bools, lkg: Scorer, hint: Hint | None) -> tuple[Trial, Made]:
        """The candidate, and all that the gate needs to judge it."""
        kept = ~found.removed | returned
        learned = Rows.concat([data.base, data.new.take(kept)])
        weight = np.concatenate([np.ones(len(data.base)), np.where(returned, 1.0, found.weight)[kept]])
        usual = np.ones(len(data.base), np.bool_) if data.unproven is None else ~data.unproven
        trusted = np.concatenate([usual, np.zeros(len(learned) - len(usual), np.bool_)])
        more = joined([found.counterexamples, data.earlier.counterexamples(data.base, self._seed)])
        trained = self.train(*with_more(learned, weight, more), self._seed, "training the candidate", trusted)
        draft = self._draft_of(trained)
        if data.benign.named:
            draft = msgspec.structs.replace(draft, benign=data.benign.name)
        draft = msgspec.structs.replace(draft, metrics=_metrics(self.scorer(trained), data.reference, draft.classes))
        files = {MODEL: trained.model, WEIGHTS: save(trained.weights), REFERENCE: data.reference.to_npz()}

        patterns = _patterns(data, found.slices, hint)
        probe = None
        if found.counterexamples is not None and patterns:
            probe = self.scorer(self.train(learned, weight, self._seed, "training without counterexamples", trusted))
        trial = Trial(
            candidate=self.scorer(trained),
            lkg=lkg,
            reseeds=[self._reseed(data.base, i) for i in range(RESEEDS)],
            holdout=data.holdout,
            parts=found.base_scorers,
            patterns=[*patterns, *_earlier(data)],
            answers=trained.answers,
            probe=probe,
            held_back=_patterns(data, found.held_back, None, "held_back"),
            lkg_kin=self._lkg_kin,
            benign=data.schema.classes.index(data.benign.name),
        )
        ids = np.concatenate([data.base_id, data.new_id[kept]])
        return trial, Made(draft, with_canaries(draft, files), learned, ids, weight, more, trusted)

    def _reseed(self, base: Rows, index: int) -> Scorer:
        seed = int(np.random.SeedSequence([self._seed, index]).generate_state(1)[0] % 2**31)
        what = f"training model {index + 1} of {RESEEDS} of the trusted base"
        return self.scorer(self.train(base, None, seed, what))

    def train(
        self, rows: Rows, weight: Floats | None, seed: int, what: str | None = None, trusted: Bools | None = None
    ) -> Trained:
        """Train on rows that weigh so much (None: all alike); ``what`` is shown as it goes on.

        Early stopping looks at ``trusted`` rows (of the first ones; those behind are not) alone.
        """

        def told(done: int, most: int, _: float) -> None:
            if what is not None:
                self._progress(what, done / most)

        if trusted is not None:
            trusted = np.concatenate([trusted, np.zeros(len(rows) - len(trusted), dtype=np.bool_)])
        bounds = bounds_of(self._draft.features)
        training = TrainingRows(rows.schema, rows.x, rows.y, rows.session, weight, trusted, bounds)
        kept = None if what is None else self._checkpoints  # fits of screens are many and quick
        return self._recipe.train(training, seed=seed, device=self._device, progress=told, checkpoints=kept)

    def scorer(self, trained: Trained) -> Scorer:
        """The trained model, ready to score rows as the schema codes them."""
        return OnnxScorer(trained.model, self._draft_of(trained).manifest("", "", ""))

    def _draft_of(self, trained: Trained) -> Draft:
        features = trained.features or self._draft.features
        return msgspec.structs.replace(
            self._draft, onnx=trained.onnx, features=features, recipe=self._recipe_of(trained)
        )

    def _recipe_of(self, trained: Trained) -> dict[str, Any]:
        return {
            "name": self._recipe.name,
            "seed": self._seed,
            "device": self._device,
            "parameters": dict(trained.settings),
            "figures": dict(trained.figures),
        }


def _metrics(scorer: Scorer, reference: ReferenceRows, classes: tuple[str, ...]) -> dict[str, float]:
    known = reference.take(reference.y >= 0)
    if not len(known):
        return {}
    return {f"reference_{name}": value for name, value in evaluate(scorer(known.x), known.y, classes).items()}


def _patterns(data: Data, slices: Sequence[Slice], hint: Hint | None, name: str = "slice") -> list[Pattern]:
    """What was found in the removed rows, the largest slices first, and what the incident names."""
    classes = data.schema.classes
    largest = sorted((s for s in slices if s.valued and not s.kept), key=lambda s: -s.rows)[:MOST_PATTERNS]
    wanted = [(f"{name}_{i + 1}", s.shared or s.features, classes.index(s.label)) for i, s in enumerate(largest)]
    if hint is not None and hint.features:
        labels = [hint.label] if hint.label in classes else classes
        names = ["incident"] if len(labels) == 1 else [f"incident.{label}" for label in labels]
        wanted += [(n, hint.features, classes.index(label)) for n, label in zip(names, labels, strict=True)]
    made = [pattern_of(name, features, target, data.schema, data.new.x) for name, features, target in wanted]
    return [pattern for pattern in made if pattern is not None]


def _earlier(data: Data) -> list[Pattern]:
    """The patterns of earlier rounds, which no candidate may obey again."""
    classes = data.schema.classes
    made = [
        pattern_of(f"earlier_{i + 1}", one.features, classes.index(one.label), data.schema, data.base.x)
        for i, one in enumerate(data.earlier.patterns)
        if one.label in classes
    ]
    return [pattern for pattern in made if pattern is not None]
