"""One scenario over some seeds, told window by window: for looking, not for figures.

python -m separation.try_out SCENARIO [--data NAME] [--folder DIR] [--seeds 0-3] [--family mlp] [--only rate=0.01]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from separation.models import FAMILIES
from separation.play import Settings, play
from separation.scenario import Unsuited, scenarios
from separation.tables import load
from separation.world import Setting


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario")
    parser.add_argument("--data", default="soc")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--seeds", default="0-1")
    parser.add_argument("--family", default="")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--no-buffer", action="store_true")
    given = parser.parse_args()
    low, high = (int(s) for s in (given.seeds.split("-") * 2)[:2])
    scenario = scenarios()[given.scenario]
    for seed in range(low, high + 1):
        rows = load(given.data, given.folder, seed)
        setting = Setting(rows, given.family or FAMILIES[seed % 3], seed)
        for strength in scenario.strengths:
            shown = " ".join(f"{k}={v}" for k, v in strength.items())
            if not all(o in shown.split() for o in given.only):
                continue
            started = time.monotonic()
            try:
                episode = scenario.make(setting, strength)
            except Unsuited as reason:
                print(f"{given.data} {seed} {setting.family} {shown}: unsuited: {reason}")
                continue
            made = time.monotonic() - started
            outcome = play(episode, Settings(buffer=not given.no_buffer))
            truth = episode.truth
            verdict = outcome.gravest
            fired = sorted({e.detector for w in outcome.windows for e in w.evidence if e.status in ("fired", "error")})
            print(
                f"{given.data} {seed} {setting.family} {shown or '-'}: {outcome.called}/{verdict.hypothesis} "
                f"({verdict.confidence:.2f}) expected {'|'.join(truth.expected)}"
                f"{'' if truth.effective else ' INEFFECTIVE'} gain {truth.gain:.2f} asked {len(outcome.asked)} "
                f"windows {' '.join(w.verdict.family[:4] for w in outcome.windows)} "
                f"fired {fired}"
                f" [{made:.1f}+{time.monotonic() - started - made:.1f} s]",
                flush=True,
            )
            for note in {e.note for w in outcome.windows for e in w.evidence if e.status == "error"}:
                print("   error:", note)


if __name__ == "__main__":
    main()
