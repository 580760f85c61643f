"""The same episodes with less to go on: what is still called, and how surely.

    python -m separation.less_input --out FILE.ndjson [--data soc] [--folder DIR] [--seeds 100-103] [--family mlp]

Each line is one play. A file that holds some of them is gone on with.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from separation.episode import Episode
from separation.models import FAMILIES, Family
from separation.play import Outcome, Settings, play
from separation.scenario import Unsuited, scenarios
from separation.shadowed import shadowed
from separation.tables import load
from separation.world import Setting

CONDITIONS: Final[Mapping[str, Settings]] = {
    "all": Settings(),
    "no source": Settings(sources=False),
    "no trusted label": Settings(trusted=False, budget=0),
    "shadow": Settings(shadow=True),
    "shadow, no buffer": Settings(shadow=True, buffer=False),
    "no LKG": Settings(lkg=False, buffer=False),
    "5% wrong": Settings(wrong=0.05),
}
EPISODES: Final[tuple[tuple[str, Mapping[str, Any]], ...]] = (
    ("backdoor", {"rate": 0.01, "features": 3}),
    ("backdoor", {"rate": 0.005, "features": 8}),
    ("learned_flips", {"rate": 0.05, "direction": "hide"}),
    ("feedback_flips", {"rate": 0.05, "by": "3 sources", "direction": "hide"}),
    ("honest_retrain", {}),
    ("new_family", {"benign": False}),
    ("moved_rule", {"learned": True}),
    ("covariate_drift", {"tilt": 1.0}),
    ("stable", {}),
)


def lines(data: str, folder: Path | None, seed: int, family: Family | None, done: set[str]) -> Iterator[dict[str, Any]]:
    """The plays of one seed that are not done yet; the family of models goes by the seed unless it is given."""
    rows = load(data, folder, seed)
    setting = Setting(rows, family or FAMILIES[seed % 3], seed)
    for name, strength in EPISODES:
        keys = {c: json.dumps([data, seed, name, strength, c]) for c in CONDITIONS}
        if done.issuperset(keys.values()):
            continue
        try:
            episode = scenarios()[name].make(setting, strength)
        except Unsuited:
            continue
        for condition, settings in CONDITIONS.items():
            if keys[condition] not in done:
                given = shadowed(episode, seed) if settings.shadow else episode
                yield {"key": keys[condition], **told(given, play(given, settings, seed=seed))} | {
                    "scenario": name, "condition": condition, "data": data, "seed": seed,
                }  # fmt: skip


def told(episode: Episode, outcome: Outcome) -> dict[str, Any]:
    """What is kept of a play."""
    verdict, truth = outcome.gravest, episode.truth
    return {
        "expected": list(truth.expected),
        "effective": truth.effective,
        "gain": truth.gain,
        "called": outcome.called,
        "hypothesis": verdict.hypothesis,
        "confidence": round(verdict.confidence, 4),
        "tentative": verdict.tentative,
        "level": verdict.level,
        "asked": len(outcome.asked),
        "fired": sorted({e.detector for w in outcome.windows for e in w.evidence if e.status in ("fired", "error")}),
    }


def table(path: Path) -> str:
    """Right, abstained (quiet or inconclusive) and wrong by condition, poison and drift apart; surest wrong verdict."""
    plays = [json.loads(line) for line in path.read_text().splitlines()]
    plays = [p for p in plays if p["effective"]]
    said = ["condition | poison n: called, open, quiet, drift | drift n: drift or quiet, open, poison | surest wrong"]
    for condition in CONDITIONS:
        own = [p for p in plays if p["condition"] == condition]
        poison = [p for p in own if "poisoning" in p["expected"]]
        honest = [p for p in own if "poisoning" not in p["expected"] and "regression" not in p["expected"]]
        bad = [p["called"] for p in poison]
        good = [p["called"] for p in honest]
        wrong = [p for p in poison if p["called"] in ("drift", "fault", "evasion")]
        wrong += [p for p in honest if p["called"] in ("poisoning", "regression", "evasion", "fault")]
        surest = max(wrong, key=lambda p: p["confidence"], default=None)
        shown = "-" if surest is None else f"{surest['scenario']} {surest['called']} {surest['confidence']:.2f}"
        said.append(
            f"{condition} | {len(bad)}: {bad.count('poisoning')}, {bad.count('inconclusive')}, {bad.count('stable')}, "
            f"{bad.count('drift')} | {len(good)}: {good.count('drift') + good.count('stable')}, "
            f"{good.count('inconclusive')}, {good.count('poisoning')} | {shown}"
            f"{' (tentative)' if surest and surest['tentative'] else ''}"
        )
    return "\n".join(said)


def main() -> None:
    """Play what is missing, then tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", default="soc")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--seeds", default="100-101")
    parser.add_argument("--family", choices=FAMILIES)
    given = parser.parse_args()
    low, high = (int(s) for s in (given.seeds.split("-") * 2)[:2])
    done = {json.loads(line)["key"] for line in given.out.read_text().splitlines()} if given.out.exists() else set()
    with given.out.open("a") as file:
        for seed in range(low, high + 1):
            for line in lines(given.data, given.folder, seed, given.family, done):
                file.write(json.dumps(line) + "\n")
                file.flush()
    print(table(given.out))


if __name__ == "__main__":
    main()
