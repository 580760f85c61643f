"""What `mode: act` would do now about a poisoning: asked of the policy itself, with the cases that the log holds."""

from __future__ import annotations

import time

from monitor.charges import policy_settings
from monitor.settings.config import Config
from monitor.settings.response_sections import ServingConfig
from rollback.audit.log import FILE_NAME
from rollback.registry.registry import Pointers
from rollback.response.policy import Finding, PolicySettings, Standing, decide
from rollback.response.record import read_cases


def would_do(config: Config, model: str, pointers: Pointers, *, retrainable: bool, now: float | None = None) -> str:
    """In words: what follows a confirmed poisoning of the version that serves. Raises `AuditError`."""
    chosen = config.model(model)
    policy = policy_settings(chosen.response, chosen.retrain)
    found = Finding("tocsin-doctor", model, pointers.serving or "", "poisoning", "confirmed", 1.0)
    cases, at = read_cases(config.state_dir / FILE_NAME), time.time() if now is None else now
    case = decide(found, Standing(pointers), cases, "act", policy, at)
    if case is None:
        return _nothing(pointers)
    servers = _servers(chosen.serving)
    first = f"wait for approval ({case.detail}), then " if case.phase == "approval" else ""
    sure = f"a poisoning of version {case.expected} with confidence {policy.minimum_confidence:g} or more"
    after = _after(policy, retrainable=retrainable)
    return f"{sure}: {first}move the serving pointer to version {case.target}, {servers}, {after}"


def _servers(serving: ServingConfig) -> str:
    count = len(serving.endpoints)
    endpoints = f"{count} endpoint{'s' * (count != 1)}"
    if serving.chosen == "v2":
        return f"make {endpoints} load it"
    watched = serving.chosen == "pointer" and not (serving.pointer and serving.pointer.hooks)
    told = "leave it to the servers to see that" if watched else f"have the servers load it ({serving.chosen})"
    return f"{told} and ask {endpoints}" if count else told


def _nothing(pointers: Pointers) -> str:
    if pointers.serving is None:
        return "nothing: no version serves"
    return (
        f"nothing: version {pointers.serving} serves and is the last known good one, so there is none to roll back to"
    )


def _after(policy: PolicySettings, *, retrainable: bool) -> str:
    if not policy.retrain:
        return "and not retrain (retrain.enabled is false)"
    if not retrainable:
        return "and halt before retraining: its training buffer is not known"
    then = "wait for approval of the candidate" if policy.release == "approval" else "release a candidate that passes"
    return f"retrain on sanitised data, and {then}"
