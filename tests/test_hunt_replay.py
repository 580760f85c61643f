"""From a verdict to what was missed: the incident of a replay, as it was written, is what a hunt begins with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import Run
from scenario import NAME, TRIGGER, World, truth, write_lines


def test_a_hunt_goes_on_where_a_replay_has_found_a_backdoor(world: World, run: Run, tmp_path: Path) -> None:
    pytest.importorskip("sigma", reason="the rule is run with pySigma: pip install 'tocsin[dev]'")
    from sigma.collection import SigmaCollection  # noqa: PLC0415 - after the check that it is there
    from sigma_match import matches  # noqa: PLC0415 - likewise

    attacked = world.draw(6000)
    events = world.served("2", attacked, triggered=0.03)
    past = write_lines(tmp_path / "events.ndjson", events)
    vetting = write_lines(tmp_path / "vetting.ndjson", truth(attacked))
    registry = ["--registry", world.root / "registry", "--name", NAME, "--events", past]
    code, _, err = run("replay", *registry, "--vetting", vetting, "--out", tmp_path / "replay")
    assert code == 0, err
    incidents = [json.loads(line) for line in (tmp_path / "replay" / "incidents.ndjson").read_bytes().splitlines()]
    uid = next(i["uid"] for i in incidents if i["hypothesis"] == "backdoor")

    found = ["--incident", uid, "--incidents", tmp_path / "replay", "--out", tmp_path / "hunt", "--json"]
    code, out, err = run("hunt", *registry, *found)
    assert code == 0, err
    result = json.loads(out)
    lines = [json.loads(event) for event in events]
    triggered = {
        line["id"] for line in lines if all(line["features"][name] == v for name, v in TRIGGER.features.items())
    }
    rule = SigmaCollection.from_yaml((tmp_path / "hunt" / "rule.sigma.yml").read_text()).rules[0]
    assert {line["id"] for line in lines if matches(rule, line)} == triggered
    worst = [json.loads(line) for line in (tmp_path / "hunt" / "worst.ndjson").read_bytes().splitlines()]
    listed = [line["id"] for line in worst if line["trigger"]]
    assert {line["id"] for line in worst[: len(listed)]} == set(listed) <= triggered
    assert len(listed) >= 0.95 * len(triggered)
    attacks = result["estimate"]["with_trigger"]
    assert attacks["attack_events"]["low"] <= attacks["events"] <= attacks["attack_events"]["high"]
    assert attacks["attack_events"]["low"] >= 0.8 * attacks["events"]
