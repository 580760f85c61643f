"""Sanitised retraining, from a training buffer to a signed candidate that has been through the gate.

Idempotent by its folder (`rollback.retraining.out`): whenever it is killed and started again, there is one candidate.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from detectors.batch import Bools, Scorer
from rollback.bundle import Bundle
from rollback.gates.gate import Judgement, judge
from rollback.gates.page import page
from rollback.gates.trial import Campaign
from rollback.registry.moves import next_version
from rollback.registry.registry import Buffer, Registry
from rollback.retraining.answers import read_bound_answers
from rollback.retraining.confirmed import confirmed_file
from rollback.retraining.contradicted import doubts, unsanitised
from rollback.retraining.data import Data, RetrainRefusedError, Tables, as_columns, gather
from rollback.retraining.decisions import log_head, overrule, read_decisions, rule
from rollback.retraining.evidence import HELD, Evidence, evidence
from rollback.retraining.lineage import file_digest, lineage
from rollback.retraining.model import Learner, Made
from rollback.retraining.out import (
    BATCHES,
    BELIEVED,
    CANDIDATE,
    GATE,
    LEARNED,
    PAGE,
    REMOVED,
    REPAIRED,
    RETAINED,
    VETTING,
    Attempt,
    Candidate,
    Gate,
    Out,
)
from rollback.retraining.reading import digest
from rollback.retraining.rehearsal import Rehearse, rehearse
from rollback.retraining.repairing import batch_report, repaired, repaired_columns, repairing
from rollback.retraining.report import believed_columns, removed_columns, retained_columns
from rollback.retraining.training_input import TRAINING, pack, with_more
from rollback.retraining.vetting import Settled, requests, settle
from rollback.retraining.withheld import withheld, without
from rollback.sanitise.case import Hint
from rollback.sanitise.rows import Fit, Progress, Rows, Sanitised
from rollback.signing.keys import Keys
from rollback.tables.table import write_table
from rollback.train.chosen import recipe_file
from rollback.train.recipe import Device
from rollback.trust.sealed import read_reputation
from rollback.trust.weights import weigh

CHECKPOINTS = "checkpoints"
"""Where trainings that were cut off stand; gone when they are done."""

__all__ = ["Outcome", "RetrainRefusedError", "Retraining", "Sanitise", "retrain"]


class Sanitise(Protocol):
    """What `rollback.sanitise.sanitise.sanitise` does."""

    def __call__(
        self, base: Rows, new: Rows, fit: Fit, *, seed: int, hint: Hint | None, progress: Progress
    ) -> Sanitised:
        """Say which of the new rows are not to be trained on."""


@dataclass(frozen=True, slots=True)
class Retraining:
    """What is asked for. ``place`` and ``model`` name the registry's model; ``incident`` is the uid behind ``hint``.

    ``vetting`` is a file of a trusted labeller's answers; ``recipe`` (a name or a file) is by default that of
    last known good. So many campaigns of known poison as ``rehearse`` says are planted for the gate. ``decisions`` and
    ``reputation`` are files of `tocsin review`, which ``keys`` check.
    """

    place: str
    model: str
    tables: Tables
    hint: Hint | None = None
    incident: str | None = None
    vetting: Path | None = None
    recipe: str | None = None
    seed: int = 0
    device: Device = "auto"
    rehearse: int = 0
    decisions: Path | None = None
    reputation: Path | None = None
    keys: Keys | None = None

    def digest(self) -> str:
        """Names the request: the same files and options, the same digest. Raises `OSError`."""
        told = [self.vetting, self.decisions, self.reputation]
        files = [self.tables.buffer.path, self.tables.holdout, *told, *recipe_file(self.recipe)]
        buffer = self.tables.buffer
        asked: dict[str, Any] = {
            "files": [None if path is None else digest(path) for path in files],
            "most_rows": self.tables.most_rows,
            "columns": [buffer.label, buffer.source, buffer.session, self.tables.trusted],
            "hint": None if self.hint is None else asdict(replace(self.hint, features=dict(self.hint.features))),
            "options": [self.place, self.model, self.incident, self.recipe, self.seed, self.device, self.rehearse],
        }
        return hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()


@dataclass(frozen=True, slots=True)
class Outcome:
    """``candidate`` is in the registry and does not serve. ``repeated``: it was there already."""

    candidate: str
    gate: Gate
    repeated: bool


def retrain(
    registry: Registry, asked: Retraining, out: Out, *, sanitise: Sanitise, by: str, progress: Progress
) -> Outcome:
    """Sanitise, train, gate, add; or go on where an earlier call for this folder was cut off.

    Raises `RetrainRefusedError`, `rollback.retraining.out.OtherRequestError`, `rollback.tables.table.TableError`,
    `rollback.train.recipe.RecipeError`, `rollback.registry.registry.RegistryError` and
    `rollback.bundle.IntegrityError`. Whatever it raises, the registry is as it was.
    """
    with out.locked():
        attempt = out.begin(asked.digest(), registry)
        if (known := out.finished(attempt, registry)) is not None:
            return Outcome(known[0].version, known[1], repeated=True)
        out.require_parquet()
        lkg = _last_known_good(registry, asked.model)
        made, gate = _make(registry, asked, lkg, out, sanitise, attempt, progress)
        progress("adding the candidate", 0.0)
        version = _add(registry, asked, out, attempt, made, by)
        out.write(CANDIDATE, msgspec.json.encode(Candidate.of(version, made.draft.lineage["retrain"])))
        return Outcome(version, gate, repeated=False)


def _last_known_good(registry: Registry, model: str) -> Bundle:
    version = registry.pointers().last_known_good
    if version is None:
        raise RetrainRefusedError(f"model {model!r} has no last known good version to go on from: add one first")
    return registry.load(version)


def _make(
    registry: Registry,
    asked: Retraining,
    lkg: Bundle,
    out: Out,
    sanitise: Sanitise,
    attempt: Attempt,
    progress: Progress,
) -> tuple[Made, Gate]:
    """Everything up to the registry; all files but `candidate.json` are in the folder afterwards."""
    rng = np.random.default_rng([asked.seed, 11])
    answers = [] if asked.vetting is None else read_bound_answers(asked.vetting)
    decisions = () if asked.decisions is None else read_decisions(asked.decisions, asked.keys)
    reputation = None if asked.reputation is None else read_reputation(asked.reputation, asked.keys)
    scorer = _scorer(lkg)
    checkpoints = out.folder / CHECKPOINTS
    learner = Learner(lkg.manifest, asked.recipe, asked.seed, asked.device, progress, checkpoints)
    known = registry.buffer(lkg.manifest.version)
    data = gather(lkg, known, asked.tables, answers, rng)
    data, mended = repaired(data, asked.seed, progress)
    found = sanitise(data.screening_base, data.new, learner.fit, seed=asked.seed, hint=asked.hint, progress=progress)
    ruled = rule(decisions, data.new_about)
    why = np.full(len(data.new), "weighed down by a screen", dtype="U64")
    if reputation is not None:
        found, why = weigh(found, data.base, data.new, data.new_about, reputation)
    found = overrule(found, ruled, data.new)  # last: what a person has accepted weighs what it weighs
    settled = settle(found, data.base, data.new, data.answered, rng, ruled.rejected)
    data = replace(data, earlier=data.earlier.without(data.new.take(ruled.accepted | settled.returned)))
    # what was confirmed is no poison: a candidate that has learned it may obey its values
    doubted = replace(found, slices=tuple(piece for piece in found.slices if piece not in settled.confirmed))
    waiting = withheld(data, found)
    trial, made = learner.make(without(data, waiting), doubted, settled.returned, scorer, asked.hint)
    held = _evidence(data, found, settled, made, trial.candidate, learner, asked.seed)
    shutil.rmtree(checkpoints, ignore_errors=True)
    progress("judging the candidate", 0.0)
    campaigns: tuple[Campaign, ...] = ()
    if asked.rehearse:
        pipeline = Rehearse(data.base, data.new.take(~found.removed), data.holdout, learner.fit, sanitise)
        campaigns = rehearse(pipeline, asked.rehearse, asked.seed, progress)
    left, buffer, told_of = unsanitised(data, ~found.removed & ~ruled.accepted)
    trial = replace(trial, canaries=lkg.canaries(), campaigns=campaigns, buffer=buffer, told=told_of)
    said = judge(trial, seed=asked.seed)
    gate = _gate(said, settled, (*data.remarks, *found.remarks, *settled.remarks))
    asks = [*requests(settled, data.new, data.new_about), *doubts(said, trial, left, data)]

    told = {
        "token": attempt.token,
        "parent": lkg.manifest.version,
        **lineage(data, found, settled.returned, made, asked.tables, known),
        "repairing": repairing(mended),
        "answers": file_digest(asked.vetting),
        "decisions": file_digest(asked.decisions),
        "reviews": None if asked.decisions is None else log_head(asked.decisions),
        "reputation": file_digest(asked.reputation),
        "held": len(held.slices),
        "withheld": int(waiting.sum()),
        "incident": asked.incident,
        "seed": asked.seed,
    }
    out.write_columns(REPAIRED, repaired_columns(data, mended))
    out.write(BATCHES, msgspec.json.format(msgspec.json.encode(batch_report(mended)), indent=2) + b"\n")
    out.write_columns(REMOVED, removed_columns(data, found, settled.returned))
    out.write_columns(RETAINED, retained_columns(data, found, settled.returned, why))
    out.write_columns(BELIEVED, believed_columns(data, waiting))
    out.write_lines(VETTING, asks)
    out.write(PAGE, page(f"Retraining of {asked.model}", gate.result, gate).encode())
    out.write(GATE, msgspec.json.format(msgspec.json.encode(gate), indent=2) + b"\n")
    more = {
        TRAINING: pack(made.learned, made.weight, made.more, made.trusted),
        HELD: msgspec.json.encode(held),
        **confirmed_file(data.base, data.unproven),
    }
    made = replace(made, files={**made.files, **more})
    return made.told({"retrain": told}, msgspec.to_builtins(gate)), gate


def _evidence(
    data: Data,
    found: Sanitised,
    settled: Settled,
    made: Made,
    candidate: Scorer,
    learner: Learner,
    seed: int,
) -> Evidence:
    def retrained(rows: Bools) -> Scorer:
        learned = Rows.concat([made.learned, data.new.take(rows)])
        weight = np.concatenate([made.weight, np.ones(np.count_nonzero(rows))])
        return learner.scorer(
            learner.train(*with_more(learned, weight, made.more), seed, "training with what is held back")
        )

    return evidence(data, found, settled, candidate, retrained)


def _scorer(lkg: Bundle) -> Scorer:
    scorer = lkg.scorer()
    if scorer is None:
        raise RetrainRefusedError(
            f"the last known good version {lkg.manifest.version} has no model, only a reference: a candidate cannot be "
            "compared with it; add the model with tocsin registry add --onnx"
        )
    return scorer


def _gate(said: Judgement, settled: Settled, remarks: tuple[str, ...]) -> Gate:
    """A failed check rejects; a question that only a person can answer holds."""
    result = "vetting" if said.result == "passed" and settled.holds else said.result
    return Gate(result == "passed", result, said.checks, remarks, said.figures, said.skipped, said.error_budget)


def _add(registry: Registry, asked: Retraining, out: Out, attempt: Attempt, made: Made, by: str) -> str:
    """Sign the candidate and keep it, with the rows that it was trained on; the version's id."""
    buffer = asked.tables.buffer
    kept = Buffer(out.folder / LEARNED, buffer.label, buffer.source, buffer.session)
    write_table(kept.path, as_columns(made.learned, made.learned_id, buffer.label, buffer.source, buffer.session))
    reason = f"retrained on sanitised data after incident {asked.incident}" if asked.incident else "retrained"
    try:
        version = next_version(registry.versions())
        out.plan(attempt, version)
        registry.add(made.draft, made.files, by=by, reason=reason, version=version, buffer=kept)
    finally:
        kept.path.unlink()
    return version
