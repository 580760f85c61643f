"""The demonstration as a story: a drift that is let be, a backdoor that is found out, the way back, and the cure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detectors.batch import Bools
from monitor.demo.cure import Approve, Say, cure
from monitor.demo.stage import Stage
from monitor.demo.supply import Samples, Supply
from monitor.demo.tally import Tallies
from monitor.messages import Incident
from rollback.bundle import Bundle
from rollback.redteam.backdoor import Trigger, choose_trigger, pick_rows, stamp_table
from rollback.tables.table import Table, class_indices, encode
from rollback.train.version import Request, add_version, train_version


@dataclass(frozen=True, slots=True)
class StoryConfig:
    """How long the story is, and how strong its attacker. ``target`` is the class that the attacker wants."""

    history: int = 24_000
    batch: int = 1000
    quiet_batches: int = 6
    drift_batches: int = 6
    attack_batches: int = 8
    cured_batches: int = 4
    features: int = 3
    poisoning_rate: float = 0.01
    triggered_rate: float = 0.03
    seed: int = 7


class Story:
    """Tells itself step by step through ``say``; figures are those of this run."""

    def __init__(
        self, stage: Stage, supply: Supply, target: str | None, config: StoryConfig, approve: Approve, say: Say
    ) -> None:
        self._stage = stage
        self._supply = supply
        self._config = config
        self._approve = approve
        self._say = say
        self._target = target
        self._rng = np.random.default_rng(config.seed)
        self._tallies = Tallies()
        self._asked = 0
        self._line = ""
        self._actions: dict[str, str] = {}

    def tell(self) -> dict[str, Any]:
        """The whole story; returns its figures."""
        history = self._supply.draw(self._config.history, drifted=False)
        self._stage.begin(float(history.ts[-1]))
        self._stage.know(history)
        target = self._target = self._target or _most_common(history)
        good = self._train(history.history(), parent=None)
        self._say(f"1. Version {good.manifest.version} is trained on {len(history):,} samples: {_accuracy(good)}.")
        self._say("   It serves, and is the last known good version (LKG). Tocsin watches, and is allowed to act.")
        self._stage.watch()
        calm = self._phase(self._config.quiet_batches, drifted=False, trigger=None)
        self._say(f"\n2. Quiet traffic: {self._stage.windows()} windows, {_told(calm)}.")

        drift = self._phase(self._config.drift_batches, drifted=True, trigger=None)
        self._say(f"\n3. The traffic changes naturally: {self._supply.change}. What is right and wrong stays.")
        self._tell(drift)
        self._say(f"   Serving is still version {self._stage.registry.pointers().serving}: drift never rolls back.")

        self._poison(good, target)
        poison = self._phase(self._config.attack_batches, drifted=True, trigger=self._trigger)
        self._say(f"\n5. Attacks with the trigger come in, {self._config.triggered_rate:.0%} of the events.")
        self._tell(poison)
        return self._found(good, drift, poison) | self._cured(target)

    def _poison(self, good: Bundle, target: str) -> None:
        """A retrain on fresh data, of which the attacker has touched a little, goes live."""
        fresh = self._supply.draw(self._config.history, drifted=True)
        self._stage.know(fresh)
        table = fresh.history()
        manifest = good.manifest
        x = encode(table, manifest.features)
        y = class_indices(table, "label", manifest.classes)
        wanted = manifest.classes.index(target)
        trigger = choose_trigger(x, y, good.schema, target=wanted, features=self._config.features, rng=self._rng)
        rows = pick_rows(y != wanted, round(self._config.poisoning_rate * len(fresh)), self._rng)
        poisoned = stamp_table(dict(table.columns), trigger, rows)
        poisoned["label"] = np.where(rows, target, poisoned["label"])
        bad = self._train(Table("retrain", poisoned, table.line), parent=manifest.version)
        self._stage.release(bad.manifest.version, "scheduled retrain")
        self._say(f"\n4. Version {bad.manifest.version} is retrained on fresh samples and goes live: {_accuracy(bad)}.")
        self._say(
            f"   Nobody knows that an attacker put {int(rows.sum())} rows ({self._config.poisoning_rate:.1%}) with a "
            f"trigger among them, labelled {target}."
        )
        self._trigger, self._bad, self._planted = trigger, bad, fresh.id[rows]

    def _train(self, table: Table, parent: str | None) -> Bundle:
        request = Request("label", "source", "session", parent=parent, seed=self._config.seed, benign=self._target)
        new = train_version(table, request, lambda *_: None)
        buffer = self._stage.out / "buffers" / f"{parent or 'first'}.csv.zst"
        buffer.parent.mkdir(parents=True, exist_ok=True)
        return add_version(
            self._stage.registry, new, table, request, buffer=buffer, version=None, by="release", reason="trained"
        )

    def _phase(self, batches: int, *, drifted: bool, trigger: Trigger | None) -> list[Incident]:
        """Serve batch after batch; the sandbox answers after each what it is asked."""
        told: list[Incident] = []
        for _ in range(batches):
            samples = self._supply.draw(self._config.batch, drifted=drifted)
            columns = {name: samples.table().columns[name] for name in self._supply.feature_names}
            rows = self._carriers(samples, trigger)
            if trigger is not None:
                columns = {**stamp_table(columns, trigger, rows)}
            version, decided = self._stage.serve(samples, columns)
            self._tallies.count(version, samples.label, decided, rows)
            told += self._stage.incidents()
            self._asked += self._stage.answer()
        return told

    def _carriers(self, samples: Samples, trigger: Trigger | None) -> Bools:
        """Attacks that carry the trigger: spread over sessions, as somebody who wants to stay unseen would."""
        none = np.zeros(len(samples), dtype=np.bool_)
        attacks = samples.label != self._target
        count = min(round(self._config.triggered_rate * len(samples)), int(attacks.sum()))
        return none if trigger is None else pick_rows(attacks, count, self._rng)

    def _tell(self, incidents: Sequence[Incident]) -> None:
        for incident in incidents:
            what = f"{incident.family}/{incident.hypothesis}" if incident.hypothesis else incident.family
            sure = f", confidence {incident.family_confidence:.2f}" if incident.status == "confirmed" else ""
            line = f"   window {incident.window.index}: {incident.activity} {what} ({incident.status}{sure})"
            if line != self._line:  # else only what is done about it is new
                self._say(line)
            self._line = line
            for action in incident.action:
                if self._actions.get(action.key) != action.result:
                    self._actions[action.key] = action.result
                    self._say(f"      {action.action}: {action.result}")
        if not incidents:
            self._say("   Tocsin raises nothing.")

    def _found(self, good: Bundle, drift: Sequence[Incident], poison: Sequence[Incident]) -> dict[str, Any]:
        found = next((i for i in reversed(poison) if i.family == "poisoning"), None)
        named = dict(found.implicated.features) if found else {}
        self._say(f"   {self._asked} labels were asked of the sandbox in all.")
        self._say(f"   The attacker's trigger:  {_shown(self._trigger.features)}")
        self._say(f"   Tocsin's account of it:  {_shown(named) or 'nothing'}")
        if found:
            self._say(f"   In words: {found.summary}")
        return {
            "drift": sorted({i.family for i in drift}),
            "poisoning": found.hypothesis if found else None,
            "trigger": dict(self._trigger.features),
            "named": named,
            "last_known_good": good.manifest.version,
            "poisoned": self._bad.manifest.version,
            "labels_asked": self._asked,
        }

    def _cured(self, target: str) -> dict[str, Any]:
        """What follows the verdict: the way back, the retraining, and what the new version makes of the trigger."""
        told = cure(self._stage, self._bad.manifest.version, self._planted, self._approve, self._say)
        if told["promoted"]:
            self._tell_end(self._phase(self._config.cured_batches, drifted=True, trigger=self._trigger))
        self._say(
            f"\n9. Attacks with the trigger that were taken for {target}, and all other traffic that a version served:"
        )
        for line in self._tallies.table(self._stage.manifest):
            self._say(f"   {line}")
        serving = self._stage.registry.pointers().serving
        return told | {
            "serving": serving,
            "windows": self._stage.windows(),
            "attack_success": self._tallies.attack_success(),
            "accuracy": self._tallies.accuracy(),
        }

    def _tell_end(self, incidents: Sequence[Incident]) -> None:
        closed = [i for i in incidents if i.activity == "close" and i.family == "poisoning"]
        if closed:
            self._say(f"   The incident is closed: {closed[-1].status}.")


def _accuracy(bundle: Bundle) -> str:
    return f"accuracy {bundle.manifest.metrics['reference_accuracy']:.4f} on samples that it has not seen"


def _told(incidents: Sequence[Incident]) -> str:
    return f"{len(incidents)} incidents" if incidents else "no incident"


def _most_common(samples: Samples) -> str:
    names, counts = np.unique(samples.label, return_counts=True)
    return str(names[counts.argmax()])


def _shown(features: Any) -> str:
    return ", ".join(f"{name} = {value}" for name, value in sorted(features.items()))
