"""How often the release gate passes clean candidates, and what becomes of poisoned ones.

    python bench/gate.py [--data DATA_DIR] [--sets generated nsl_kdd phishing] [--seeds 5] [--first 0]

Per data set and seed: a last known good model, eight reseeds and three models of parts of the trusted rows; candidates
of trusted and new rows. ``foreign`` candidates are trained on the new rows as they come, and judged as `tocsin gate`
does, with their buffer. ``sanitised`` ones are made as `tocsin retrain` makes them, and judged as it does. New rows are
clean, or carry a backdoor (share of all rows, features of its trigger) or flipped labels (all of one group of attacks
in two sources). A candidate is poisoned where the attack succeeds by 10 points more than on the model that was trained
on the same rows without the attack (the oracle, which is the clean candidate).

DATA_DIR holds `nsl_kdd/train_36f.parquet` and `phishing/phishing_uci.parquet`. Progress on stderr, a table in Markdown
on stdout. Seeds 0 to 4 were seen in development.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import sanitise_data

from detectors.batch import Floats, Scorer
from detectors.schema import Feature, Schema
from monitor.demo.flows import table
from monitor.demo.traffic import TrafficConfig, generate
from rollback.gates.gate import Trial, judge
from rollback.gates.pattern import pattern_of
from rollback.manifest import Draft, FeatureSpec
from rollback.redteam.backdoor import choose_trigger, pick_rows, stamp
from rollback.reference import reference_rows
from rollback.retraining.foreign import Asked, screened
from rollback.retraining.model import RESEEDS
from rollback.retraining.removed_values import removed_patterns
from rollback.sanitise.rows import Rows, Sanitised
from rollback.sanitise.sanitise import sanitise
from rollback.scorer import OnnxScorer
from rollback.tables.table import Table, infer_schema
from rollback.train.recipe import TrainingRows, load_recipe

BASE, NEW, HELD = 3000, 2000, 3000
POISONED = 0.1
MOST_PATTERNS = 3
ATTACKS = ("backdoor .5%/3", "backdoor 1%/3", "backdoor .5%/8", "backdoor 1%/8", "flips 5%", "flips 10%")


@dataclass(frozen=True)
class Set:
    """Rows of one seed; ``benign`` is what attacks want to be called."""

    base: Rows
    new: Rows
    held: Rows
    benign: int

    def fit(self, rows: Rows, seed: int) -> Scorer:
        """A model of these rows."""
        schema = self.base.schema
        training = TrainingRows(schema, rows.x, rows.y, rows.session)
        made = load_recipe("mlp").train(training, seed=seed, device="cpu", progress=silent)
        features = tuple(FeatureSpec(f.name, f.kind, f.vocabulary) for f in schema.features)
        draft = Draft(classes=schema.classes, features=features, onnx=made.onnx)
        return OnnxScorer(made.model, draft.manifest("", "", ""))


@dataclass(frozen=True)
class Attack:
    """New rows after an attacker, and how often the attack succeeds on a model."""

    name: str
    new: Rows
    success: Callable[[Scorer], float]


@dataclass(frozen=True)
class Outcome:
    """What the gate said of one candidate."""

    where: str
    path: str
    attack: str
    excess: float
    result: str
    failed: tuple[str, ...]


def silent(*_: object) -> None:
    """Progress that nobody looks at."""


def generated(seed: int) -> Set:
    """Generated traffic in whole sessions."""
    count = BASE + NEW + HELD
    flows = Table(
        "flows", table(generate(TrafficConfig(), np.random.default_rng(seed), count, 1.7e9)), np.arange(count)
    )
    specs = infer_schema(flows, exclude=["id", "ts", "source", "session", "label"])
    classes = ("attack", "benign")
    coded = reference_rows(flows, specs, classes, label="label", source="source", session="session")
    schema = Schema(tuple(Feature(f.name, f.kind, f.vocabulary) for f in specs), classes)
    rows = Rows(schema, coded.x, coded.y, coded.source, coded.session)
    return cut(rows, np.random.default_rng(seed), 1)


def from_files(read: Callable[[Path, int], sanitise_data.Data], folder: Path, seed: int) -> Set:
    """A data set of `bench/sanitise_data.py`, made smaller."""
    data = read(folder, seed)
    return cut(Rows.concat([data.base, data.new, data.test]), np.random.default_rng(seed), sanitise_data.BENIGN)


def cut(rows: Rows, rng: np.random.Generator, benign: int) -> Set:
    """Trusted, new and held-out rows by whole sessions."""
    names, which = np.unique(rows.session, return_inverse=True)
    place = rng.permutation(len(names))[which]
    order = np.argsort(place, kind="stable")[: BASE + NEW + HELD]
    base, new = order[:BASE], order[BASE : BASE + NEW]
    return Set(rows.take(base), rows.take(new), rows.take(order[BASE + NEW :]), benign)


def attacked(data: Set, name: str, rng: np.random.Generator) -> Attack:
    """The new rows after this attack."""
    kind, what = name.split(" ")
    return _backdoor(data, name, what, rng) if kind == "backdoor" else _flips(data, name, float(what[:-1]) / 100, rng)


def _backdoor(data: Set, name: str, what: str, rng: np.random.Generator) -> Attack:
    share, features = what.split("%/")
    schema, new = data.base.schema, data.new
    trigger = choose_trigger(data.base.x, data.base.y, schema, target=data.benign, features=int(features), rng=rng)
    attacks = new.y != data.benign
    rows = pick_rows(attacks, min(round(float(share) / 100 * (BASE + NEW)), int(attacks.sum())), rng)
    x, y = new.x.copy(), new.y.copy()
    x[rows], y[rows] = stamp(x[rows], trigger, schema), data.benign
    victims = data.held.x[data.held.y != data.benign]
    return Attack(name, replace(new, x=x, y=y), _takes(stamp(victims, trigger, schema), data.benign))


def _flips(data: Set, name: str, rate: float, rng: np.random.Generator) -> Attack:
    """Attacks on one side of a median are called benign, as many as the rate allows."""
    new, held = data.new, data.held
    attacks = new.y != data.benign
    spread = [j for j in range(new.x.shape[1]) if 0.2 < np.mean(new.x[attacks, j] > np.median(new.x[attacks, j])) < 0.8]
    column = int(rng.choice(spread))
    middle = float(np.median(new.x[attacks, column]))
    among = attacks & (new.x[:, column] > middle)
    rows = pick_rows(among, min(round(rate * (BASE + NEW)), int(among.sum())), rng)
    y = new.y.copy()
    y[rows] = data.benign
    victims = (held.y != data.benign) & (held.x[:, column] > middle)
    return Attack(name, replace(new, y=y), _takes(held.x[victims], data.benign))


def _takes(x: Floats, label: int) -> Callable[[Scorer], float]:
    return lambda model: float(np.mean(model(x).argmax(axis=1) == label))


def run(where: str, data: Set, seed: int, attacks: Sequence[str]) -> Iterator[Outcome]:
    """Every candidate of one seed."""
    lkg = data.fit(data.base, seed)
    reseeds = [data.fit(data.base, 1000 * (seed + 1) + i) for i in range(RESEEDS)]
    trial = Trial(lkg, lkg, reseeds, data.held)
    clean = data.fit(Rows.concat([data.base, data.new]), seed + 7)
    yield foreign(where, data, trial, Attack("none", data.new, lambda _: 0.0), clean, clean, seed)
    yield sanitised(where, data, trial, Attack("none", data.new, lambda _: 0.0), clean, seed)
    for name in attacks:
        attack = attacked(data, name, np.random.default_rng([seed, ATTACKS.index(name)]))
        model = data.fit(Rows.concat([data.base, attack.new]), seed + 7)
        yield foreign(where, data, trial, attack, model, clean, seed)
        yield sanitised(where, data, trial, attack, clean, seed)


def foreign(where: str, data: Set, trial: Trial, attack: Attack, model: Scorer, clean: Scorer, seed: int) -> Outcome:
    """A candidate whose rows nobody has sanitised."""
    ids = np.arange(len(attack.new)).astype(np.str_)
    tried = screened(replace(trial, candidate=model), data.base, attack.new, ids, data.fit, Asked(seed=seed), silent)
    return outcome(where, "foreign", attack, tried.trial, clean, seed)


def sanitised(where: str, data: Set, trial: Trial, attack: Attack, clean: Scorer, seed: int) -> Outcome:
    """A candidate of what the sanitiser leaves, with counterexamples, as `tocsin retrain` makes it."""
    found = sanitise(data.base, attack.new, data.fit, seed=seed, hint=None, progress=silent)
    kept = Rows.concat([data.base, attack.new.take(~found.removed)])
    more = found.counterexamples
    model = data.fit(kept if more is None else Rows.concat([kept, more]), seed + 7)
    probe = None if more is None else data.fit(kept, seed + 7)
    patterns = _patterns(found, data)
    own = replace(trial, candidate=model, parts=found.base_scorers, patterns=patterns, probe=probe)
    values = removed_patterns(found.removed, found.base_scorers, data.base, attack.new)
    own = replace(own, buffer=attack.new.take(~found.removed), removed_values=values)
    return outcome(where, "sanitised", attack, own, clean, seed)


def _patterns(found: Sanitised, data: Set) -> list[object]:
    classes = data.base.schema.classes
    largest = sorted((s for s in found.slices if not s.kept), key=lambda s: -s.rows)[:MOST_PATTERNS]
    named = [(f"slice_{i + 1}", s.features, classes.index(s.label)) for i, s in enumerate(largest)]
    made = [pattern_of(name, values, label, data.base.schema, data.new.x) for name, values, label in named]
    return [pattern for pattern in made if pattern is not None]


def outcome(where: str, path: str, attack: Attack, trial: Trial, clean: Scorer, seed: int) -> Outcome:
    """What the gate says of it."""
    said = judge(trial, seed=seed)
    excess = attack.success(trial.candidate) - attack.success(clean)
    failed = tuple(f"{c.name} {c.value:.2f}>{c.limit:.2f}" for c in said.checks if not c.passed)
    return Outcome(where, path, attack.name, excess, said.result, failed)


def tables(told: Sequence[Outcome]) -> str:
    """Counts by data set and path, in Markdown."""
    lines = ["| data | path | candidates | n | rejected | held | passed |", "|---" * 7 + "|"]
    groups = {
        "clean": lambda o: o.attack == "none",
        "attacked, excess below .10": lambda o: o.attack != "none" and o.excess < POISONED,
        "poisoned (excess >= .10)": lambda o: o.attack != "none" and o.excess >= POISONED,
    }
    for where in dict.fromkeys(o.where for o in told):
        for path in ("foreign", "sanitised"):
            for name, among in groups.items():
                own = [o for o in told if (o.where, o.path) == (where, path) and among(o)]
                n = Counter(o.result for o in own)
                lines.append(
                    f"| {where} | {path} | {name} | {len(own)} | {n['rejected']} | {n['vetting']} | {n['passed']} |"
                )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sets", nargs="+", choices=("generated", "nsl_kdd", "phishing"), default=["generated"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--attacks", nargs="*", choices=ATTACKS, default=list(ATTACKS))
    asked = parser.parse_args(arguments)
    if asked.data is None and set(asked.sets) != {"generated"}:
        parser.error("--data says where the other data sets lie")
    told: list[Outcome] = []
    for where in asked.sets:
        for seed in range(asked.first, asked.first + asked.seeds):
            read = {"nsl_kdd": sanitise_data.nsl_kdd, "phishing": sanitise_data.phishing}
            data = generated(seed) if where == "generated" else from_files(read[where], asked.data, seed)
            began = time.monotonic()
            for one in run(where, data, seed, asked.attacks):
                told.append(one)
                took = f"{time.monotonic() - began:.0f} s"
                print(
                    f"{where} {seed} {one.path} {one.attack}: excess {one.excess:.3f} {one.result} {one.failed} {took}",
                    file=sys.stderr,
                    flush=True,
                )
    print(tables(told))


if __name__ == "__main__":
    main()
