"""Tocsin on NSL-KDD: a test part with attack types that training lacks, then a backdoor, a rollback, and controls.

    python bench/nsl_kdd.py DATA_DIR [--seeds N] [--no-kafka]

DATA_DIR holds ``train_36f.parquet`` and ``test_36f.parquet``: the official training and test parts (Tavallaee et al.
2009) with 36 features, ``label`` 0/1 and ``class``. A stream of the held-out rest of training (control), the first half
of the test part as version 1 serves it, and the second half as a version 2 serves it that was retrained on rows of
which 1% carry a three-feature trigger and the label normal; 2% of those events are attacks with the trigger.

Seed 0 goes through a real Kafka: `tocsin train`, `tocsin run` (mode act), `tocsin registry promote`, and a labeller
that answers every vetting request with the truth on the trusted topic; the model server follows the registry's
pointer. All seeds go through `tocsin replay` with the same rows, which never acts. There the test part is also run
with trusted labels for 2% of it, and an honest retrain (version 3: the same rows without the attacker's) serves the
control and the second half of the test part: nothing of that may be called poisoning.

Progress on stderr, one JSON object on stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from machine import describe
from nsl_kdd_data import ATTACK, MODEL, Part, Served, Split, attack, read_part, split, tocsin, train
from nsl_kdd_kafka import Live

from detectors.batch import Bools
from monitor.oracle import ORIGIN
from rollback.redteam.backdoor import Trigger, pick_rows, stamp_table
from rollback.registry.file import FileRegistry
from rollback.signing.keys import Keys

POISONED = 0.01
TRIGGERED = 0.02
CONTROL = 20_000
LABELLED = 0.02


class World:
    """Registry, rows and trigger of one seed: version 1 good, 2 poisoned, 3 honestly retrained."""

    def __init__(self, folder: Path, rows: Split, seed: int) -> None:
        self.folder = folder
        self.rows = rows
        self.seed = seed
        root = folder / "registry"
        train(rows.history, folder, root, seed, None)
        self.registry = FileRegistry(root, MODEL, Keys.trial(root), time.time)
        self.served = Served(self.registry)
        self.trigger, self._poisoned = attack(self.registry, rows.retrain, POISONED, seed)
        among = rows.second.label == ATTACK
        rng = np.random.default_rng([seed, 2])
        self.carriers = pick_rows(among, round(TRIGGERED * len(rows.second)), rng)

    def retrain(self) -> None:
        """Versions 2 and 3; neither serves."""
        train(self._poisoned, self.folder, self.root, self.seed, "1")
        train(self.rows.retrain, self.folder, self.root, self.seed, "1")

    @property
    def root(self) -> Path:
        """The registry's folder."""
        return self.folder / "registry"

    def second(self) -> Part:
        """The second half of the test part, in which some attacks carry the trigger."""
        part = self.rows.second
        return Part(stamp_table(part.features, self.trigger, self.carriers), part.label, part.kind, part.source)

    def quality(self) -> dict[str, Any]:
        """How good the versions are, and what the trigger does to them; on the rows that are streamed."""
        second, control = self.second(), self.rows.control
        clean = self.rows.second
        fooled = {v: self.served.wrong(v, second.features, second.label)[self.carriers] for v in "123"}
        return {
            "trigger": dict(self.trigger.features),
            "triggered_events": int(self.carriers.sum()),
            "accuracy_test": {v: _right(self.served.wrong(v, clean.features, clean.label)) for v in "123"},
            "accuracy_control": {v: _right(self.served.wrong(v, control.features, control.label)) for v in "123"},
            "attack_success": {v: round(float(wrong.mean()), 4) for v, wrong in fooled.items()},
            "attack_success_without_trigger": {
                v: round(float(self.served.wrong(v, clean.features, clean.label)[self.carriers].mean()), 4)
                for v in "123"
            },
        }


def _right(wrong: Bools) -> float:
    return round(1 - float(wrong.mean()), 4)


def told(folder: Path, version: str, trigger: Trigger | None, first_window: int = 0) -> dict[str, Any]:
    """What Tocsin said about one version: windows, incidents, questions. Windows count from ``first_window``."""
    windows = [w for w in _lines(folder / "windows.ndjson") if w["version"] == version]
    incidents = [i for i in _lines(folder / "incidents.ndjson") if i["version"] == version]
    uids = {i["uid"] for i in incidents}
    asked = [r for r in _lines(folder / "vetting.ndjson") if r["incident"] in uids]
    confirmed = [i for i in incidents if i["status"] == "confirmed"]
    said = {
        "windows": len(windows),
        "events": sum(w["events"] for w in windows),
        "incidents": len(uids),
        "first_suspicion_window": incidents[0]["window"]["index"] - first_window if incidents else None,
        "first_confirmed_window": confirmed[0]["window"]["index"] - first_window if confirmed else None,
        "first_confirmed": _verdict(confirmed[0]) if confirmed else None,
        "verdicts": [f"{i['activity']} {i['status']} {_verdict(i)} @{i['window']['index']}" for i in incidents],
        "last": _verdict(incidents[-1]) if incidents else "stable",
        "last_status": incidents[-1]["status"] if incidents else None,
        "labels_asked": len(asked),
        "answers": _answers(windows),
        "named": _named(incidents),
        "fired": sorted({n for w in windows for n, d in w["detectors"].items() if d["status"] == "fired"}),
    }
    return said if trigger is None else said | _recovery(said["named"], trigger)


def _answers(windows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """What the answers to the question about the versions' disagreement said of the serving one."""
    facts = windows[-1]["detectors"]["version_disagreement"]["facts"] if windows else {}
    return {name: facts[name] for name in ("right", "wrong") if name in facts}


def _named(incidents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Features and values that the last message of a poisoning points at."""
    poisoning = [i for i in incidents if i["family"] == "poisoning"]
    return dict(poisoning[-1]["implicated"]["features"]) if poisoning else {}


def _recovery(named: Mapping[str, Any], trigger: Trigger) -> dict[str, Any]:
    """How well the features that are named are those of the trigger."""
    hit = len(set(named) & set(trigger.features))
    return {
        "precision": round(hit / len(named), 3) if named else None,
        "recall": round(hit / len(trigger.features), 3),
    }


def _verdict(incident: Mapping[str, Any]) -> str:
    name = "/".join(filter(None, (incident["family"], incident["hypothesis"])))
    return f"{name} ({incident['confidence']:.2f})"


def _lines(path: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def replayed(
    world: World, name: str, streams: Sequence[tuple[str, str, Part]], *, labelled: float = 0.0
) -> tuple[Path, dict[str, Any]]:
    """`tocsin replay` of (name, version, rows) one after the other; returns its folder and what was conserved.

    The true labels of a share ``labelled`` of the events are given unasked, by a trusted origin, at the event's time.
    """
    events, answers, sent = [], [], 0
    for stream, version, part in streams:
        samples = part.samples(stream, sent)
        sent += len(part)
        events += samples.events(part.features, world.served.scores(version, part.features), MODEL, version)
        rows = zip(samples.id.tolist(), samples.ts.tolist(), samples.label.tolist(), strict=True)
        answers += [msgspec.json.encode({"id": i, "ts": t, "label": y, "origin": ORIGIN}) for i, t, y in rows]
    folder = world.folder / name
    folder.mkdir()
    (folder / "events.ndjson").write_bytes(b"\n".join(events) + b"\n")
    (folder / "truth.ndjson").write_bytes(b"\n".join(answers) + b"\n")
    files = ["--events", folder / "events.ndjson", "--vetting", folder / "truth.ndjson", "--out", folder]
    if labelled:
        given = np.flatnonzero(np.random.default_rng([world.seed, 3]).random(sent) < labelled)
        (folder / "feedback.ndjson").write_bytes(b"".join(answers[i] + b"\n" for i in given))
        files += ["--feedback", folder / "feedback.ndjson"]
    tocsin("replay", "--registry", world.root, "--name", MODEL, *files)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    conserved = summary["events"] + sum(summary["quarantined"].values()) == sent
    counted = sum(w["events"] for w in _lines(folder / "windows.ndjson")) == summary["events"]
    kept = {"produced": sent, "quarantined": summary["quarantined"], "conserved": conserved and counted}
    return folder, kept


def in_replay(world: World) -> dict[str, Any]:
    """Everything that does not need a broker, for one seed."""
    rows, control = world.rows, world.rows.control.take(np.arange(CONTROL))
    folder, kept = replayed(world, "calm", [("control", "1", control)])
    calm = told(folder, "1", None)
    folder, kept_test = replayed(
        world, "test", [("control", "1", control.take(np.arange(5000))), ("test", "1", rows.first)]
    )
    test = told(folder, "1", None, first_window=5)
    folder, kept_labelled = replayed(
        world,
        "labelled",
        [("control", "1", control.take(np.arange(5000))), ("test", "1", rows.first)],
        labelled=LABELLED,
    )
    labelled = told(folder, "1", None, first_window=5)
    folder, kept_attack = replayed(world, "attack", [("test", "2", world.second())])
    poisoned = told(folder, "2", world.trigger)
    folder, kept_honest = replayed(world, "honest", [("control", "3", control)])
    honest = told(folder, "3", None)
    folder, kept_moved = replayed(world, "moved", [("test", "3", rows.second)])
    return {
        "control": calm,
        "test": test,
        "test_with_labels": labelled,
        "poisoned": poisoned,
        "honest_retrain_control": honest,
        "honest_retrain_test": told(folder, "3", None),
        "counts": {
            "control": kept,
            "test": kept_test,
            "test_with_labels": kept_labelled,
            "poisoned": kept_attack,
            "honest_retrain_control": kept_honest,
            "honest_retrain_test": kept_moved,
        },
    }


def live(world: World) -> dict[str, Any]:
    """The same rows through Kafka and `tocsin run`, which acts; the server follows the registry's pointer."""
    rows, control = world.rows, world.rows.control.take(np.arange(5000))
    with Live(world.folder / "live", world.root, world.registry, world.served) as run:
        run.serve("control", control)
        run.serve("test", rows.first)
        tocsin(
            "registry", "promote", "--registry", world.root, "--name", MODEL, "--version", "2", "--reason", "retrain"
        )
        run.serve("attack", world.second(), world.carriers)
    served = run.served_by
    by_version = {
        v: {"triggered": n, "passed": passed, "events": events} for v, (n, passed, events) in served["attack"].items()
    }
    windows = _lines(run.state / "windows.ndjson")
    total = sum(w["events"] for w in windows)
    quarantined = len(_lines(run.state / "quarantine.ndjson"))
    actions = {
        f"{a['action']} to {a['target']}: {a['result']}"
        for i in _lines(run.state / "incidents.ndjson")
        for a in i["action"]
    }
    return {
        "version_1": told(run.state, "1", None, first_window=5),
        "version_2": told(run.state, "2", world.trigger),
        "attack_served_by": by_version,
        "answers_given": run.answered,
        "serving_at_the_end": world.registry.pointers().serving,
        "actions": sorted(actions),
        "counts": {
            "produced": run.produced,
            "in_windows": total,
            "quarantined": quarantined,
            "conserved": run.produced == total + quarantined,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Tocsin on NSL-KDD.")
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--no-kafka", action="store_true")
    given = parser.parse_args()
    official, test = read_part(given.data / "train_36f.parquet"), read_part(given.data / "test_36f.parquet")
    new = ~np.isin(test.kind, np.unique(official.kind))
    about = {"training_rows": len(official), "test_rows": len(test), "test_rows_of_new_attacks": int(new.sum())}
    about["new_attack_types"] = len(np.unique(test.kind[new]))
    results: dict[str, Any] = {}
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as name:
            _say(f"seed {seed}: training")
            world = World(Path(name), split(official, test, seed), seed)
            world.retrain()
            found = {"quality": world.quality()}
            _say(json.dumps(found["quality"]))
            if seed == 0 and not given.no_kafka:
                _say("  through Kafka")
                found["kafka"] = live(world)
                _say(json.dumps(found["kafka"]))
                pointers = world.registry.pointers()
                if pointers.serving != "1":
                    world.registry.promote("1", expected=pointers.serving, known_good=False, by="bench", reason="next")
            _say("  replays")
            found["replay"] = in_replay(world)
            _say(json.dumps(found["replay"]))
            results[f"seed {seed}"] = found
    settings = {
        "poisoned": POISONED,
        "triggered": TRIGGERED,
        "control": CONTROL,
        "labelled": LABELLED,
        "seeds": given.seeds,
    }
    print(json.dumps({"data": about, "settings": settings, "results": results, "machine": describe()}, indent=2))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
