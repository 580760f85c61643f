"""A sustained attack: round after round of retraining, each on what was kept before, each with a new campaign."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from buffers.cases import Attacked, NotHereError, attacked
from buffers.data import Buffers, Part
from buffers.measure import halves, models_of
from buffers.models import accuracy, fit
from buffers.pipeline import candidate, cleaned, gate
from detectors.batch import Scorer
from rollback.redteam.attack import Aim
from rollback.redteam.success import success_rate
from rollback.retraining.unlearned import Earlier
from rollback.sanitise.rows import Rows

ROUNDS = 12
CAMPAIGNS = (
    "dirty_label:0.01/8",
    "targeted_flips:0.05",
    "split_trigger:0.01/8",
    "clean_label:0.02/8",
    "dirty_label:0.005/3@all",
    "feature_collision:0.02",
    "dirty_label:0.01/8!",
    "random_flips:0.1",
    "dirty_label:0.02/16@all",
    "gradient_matching:0.02",
    "dirty_label:0.001/8",
    "split_trigger:0.01/16",
)


def play(data: Buffers, initialisations: int, told: Callable[[int], None]) -> list[dict[str, Any]]:
    """One object a round. The oracle of a round is trained on the clean rows of all batches so far.

    The undefended model (of one initialisation) is trained on all of them: it says which campaigns would have worked.
    At the end every earlier campaign is tried once more on the last model (``later``): what stayed hidden may wake up.
    A campaign that the data set cannot play is a clean batch, and ``skipped`` says why.
    """
    seed = data.seed
    holdout, test = halves(data.test, seed)
    now = replace(data, test=test)  # what the attacker will send is no row that the gate knows
    lkg, honest, earlier = fit(data.base.rows, seed), data.base.rows, Earlier()
    everything = honest
    first = len(data.base.rows) + len(data.batches[0].rows)
    found: list[dict[str, Any]] = []
    aims: list[Aim | None] = []
    models: dict[str, list[Scorer]] = {}
    for i in range(len(data.batches)):
        told(i)
        case, skipped = _campaign(CAMPAIGNS[i % len(CAMPAIGNS)], now, lkg, i, first)
        done = cleaned(case, data.benign, seed + i)
        trial, learned = candidate(done, lkg, holdout.rows, seed + i, earlier)
        honest = Rows.concat([honest, case.before.rows.take(~case.poison)])
        everything = Rows.concat([everything, case.new])
        models = {
            "ours": [trial.candidate, *learned.models(seed + i, range(1, initialisations))],
            "oracle": models_of(honest, seed + i, range(initialisations)),
            "undefended": models_of(everything, seed + i, range(1)),
        }
        line = {
            "round": i + 1,
            "campaign": CAMPAIGNS[i % len(CAMPAIGNS)] if case.aim else None,
            "poison": int(case.poison.sum()),
            "poison_removed": float((~done.kept)[case.poison].mean()) if case.poison.any() else None,
            "clean_removed": float((~done.kept)[~case.poison].mean()),
            "accuracy": {name: accuracy(own, test.rows) for name, own in models.items()},
            "gate": gate(trial, done, seed + i),
            "unlearned": len(earlier.patterns),
        } | ({} if skipped is None else {"skipped": skipped})
        if case.aim is not None:
            line["asr"] = {name: _success(own, case.aim, test) for name, own in models.items()}
        found.append(line)
        aims.append(case.aim)
        lkg, earlier = trial.candidate, earlier.and_now(done.found, done.data.benign.name)
        kept = Part(case.new.take(done.kept), case.before.family[done.kept])
        base = Part(Rows.concat([now.base.rows, kept.rows]), np.concatenate([now.base.family, kept.family]))
        now = replace(now, base=base)
    for line, aim in zip(found, aims, strict=True):
        if aim is not None:
            line["later"] = {name: _success(own, aim, test) for name, own in models.items()}
    return found


def _campaign(text: str, now: Buffers, lkg: Scorer, number: int, first: int) -> tuple[Attacked, str | None]:
    """The batch of a round, attacked; as it is, with the reason, where the data set cannot play this campaign.

    Rates are of the ``first`` round's base and new rows: the base grows, and what an attacker can send does not.
    """
    rng = np.random.default_rng([now.seed, 41, number])
    try:
        return attacked(text, now, lkg, rng, number, first), None
    except NotHereError as reason:
        return attacked("clean", now, lkg, rng, number), f"{text}: {reason}"


def _success(models: list[Scorer], aim: Aim, test: Part) -> float:
    rows = test.rows
    return float(np.mean([success_rate(m, aim, rows.x, rows.y, test.family, rows.schema) for m in models]))
