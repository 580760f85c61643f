"""A candidate that was made elsewhere, put on trial: models of the trusted base are trained to compare it with.

All is in the terms of the last known good version (LKG): its features, vocabularies and classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from scipy.stats import binom

from detectors.batch import Bools, Ints, Scorer, Strings
from rollback.benign import Benign, BenignClassError, benign_class
from rollback.bundle import MODEL, Bundle
from rollback.gates.gate import Trial
from rollback.gates.pattern import pattern_of
from rollback.gates.requirements.labels_against_last_known_good import answers_about, cells
from rollback.gates.trial import Campaign, GateError, Suspect, undecided
from rollback.reference import ReferenceRows
from rollback.registry.registry import Buffer
from rollback.retraining.data import FEWEST_BASE, HELD_SHARE, as_rows, read_buffer
from rollback.retraining.live import read_live
from rollback.retraining.model import RESEEDS, Learner
from rollback.retraining.rehearsal import Rehearse, rehearse
from rollback.retraining.removed_values import removed_patterns
from rollback.retraining.vetting import covered
from rollback.sanitise.conformal import session_folds
from rollback.sanitise.rows import Fit, Progress, Rows, Sanitised, Slice
from rollback.sanitise.sanitise import SanitiseError, Settings, sanitise
from rollback.train.recipe import Device, recipe_names
from rollback.train.split import hold_out
from rollback.translate import Incompatible, scorer_in_terms_of

PARTS: Final = 3
DEFAULT: Final = "mlp"
ASKED: Final = 16
"""So many rows of each suspect are asked for."""
REPEATED: Final = -2
"""In place of an answer about a copy of an answered row: one answer does not count as many."""
FEW: Final = 1e-3
"""Contradicted rows are asked about where there are so many that this is their chance at most."""
BEYOND: Final = 1e-3
"""The stated rate at which rows that screens remove one by one hold a clean candidate."""
TREES: Final = (b"TreeEnsemble", "boosting")
"""An operator of ONNX by which a foreign model's family is known, and the recipe of that family."""


@dataclass(frozen=True, slots=True)
class Contenders:
    """Candidate and LKG with their training buffers, as far as they are known; ``live`` are recent labelled events."""

    candidate: Bundle
    lkg: Bundle
    buffer: Buffer | None = None
    known: Buffer | None = None
    holdout: Buffer | None = None
    live: Buffer | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """How to judge: ``answers`` {row id: true class} of a trusted labeller, ``recipe`` of the models of the base."""

    answers: Mapping[str, int] = field(default_factory=dict)
    recipe: str | None = None
    rehearse: int = 0
    seed: int = 0
    device: Device = "cpu"


@dataclass(frozen=True, slots=True)
class OnTrial:
    """The trial, the ids of rows that a person has to label first with the reason, and what is to be said of it."""

    trial: Trial
    asks: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]


def put_on_trial(versions: Contenders, asked: Asked, progress: Progress) -> OnTrial:
    """Train what the gate compares with, and look into the candidate's buffer.

    Raises `GateError`, `rollback.retraining.data.RetrainRefusedError`, `rollback.train.recipe.RecipeError` and
    `rollback.tables.table.TableError`.
    """
    candidate, lkg = _scorers(versions)
    rng = np.random.default_rng([asked.seed, 13])
    base, holdout = _trusted(versions, rng)
    recipe = asked.recipe or family(versions.candidate, versions.lkg)
    benign = _benign(versions, base)
    learner = Learner(versions.lkg.manifest, recipe, asked.seed, asked.device, progress)
    seeds = np.random.SeedSequence(asked.seed).generate_state(RESEEDS) % 2**31
    reseeds = [
        learner.fit(base, int(seed), f"training model {i + 1} of {RESEEDS} of the trusted base")
        for i, seed in enumerate(seeds)
    ]
    trial = Trial(
        candidate=candidate,
        lkg=lkg,
        reseeds=reseeds,
        holdout=holdout,
        canaries=versions.lkg.canaries(),
        live=None if versions.live is None else read_live(versions.live, versions.lkg),
        kin=versions.candidate.manifest.recipe.get("name") == recipe,
        lkg_kin=versions.lkg.manifest.recipe.get("name") == recipe,
        benign=base.schema.classes.index(benign.name),
    )
    remarks = [] if benign.remark is None else [benign.remark]
    remarks.append(
        f"what is noise is known from {RESEEDS} models of {len(base)} trusted rows, trained by recipe {recipe}"
    )
    if not trial.kin:
        remarks.append(
            "the candidate was not trained by that recipe: models of its own kind may differ by more or less"
        )
    if versions.buffer is None:
        return OnTrial(replace(trial, parts=_parts(base, learner.fit, rng, asked.seed)), (), tuple(remarks))
    return _with_buffer(trial, versions, asked, base, learner.fit, progress, remarks)


def _benign(versions: Contenders, base: Rows) -> Benign:
    """The class that lets things pass, as LKG's manifest or else the candidate's names it."""
    named = versions.lkg.manifest.named_benign or versions.candidate.manifest.named_benign
    try:
        return benign_class(named, base.y, base.schema.classes)
    except BenignClassError as error:
        raise GateError(str(error)) from error


def family(candidate: Bundle, lkg: Bundle) -> str:
    """The recipe of models like the candidate, as far as it is known: its own, that of trees, LKG's, else a network."""
    known = recipe_names()
    own = candidate.manifest.recipe.get("name")
    operator, trees = TREES
    if own is None and operator in candidate.files.get(MODEL, b""):
        own = trees
    return next((n for n in (own, lkg.manifest.recipe.get("name"), DEFAULT) if n in known), DEFAULT)


def _scorers(versions: Contenders) -> tuple[Scorer, Scorer]:
    schema = versions.lkg.schema
    candidate, lkg = versions.candidate.scorer(), versions.lkg.scorer()
    if candidate is None or lkg is None:
        which = versions.candidate if candidate is None else versions.lkg
        raise GateError(f"version {which.manifest.version} has no model: add it with tocsin registry add --onnx")
    try:
        return scorer_in_terms_of(schema, candidate, versions.candidate.schema), lkg
    except Incompatible as reason:
        raise GateError(f"the candidate cannot be compared with the last known good version: {reason}") from reason


def _trusted(versions: Contenders, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Rows to train on, and others to judge by: LKG's own buffer and reference, else parts of the reference."""
    schema, reference = versions.lkg.schema, versions.lkg.reference()
    empty = np.zeros(0, np.bool_)
    held: ReferenceRows | None = reference
    if versions.known is not None:
        base = as_rows(read_buffer(versions.known, versions.lkg.manifest.features, schema)[1], schema, "base")
    elif reference is not None:
        out = _held(as_rows(reference, schema, "base"), rng)
        labelled = reference.take(reference.y >= 0)
        base, held = as_rows(labelled.take(~out), schema, "base"), labelled.take(out)
    else:
        raise GateError(_no_base(versions, 0))
    if versions.holdout is not None:
        holdout = as_rows(read_buffer(versions.holdout, versions.lkg.manifest.features, schema)[1], schema, "holdout")
    else:
        holdout = as_rows(held, schema, "holdout") if held is not None else base.take(empty)
    if len(base) < FEWEST_BASE or len(np.unique(base.y)) < 2:  # noqa: PLR2004 - a classifier tells two classes apart
        raise GateError(_no_base(versions, len(base)))
    return base, holdout


def _held(rows: Rows, rng: np.random.Generator) -> Bools:
    return hold_out(rows.session, rows.y, int(HELD_SHARE * len(rows)), rng)


def _no_base(versions: Contenders, rows: int) -> str:
    return (
        f"there are {rows} trusted rows to train models to compare with, and at least {FEWEST_BASE} of two classes are "
        f"needed: version {versions.lkg.manifest.version} needs a training buffer or a larger reference (registry add)"
    )


def _parts(base: Rows, fit: Fit, rng: np.random.Generator, seed: int) -> list[Scorer]:
    fold = session_folds(base, PARTS, rng)
    return [fit(base.take(fold != k), seed + k) for k in range(PARTS)]


def _with_buffer(
    trial: Trial, versions: Contenders, asked: Asked, base: Rows, fit: Fit, progress: Progress, remarks: list[str]
) -> OnTrial:
    """The same trial with what screens find among the rows of the buffer that are not in the base."""
    assert versions.buffer is not None  # noqa: S101 - checked by the caller
    _, read, ids = read_buffer(versions.buffer, versions.lkg.manifest.features, versions.lkg.schema)
    ids = ids[read.y >= 0]
    rows = as_rows(read, versions.lkg.schema, "buffer")
    fresh = _not_in(rows, base)
    remarks.append(f"{fresh.sum()} of {len(fresh)} labelled rows of the buffer are not in the trusted base")
    return screened(trial, base, rows.take(fresh), ids[fresh], fit, asked, progress, remarks)


def screened(
    trial: Trial,
    base: Rows,
    rows: Rows,
    ids: Strings,
    fit: Fit,
    asked: Asked,
    progress: Progress,
    remarks: Sequence[str] = (),
) -> OnTrial:
    """The trial with what screens find among ``rows`` (with their ``ids``), which nobody has sanitised."""
    remarks = list(remarks)
    if not len(rows):
        parts = _parts(base, fit, np.random.default_rng([asked.seed, 17]), asked.seed)
        return OnTrial(replace(trial, parts=parts, suspects=()), (), tuple(remarks))
    schema = base.schema
    named = None if trial.benign is None else schema.classes[trial.benign]
    benign = benign_class(named, base.y, schema.classes).name
    try:
        found = sanitise(
            base, rows, fit, seed=asked.seed, hint=None, progress=progress, settings=Settings(benign=benign)
        )
    except SanitiseError as reason:
        remarks.append(f"the buffer cannot be screened: {reason}")
        return OnTrial(replace(trial, buffer=rows), (), tuple(remarks))
    told = _told(asked.answers, ids)
    suspects, asks, theirs = _suspects(found, rows, ids, told, asked.seed)
    campaigns: tuple[Campaign, ...] = ()
    if asked.rehearse:
        pipeline = Rehearse(base, rows.take(~found.removed), trial.holdout, fit, sanitise, benign)
        campaigns = rehearse(pipeline, asked.rehearse, asked.seed, progress)
    rest = rows.take(~theirs)
    trial = replace(trial, parts=found.base_scorers, suspects=suspects, campaigns=campaigns)
    trial = replace(trial, buffer=rest, told=told[~theirs])
    trial = replace(trial, removed_values=removed_patterns(found.removed, found.base_scorers, base, rows))
    asks += contradicted(trial, ids[~theirs])
    return OnTrial(trial, tuple(asks), (*remarks, *found.remarks))


def _told(answers: Mapping[str, int], ids: Strings) -> Ints:
    """What was answered about each row: of rows that repeat an id one alone counts, the others are `REPEATED`."""
    told = np.array([answers.get(ident, -1) for ident in ids.tolist()], np.int64)
    again = np.ones(len(ids), np.bool_)
    again[np.unique(ids, return_index=True)[1]] = False
    return np.where(again & (told >= 0), REPEATED, told)


def _not_in(rows: Rows, base: Rows) -> Bools:
    """Which rows differ from all of the base: whoever copies a trusted row with its label teaches nothing new."""

    def keys(r: Rows) -> list[bytes]:
        table = np.ascontiguousarray(np.column_stack([r.x, r.y]) + 0.0)
        return [row.tobytes() for row in table]

    known = set(keys(base))
    return np.array([key not in known for key in keys(rows)], np.bool_)


def _suspects(
    found: Sanitised, rows: Rows, ids: Strings, told: Ints, seed: int
) -> tuple[tuple[Suspect, ...], list[tuple[str, str]], Bools]:
    """Every slice that was found, which of its rows have to be labelled, and all rows of slices.

    Slices without values come last: they have what screens remove of their source and label besides. Of clean-label
    poison whose values nothing names that is all there is to see.
    """
    rng = np.random.default_rng([seed, 19])
    suspects: list[Suspect] = []
    asks: list[tuple[str, str]] = []
    theirs = np.zeros(len(rows), np.bool_)
    slices = (s for s in found.slices if not s.kept)
    for i, piece in enumerate(sorted(slices, key=lambda s: (not s.valued, -s.rows)), start=1):
        label = rows.schema.classes.index(piece.label)
        own = covered(piece, rows) & (rows.y == label)
        if not piece.valued:
            own &= found.removed & ~theirs
        if not own.any():
            continue
        theirs |= own
        answered = own & (told >= 0)
        name = f"slice_{i}"
        values = piece.shared or piece.features
        pattern = pattern_of(name, values, label, rows.schema, rows.x) if piece.valued else None
        false = int(np.count_nonzero(answered & (told != label)))
        suspects.append(Suspect(name, int(own.sum()), describe(piece), pattern, int(answered.sum()), false, label))
        if suspects[-1].open:
            asks += _asks(own, told, ids, f"may be poison or a new family: {suspects[-1].what}", rng)
    for label in np.unique(rows.y).tolist():
        suspect = _beyond_chance(found, rows, told, label, theirs)
        if suspect is not None:
            suspects.append(suspect)
            own = found.removed & (rows.y == label) & ~theirs
            asks += _asks(own, told, ids, f"may be poison or new: {suspect.what}", rng) if suspect.open else []
    return tuple(suspects), asks, theirs


def _beyond_chance(found: Sanitised, rows: Rows, told: Ints, label: int, theirs: Bools) -> Suspect | None:
    """The rows of one label that screens remove one by one, where they are more than these remove of clean rows.

    Null: a session is removed with at most the sum of the screens' stated rates, times its mean number of rows.
    """
    among = (rows.y == label) & ~theirs
    own = among & found.removed
    sessions, hit = len(np.unique(rows.session[among])), len(np.unique(rows.session[own]))
    if not hit:
        return None
    rate = min(sum(found.error_rate.values()) * np.count_nonzero(among) / sessions, 1.0)
    if float(binom.sf(hit - 1, sessions, rate)) > BEYOND / len(rows.schema.classes):
        return None
    name = rows.schema.classes[label]
    what = f"labelled {name}; screens remove {hit} of {sessions} sessions, about {rate * sessions:.0f} were expected"
    answered = own & (told >= 0)
    false = int(np.count_nonzero(answered & (told != label)))
    return Suspect(f"rows_{name}", int(own.sum()), what, None, int(answered.sum()), false, label)


def contradicted(trial: Trial, ids: Strings) -> list[tuple[str, str]]:
    """Rows of the trial's buffer (with their ``ids``) that are contradicted most of all, to be labelled.

    Of those that answers have not settled yet.
    """
    still = [cell for cell in cells(trial) if cell.p <= FEW and undecided(*answers_about(cell, trial))]
    worst = min(still, key=lambda cell: cell.weighed, default=None)
    if worst is None:
        return []
    rng = np.random.default_rng(len(ids))
    own = np.zeros(len(ids), np.bool_)
    own[worst.at] = True
    return _asks(own, trial.told, ids, f"its label contradicts models of the trusted base: {worst.what}", rng)


def _asks(among: Bools, told: Ints, ids: Strings, why: str, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Some of the rows that have no answer yet; all rows with one count as asked."""
    left = max(ASKED - int(np.count_nonzero(among & (told >= 0))), 0)
    rows = rng.permutation(np.flatnonzero(among & (told == -1)))[:left]
    return [(str(ids[row]), why) for row in np.sort(rows)]


def describe(piece: Slice) -> str:
    """The values of a slice in words."""
    values: Mapping[str, Any] = piece.core or piece.features
    where = "" if piece.source is None else f" from {piece.source}"
    what = ", ".join(f"{name} = {value}" for name, value in values.items()) or "what screens remove besides"
    return f"labelled {piece.label}{where}: {what}"
