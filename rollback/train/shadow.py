"""A shadow model: learned from one half of a vetted reference, to stand in where no version is known to be good.

The first version of a model serves and is last known good, because nobody says otherwise: compared with itself, it
never disagrees. A shadow knows less (one half of the reference, another recipe), but whoever poisoned the version's
training did not poison the reference. The other half is the shadow's own reference: a model that is compared on rows
that it has learned looks better than it is, and honest events would look like an attack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from detectors.batch import Bools, Strings
from rollback.bundle import MODEL, REFERENCE, Bundle, ReferenceRows, with_canaries
from rollback.manifest import Draft
from rollback.scorer import OnnxScorer
from rollback.train.bounds import bounds_of
from rollback.train.chosen import choose
from rollback.train.metrics import evaluate
from rollback.train.recipe import Device, Progress, TrainingRows
from rollback.train.split import hold_out

HELD_OUT: Final = 0.5
FEWEST_ROWS: Final = 400
FEWEST_SESSIONS: Final = 200


class ShadowError(Exception):
    """No shadow can be learned from this version's reference; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Shadow:
    """A version that is in no registry yet, with figures about it on its own reference.

    ``agreement`` is how often it gives the class that the version gives; NaN where that has no model.
    """

    draft: Draft
    files: dict[str, bytes]
    learned: int
    held_out: int
    agreement: float


def shadow_of(bundle: Bundle, *, recipe: str, seed: int, device: Device, progress: Progress) -> Shadow:
    """Learn a shadow of a version from its reference. The same bundle and seed give the same one (on a CPU).

    Raises `ShadowError`, and `rollback.train.recipe.RecipeError` where the recipe cannot be used.
    """
    rows, session = _usable(bundle)
    held = hold_out(session, rows.y, int(HELD_OUT * len(rows)), np.random.default_rng(seed))
    _require_classes(bundle, rows, held)
    manifest = bundle.manifest
    draft = Draft(
        classes=manifest.classes,
        features=tuple(msgspec.structs.replace(f, missing=None, codes=(), unseen=None) for f in manifest.features),
        parent=manifest.version,
        benign=manifest.benign,
        lineage={"shadow": {"of": manifest.version, "learned": int((~held).sum()), "reference": int(held.sum())}},
    )
    schema = draft.manifest("", "", "").schema
    learned = rows.take(~held)
    how = choose(recipe)
    trained = how.train(
        TrainingRows(schema, learned.x, learned.y, session[~held], bounds=bounds_of(draft.features)),
        seed=seed,
        device=device,
        progress=progress,
    )
    reference = rows.take(held)
    draft = msgspec.structs.replace(
        draft,
        onnx=trained.onnx,
        features=trained.features or draft.features,
        recipe={"name": how.name, "seed": seed, "parameters": dict(trained.settings)},
    )
    scores = OnnxScorer(trained.model, draft.manifest("", "", ""))(reference.x)
    figures = evaluate(scores, reference.y, draft.classes)
    draft = msgspec.structs.replace(draft, metrics={f"reference_{name}": v for name, v in figures.items()})
    score = bundle.scorer()
    same = np.nan if score is None else float(np.mean(score(reference.x).argmax(axis=1) == scores.argmax(axis=1)))
    files = with_canaries(draft, {MODEL: trained.model, REFERENCE: reference.to_npz()})
    return Shadow(draft, files, len(learned), len(reference), same)


def _usable(bundle: Bundle) -> tuple[ReferenceRows, Strings]:
    """The labelled rows of the reference and their sessions, where a row without one is its own."""
    where = f"version {bundle.manifest.version} of {bundle.manifest.name}"
    if bundle.manifest.score_kind != "simplex":
        raise ShadowError(f"{where}: its classes do not exclude each other, and no recipe learns such a model yet")
    if bundle.manifest.shadow is not None:
        raise ShadowError(f"{where} is a shadow itself, of version {bundle.manifest.shadow}")
    rows = bundle.reference()
    if rows is None:
        raise ShadowError(f"{where} has no reference to learn from; add one with: tocsin registry add --reference")
    rows = rows.take(rows.y >= 0)
    alone = np.char.add("\0row ", np.arange(len(rows)).astype(np.str_))
    own = np.char.add(np.char.add(rows.source, "/"), rows.session)
    session = np.where(rows.session == "", alone, own)
    sessions = len(np.unique(session))
    if len(rows) < FEWEST_ROWS or sessions < FEWEST_SESSIONS:
        raise ShadowError(
            f"{where}: its reference has {len(rows)} labelled rows in {sessions} sessions; at least {FEWEST_ROWS} in "
            f"{FEWEST_SESSIONS} are needed: capture more with tocsin reference capture, and have them labelled"
        )
    return rows, session


def _require_classes(bundle: Bundle, rows: ReferenceRows, held: Bools) -> None:
    for i, name in enumerate(bundle.manifest.classes):
        own = rows.y == i
        if not (own & held).any() or not (own & ~held).any():
            raise ShadowError(
                f"version {bundle.manifest.version}: class {name!r} is in {int(own.sum())} rows of too few sessions: a "
                "shadow needs it in both halves of the reference"
            )
