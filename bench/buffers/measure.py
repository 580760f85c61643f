"""What is measured of one case of one data set and seed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from buffers.cases import Attacked, attacked
from buffers.data import Buffers, Part
from buffers.models import accuracy, fit
from buffers.peers import removed_by_peers
from buffers.pipeline import HOLDOUT, Cleaned, candidate, cleaned, foreign_gate, gate, plain
from detectors.batch import Bools, Scorer
from rollback.gates.trial import Trial
from rollback.redteam.attack import Aim
from rollback.redteam.success import success_rate
from rollback.retraining.vetting import covered
from rollback.sanitise.rows import Rows, Slice

CHANGED = 0.5
"""A feature counts as changed where the trigger gave another value to this share of the poison rows that carry it."""


def measure(case: str, data: Buffers, clean: Scorer, initialisations: int, peers: Path | None) -> dict[str, Any]:
    """One case, as one line of the results. Raises `buffers.cases.NotHereError`."""
    begin = time.perf_counter()
    seed = data.seed
    holdout, test = halves(data.test, seed)
    # what the attacker will send is no row that the gate knows
    case_rows = attacked(case, replace(data, test=test), clean, np.random.default_rng([seed, 1]))
    lkg = clean if case_rows.family is None else fit(case_rows.base.rows, seed)
    if case_rows.family is not None:
        holdout = holdout.take(holdout.family != case_rows.family)  # the base does not know it: no trusted row does
    done = cleaned(case_rows, data.benign, seed)
    sanitised = time.perf_counter() - begin
    trial, learned = candidate(done, lkg, holdout.rows, seed)
    ours = [trial.candidate, *learned.models(seed, range(1, initialisations))]
    told = {
        "poison": int(case_rows.poison.sum()),
        "new": len(case_rows.new),
        "seconds_sanitising": round(sanitised, 1),
        **_removed(done, case_rows),
        "gate": {"ours": gate(trial, done, seed)},
        "accuracy": {"ours": accuracy(ours, test.rows)},
    }
    others = _others(done, case_rows, peers, seed)
    models = {name: models_of(r, seed, range(initialisations)) for name, r in others.items()}
    told["accuracy"] |= {name: accuracy(m, test.rows) for name, m in models.items()}
    if case_rows.aim is not None:
        told |= _attack(case_rows, case_rows.aim, {"ours": ours, **models}, test)
    told["gate"] |= _gates(case_rows, trial, {name: own[0] for name, own in models.items()}, seed)
    if case_rows.family is not None:
        told["family"] = _family(case_rows, done, {"ours": ours, **models, "last_known_good": [lkg]}, test)
    return told | {"seconds": round(time.perf_counter() - begin, 1)}


def screened(data: Buffers) -> dict[str, Any]:
    """What screens take from a clean buffer, and no model: for many buffers."""
    begin = time.perf_counter()
    batch = data.batches[0]
    case = Attacked(data.base, batch.rows, np.zeros(len(batch.rows), np.bool_), batch)
    told = {"poison": 0, "new": len(batch.rows), **_removed(cleaned(case, data.benign, data.seed), case)}
    return told | {"seconds": round(time.perf_counter() - begin, 1)}


def halves(test: Part, seed: int) -> tuple[Part, Part]:
    """Rows for the gate, and rows that figures are taken on."""
    held = np.random.default_rng([seed, 5]).random(len(test.rows)) < HOLDOUT
    return test.take(held), test.take(~held)


def models_of(rows: Rows, seed: int, numbers: range) -> list[Scorer]:
    """Initialisations of a model that believes all rows alike."""
    return [fit(rows, seed + 1000 * i) for i in numbers]


def _others(done: Cleaned, case: Attacked, peers: Path | None, seed: int) -> dict[str, Rows]:
    """What everybody else would train on; plain removal and the peers take as many rows as ours did."""
    base, count = case.base.rows, int((~done.kept).sum())
    removed = {"undefended": np.zeros(len(case.new), np.bool_), "oracle": case.poison}
    if case.aim is not None:
        removed["plain"] = plain(done, case, count)
        if peers is not None:
            removed |= removed_by_peers(peers, base, case.new, count, seed)
    return {name: Rows.concat([base, case.new.take(~gone)]) for name, gone in removed.items()}


def _gates(case: Attacked, trial: Trial, models: dict[str, Scorer], seed: int) -> dict[str, Any]:
    """What the gate says of the undefended and the clean model of all rows, each with its own buffer."""
    base, truth = case.base.rows, case.before.rows.y
    clean = ~case.poison
    told = {"oracle": foreign_gate(trial, models["oracle"], (base, case.new.take(clean)), truth[clean], seed)}
    if case.aim is not None:
        told["undefended"] = foreign_gate(trial, models["undefended"], (base, case.new), truth, seed)
    return told


def _removed(done: Cleaned, case: Attacked) -> dict[str, Any]:
    gone = ~done.kept
    clean = ~case.poison
    return {
        "poison_removed": _share(gone[case.poison]),
        "clean_removed": _share(gone[clean]),
        "clean_removed_at_first": _share(done.removed_at_first[clean]),
        "asked": done.asked,
        "open": len(done.settled.open),
        "holds": done.settled.holds,
        "held_at_first": done.held_at_first,
        "held_back": len(done.found.held_back),
        "counterexamples": 0 if done.found.counterexamples is None else len(done.found.counterexamples),
        "slices": [_told(s, case) for s in done.found.slices],
        "remarks": list(done.found.remarks),
    }


def _told(one: Slice, case: Attacked) -> dict[str, Any]:
    label = case.new.schema.classes.index(one.label)
    own = covered(one, case.new) & (case.new.y == label)
    return {
        "poison": _share(case.poison[own]),
        "label": one.label,
        "source": one.source,
        "rows": one.rows,
        "score": round(one.score, 2),
        "swap": None if one.swap is None else round(one.swap, 3),
        "features": sorted(one.features),
        "shared": len(one.shared),
        "held": one.held,
    }


def _share(mask: Bools) -> float | None:
    return round(float(mask.mean()), 5) if len(mask) else None


def _attack(case: Attacked, aim: Aim, models: dict[str, list[Scorer]], test: Part) -> dict[str, Any]:
    """Attack success of everybody's models, and whether the trigger's features were named."""
    rows = test.rows
    each = {
        name: [success_rate(m, aim, rows.x, rows.y, test.family, rows.schema) for m in own]
        for name, own in models.items()
    }
    asr = {name: float(np.mean(own)) for name, own in each.items()}
    told: dict[str, Any] = {"asr": {name: round(value, 5) for name, value in asr.items()}}
    told["excess"] = {name: round(asr[name] - asr["oracle"], 5) for name in asr}
    told["excess_error"] = {name: round(standard_error(each[name], each["oracle"]), 5) for name in each}
    # of the first initialisation, which is the one that the gate judges
    told["judged"] = {name: round(own[0] - asr["oracle"], 5) for name, own in each.items()}
    changed = changed_features(case)
    return told | ({"changed": changed} if changed else {})


def standard_error(own: Sequence[float], other: Sequence[float]) -> float:
    """Of the difference of two means over initialisations; NaN of one."""
    if min(len(own), len(other)) < 2:
        return float("nan")
    return float(np.sqrt(np.var(own, ddof=1) / len(own) + np.var(other, ddof=1) / len(other)))


def changed_features(case: Attacked) -> list[str]:
    """The trigger's features whose value another one was before, in most of the poison rows that carry it now."""
    if case.aim is None or case.aim.trigger is None or not case.poison.any():
        return []
    schema, found = case.new.schema, []
    for j, name in enumerate(schema.names):
        if name in case.aim.trigger.features:
            value = case.aim.trigger.features[name]
            code = float(schema.features[j].vocabulary.index(value)) if isinstance(value, str) else float(value)
            carried = case.new.x[case.poison, j] == code
            fresh = case.before.rows.x[case.poison, j] != code
            if carried.any() and np.mean(fresh[carried]) >= CHANGED:
                found.append(name)
    return found


def _family(case: Attacked, done: Cleaned, models: dict[str, list[Scorer]], test: Part) -> dict[str, Any]:
    """What became of a new family: kept rows, and the error on it of everybody's models."""
    own, coming = case.before.family == case.family, test.family == case.family
    rows = test.rows.take(coming)
    return {
        "name": case.family,
        "rows": int(own.sum()),
        "kept": _share(done.kept[own]),
        "kept_at_first": _share(~done.removed_at_first[own]),
        "held": _share(done.held[own]),
        "error": {name: round(1 - accuracy(m, rows), 4) for name, m in models.items()} if len(rows) else {},
    }
