"""How an incident stands, and what is left to do about it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from monitor.messages import ActionTaken, Incident
from monitor.report.material import Material
from monitor.report.words import moment, shown

MOST_OF_VERSION: Final = 80

STANDS: Final = {
    "proposed": "waits for approval",
    "running": "is under way",
    "done": "is done",
    "declined": "was declined",
    "withdrawn": "was withdrawn",
    "rejected": "was rejected",
    "halted": "is halted",
}


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do; ``command`` is empty where no command does it."""

    what: str
    command: str = ""


def acted(action: ActionTaken) -> str:
    """What an action is called: a retraining has no target that it goes to, but one that it makes."""
    if not action.target:
        return action.action
    version = f"version {shown(action.target, MOST_OF_VERSION)}"
    return f"{action.action} ({version})" if action.action == "retraining" else f"{action.action} to {version}"


def standing(last: Incident) -> str:
    """What has come of the incident, by its newest message: what was done, and whether it is over."""
    acts = [f"{acted(action)} {STANDS[action.result]}" for action in last.action]
    done = f"{'; '.join(acts)}." if acts else "Nothing was done by Tocsin."
    if last.activity == "close":
        by = f" by {last.closed_by}" if last.closed_by else ""
        why = f": {last.close_reason}" if last.close_reason else ""
        return f"{done[:1].upper()}{done[1:]} Closed{by} as {last.status} ({moment(last.at)} UTC){why}."
    also = ", only suspected so far: nobody is paged, nothing is rolled back" if last.status == "suspected" else ""
    return f"{done[:1].upper()}{done[1:]} The incident is open{also}."


def steps(found: Material, config: str) -> list[Step]:
    """What a person should do next, the most urgent first; ``config`` is the daemon's file, empty if not known."""
    given = f"--config {shlex.quote(config)}" if config else "--config tocsin.yaml"
    last, uid = found.last, shlex.quote(found.uid)
    return [
        *_about_audit(found, config),
        *_about_actions(found, given),
        *([Step(f"What would decide it: {last.decider}.")] if last.decider and last.activity != "close" else []),
        *_about_labels(found, given),
        *_about_missed(found, uid, given),
        *_about_end(found, uid, given),
    ]


def verify_command(found: Material, config: str) -> str:
    """The command that checks the audit log: with the daemon's keys where its file is known."""
    keys = f" --config {shlex.quote(config)}" if config else ""
    if not keys and found.audit.state == "chained":
        keys = " --trusted-key KEY.pub.pem"
    return f"tocsin audit verify {shlex.quote(str(found.state))}{keys}"


def _about_audit(found: Material, config: str) -> Iterator[Step]:
    if found.audit.state == "broken":
        yield Step(
            "The audit log is not what was written. Keep a copy of the folder, find out who could write there, and "
            "trust nothing in this report that rests on it.",
            verify_command(found, config),
        )


def _about_actions(found: Material, given: str) -> Iterator[Step]:
    for action in found.last.action:
        key = shlex.quote(action.key)
        if action.result == "proposed":
            yield Step(
                f"Decide about the {acted(action)}: approve or decline it.",
                f"tocsin response approve {given} {key}",
            )
        elif action.result == "halted":
            yield Step(
                f"The {action.action} is halted: {action.detail}. Mend that, then let it go on.",
                f"tocsin response again {given} {key}",
            )
        elif action.result == "running":
            yield Step(f"Wait: the {action.action} is under way{f' ({action.detail})' if action.detail else ''}.")
        elif action.result == "rejected":
            yield Step(
                f"The candidate of the {action.action} did not pass: {action.detail}. Read what failed, then mend the "
                "training data.",
                f"tocsin response list --all {given}",
            )


def _about_labels(found: Material, given: str) -> Iterator[Step]:
    if found.requests and found.last.activity != "close":
        yield Step("Answer the open requests for labels, if there are any left.", f"tocsin vet list {given}")


def _about_missed(found: Material, uid: str, given: str) -> Iterator[Step]:
    if found.last.family == "poisoning" and found.last.status != "retracted" and not found.missed:
        which = f"--registry REGISTRY --name {shlex.quote(found.last.model)} --incident {uid}"
        yield Step(
            "Find out what the poisoned version let pass while it served: events of that time, decided again.",
            f"tocsin hunt {given} {which} --events EVENTS.ndjson",
        )


def _about_end(found: Material, uid: str, given: str) -> Iterator[Step]:
    last = found.last
    if last.activity == "close":
        yield Step("The incident is closed. Keep this page with the case.")
        return
    pending = {"proposed", "running", "halted", "rejected"} & {action.result for action in last.action}
    if not last.action:
        yield Step("Nothing has been done by Tocsin. The summary above says what to do.")
    elif not pending:
        yield Step("Tocsin does nothing more about it by itself. Look whether the model does what it should.")
    if not pending:
        yield Step("Close it by hand when it is over.", f'tocsin incidents close {uid} {given} --reason "..."')
