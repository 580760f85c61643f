"""`tocsin vet` in a terminal: what attackers named does nothing there, and what is shown can be answered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import Run
from vetting_material import request, write_state

ESCAPE = "\x1b]0;owned\x07\x1b[2J"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tocsin.yaml"
    kafka = "{bootstrap_servers: ['127.0.0.1:1'], inference_topic: soc.inference, trusted_feedback_topic: soc.trusted}"
    path.write_text(f"state_dir: state\nkafka: {kafka}\nmodels: {{nids: {{trusted_origins: [analyst]}}}}\n")
    return path


def test_a_request_is_shown_with_all_that_an_answer_needs(config: Path, run: Run) -> None:
    write_state(config.parent / "state", [request()])
    code, said, _ = run("vet", "list", "--config", config)
    assert code == 0
    assert said.splitlines() == [
        "flow-7  (model nids, incident 8f14e45fceea167a5a36dedd4bea2543)",
        "  why: version 2 and version 1 disagree about it",
        "  scores: attack=0.2, benign=0.8",
        "  features: dst_port=4444, flags=S0",
        "  see: https://pcap.example/flow-7",
        "  open until 2026-01-04 00:01 UTC, by the events' clock",
        f"  answer: tocsin vet label --config {config} --id flow-7 --label attack|benign",
    ]


def test_without_requests_it_says_whether_anything_has_run(config: Path, run: Run) -> None:
    state = config.parent / "state"
    assert run("vet", "list", "--config", config)[1] == (
        f"no open requests: nothing has run yet with state_dir {state}\n"
    )
    write_state(state, [request()], answered=["flow-7"])
    assert run("vet", "list", "--config", config)[1] == "no open requests\n"


def test_no_escape_sequence_gets_to_the_terminal(config: Path, run: Run) -> None:
    hostile = request(f"a{ESCAPE}\nb", why=ESCAPE, features={ESCAPE: ESCAPE, "\u202e": "\r"}, ref=ESCAPE)
    write_state(config.parent / "state", [hostile])
    said = run("vet", "list", "--config", config)[1]
    assert all(line.isprintable() for line in said.splitlines())
    assert len(said.splitlines()) == 7
    assert "\\x1b]0;owned\\x07" in said
    listed = json.loads(run("vet", "list", "--config", config, "--json")[1])
    assert listed[0]["id"] == hostile.id


def test_an_answer_names_the_event_as_it_was_shown(config: Path, run: Run) -> None:
    write_state(config.parent / "state", [request("a\x1b[2J")])
    code, _, said = run("vet", "label", "--config", config, "--id", "a\\x1b[2J", "--label", "odd")
    assert (code, "is no class of the model; it knows attack, benign" in said) == (1, True)


def test_an_id_that_was_chosen_to_look_like_another_one_is_not_answered_by_mistake(config: Path, run: Run) -> None:
    write_state(config.parent / "state", [request("a\x1b"), request("a\\x1b")])
    code, _, said = run("vet", "label", "--config", config, "--id", "a\\x1b", "--label", "benign")
    assert (code, "several open requests look like" in said) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--id", "nobody", "--label", "attack"), "no open request for event 'nobody'; tocsin vet list shows them"),
        (("--id", "flow-7", "--label", "attack", "--origin", "x"), "no trusted origin of model nids; those are: anal"),
    ],
)
def test_an_answer_that_cannot_be_taken_says_why(
    config: Path, run: Run, arguments: tuple[str, ...], words: str
) -> None:
    write_state(config.parent / "state", [request()])
    code, _, said = run("vet", "label", "--config", config, *arguments)
    assert (code, words in said) == (1, True)
