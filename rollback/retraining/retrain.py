"""Sanitised retraining, from a training buffer to a signed candidate that has been through the gate.

Idempotent by its folder (`rollback.retraining.out`): whenever it is killed and started again, there is one candidate.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from detectors.batch import Bools, Scorer
from rollback.bundle import Bundle
from rollback.gates.trial import Campaign
from rollback.registry.moves import next_version
from rollback.registry.registry import Buffer, Registry
from rollback.retraining.data import RetrainRefusedError, Tables, as_columns, gather
from rollback.retraining.decisions import log_head
from rollback.retraining.evidence import HELD, Evidence, evidence
from rollback.retraining.judging import doubted, verdict
from rollback.retraining.lineage import file_digest, lineage
from rollback.retraining.live import read_live
from rollback.retraining.model import Learner, Made
from rollback.retraining.out import CANDIDATE, LEARNED, Attempt, Candidate, Gate, Out
from rollback.retraining.reading import digest
from rollback.retraining.rehearsal import Rehearse, rehearse
from rollback.retraining.repairing import repaired, repairing
from rollback.retraining.results import write_results
from rollback.retraining.sifting import Sanitise, Sifted, Word, screen, sift
from rollback.retraining.training_input import TRAINING, pack, with_more
from rollback.retraining.vetting import requests
from rollback.sanitise.case import Hint
from rollback.sanitise.rows import Progress, Rows
from rollback.signing.keys import Keys
from rollback.tables.table import write_table
from rollback.train.chosen import recipe_file
from rollback.train.recipe import Device

CHECKPOINTS = "checkpoints"
"""Where trainings that were cut off stand; gone when they are done."""

__all__ = ["Outcome", "RetrainRefusedError", "Retraining", "Sanitise", "retrain"]


@dataclass(frozen=True, slots=True)
class Retraining:
    """What is asked for. ``place`` and ``model`` name the registry's model; ``incident`` is the uid behind ``hint``.

    ``vetting`` is a file of a trusted labeller's answers; ``recipe`` (a name or a file) is by default that of
    last known good. So many campaigns of known poison as ``rehearse`` says are planted for the gate. ``decisions`` and
    ``reputation`` are files of `tocsin review`, which ``keys`` check. ``benign`` names the class that lets things pass;
    it goes before that of last known good's manifest, and into the candidate's. ``live`` are recent events, on which
    the gate compares the candidate with last known good.
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
    benign: str | None = None
    live: Buffer | None = None

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
            "live": None if self.live is None else [digest(self.live.path), self.live.label, self.live.session],
            "options": [self.place, self.model, self.incident, self.recipe, self.seed, self.device, self.rehearse],
            "benign": self.benign,
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
        out.enter("reading")
        lkg = _last_known_good(registry, asked.model)
        made, gate = _make(registry, asked, lkg, out, sanitise, attempt, progress)
        out.enter("adding")
        progress("adding the candidate", 0.0)
        version = _add(registry, asked, out, attempt, made, by)
        out.write(CANDIDATE, msgspec.json.encode(Candidate.of(version, made.draft.lineage["retrain"])))
        out.leave()
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
    word = Word.read(asked.vetting, asked.decisions, asked.reputation, asked.keys)
    scorer = _scorer(lkg)
    live = None if asked.live is None else read_live(asked.live, lkg)  # first: a wrong file is said before hours pass
    checkpoints = out.folder / CHECKPOINTS
    learner = Learner(lkg.manifest, asked.recipe, asked.seed, asked.device, progress, checkpoints)
    known = registry.buffer(lkg.manifest.version)
    data = gather(lkg, known, asked.tables, word.answers, rng, asked.benign, word.decisions)
    out.enter("repairing")
    data, mended = repaired(data, asked.seed, progress)
    out.enter("screening")
    found = screen(data, learner.fit, sanitise, seed=asked.seed, hint=asked.hint, progress=progress)
    sifted = sift(data, found, word, rng)
    data, found, settled = sifted.data, sifted.found, sifted.settled
    out.enter("training")
    trial, made = learner.make(data, doubted(found, settled), settled.returned, scorer, asked.hint)
    held = _evidence(sifted, made, trial.candidate, learner, asked.seed)
    shutil.rmtree(checkpoints, ignore_errors=True)
    out.enter("judging")
    progress("judging the candidate", 0.0)
    said = verdict(
        trial,
        data,
        found,
        settled,
        sifted.ruled.accepted,
        seed=asked.seed,
        canaries=lkg.canaries(),
        campaigns=_campaigns(asked, sifted, learner, sanitise, progress),
        live=live,
        changes=[piece.change for piece in held.slices if piece.change is not None],
    )
    told = {
        "token": attempt.token,
        "parent": lkg.manifest.version,
        **lineage(data, found, settled.returned, made, asked.tables, known),
        "repairing": repairing(mended),
        **_asked(asked),
        "held": len(held.slices),
    }
    write_results(
        out, asked.model, sifted, mended, said.gate, [*requests(settled, data.new, data.new_about), *said.asks]
    )
    return _with_files(made, held).told({"retrain": told}, msgspec.to_builtins(said.gate)), said.gate


def _campaigns(
    asked: Retraining, sifted: Sifted, learner: Learner, sanitise: Sanitise, progress: Progress
) -> tuple[Campaign, ...]:
    """Known poison among the new rows that the screens have kept, and what the same pipeline makes of it."""
    if not asked.rehearse:
        return ()
    data, kept = sifted.data, ~sifted.found.removed
    pipeline = Rehearse(data.base, data.new.take(kept), data.holdout, learner.fit, sanitise, data.benign.name)
    return rehearse(pipeline, asked.rehearse, asked.seed, progress)


def _asked(asked: Retraining) -> dict[str, Any]:
    """What the lineage repeats of the request: which files decided, by their digests."""
    return {
        "answers": file_digest(asked.vetting),
        "decisions": file_digest(asked.decisions),
        "reviews": None if asked.decisions is None else log_head(asked.decisions),
        "reputation": file_digest(asked.reputation),
        "incident": asked.incident,
        "seed": asked.seed,
    }


def _with_files(made: Made, held: Evidence) -> Made:
    """The candidate with what it takes to make it again, and what a person needs to decide about held slices."""
    training = pack(made.learned, made.weight, made.more, made.trusted)
    return replace(made, files={**made.files, TRAINING: training, HELD: msgspec.json.encode(held)})


def _evidence(sifted: Sifted, made: Made, candidate: Scorer, learner: Learner, seed: int) -> Evidence:
    """What is held back, and what a training with it would change."""

    def retrained(rows: Bools) -> Scorer:
        learned = Rows.concat([made.learned, sifted.data.new.take(rows)])
        weight = np.concatenate([made.weight, np.ones(np.count_nonzero(rows))])
        return learner.scorer(
            learner.train(*with_more(learned, weight, made.more), seed, "training with what is held back")
        )

    return evidence(sifted.data, sifted.found, sifted.settled, candidate, retrained)


def _scorer(lkg: Bundle) -> Scorer:
    scorer = lkg.scorer()
    if scorer is None:
        raise RetrainRefusedError(
            f"the last known good version {lkg.manifest.version} has no model, only a reference: a candidate cannot be "
            "compared with it; add the model with tocsin registry add --onnx"
        )
    return scorer


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
