"""What the responder is in charge of, as the configuration says it: servers, policy, retraining, buffers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from monitor.reloaders import reloader
from monitor.response import ANSWERS, RETRAININGS
from monitor.retraining import retrainer
from monitor.settings.config import Config
from monitor.settings.config_sections import ModelConfig, SigningConfig
from monitor.settings.response_sections import ResponseConfig, RetrainConfig
from monitor.training_buffer import training_buffer
from rollback.audit.log import FILE_NAME, AuditLog
from rollback.registry.registry import Registry
from rollback.response.cases import Tries
from rollback.response.charge import Charge
from rollback.response.desk import FolderDesk, House
from rollback.response.maintenance import maintenance
from rollback.response.policy import Mode, PolicySettings
from rollback.response.responder import Responder
from rollback.response.steps import Target
from rollback.response.worker import Threads
from rollback.signing.keys import KeyFileError, read_public_key
from rollback.train.child import ChildTrainer, Limits
from rollback.train.thread import ThreadTrainer
from rollback.train.trainer import Trainer

log = structlog.get_logger()


def charges(config: Config, registries: Mapping[str, Registry], environ: Mapping[str, str]) -> dict[str, Charge]:
    """One charge for each model of the configuration; a child process that retrains gets ``environ``."""
    return {
        name: charge(name, config.model(name), registry, trainer(config, name, environ), environ)
        for name, registry in registries.items()
    }


def open_responder(
    config: Config, mode: Mode, charged: Mapping[str, Charge], audit: AuditLog, clock: Callable[[], float]
) -> Responder:
    """The responder of a state folder: its memory is the audit log there, its desk and its results lie beside it."""
    folder = config.state_dir
    (folder / ANSWERS).mkdir(parents=True, exist_ok=True)  # ours: else whoever answers first would own it
    desk = FolderDesk(folder / ANSWERS, lambda why: log.warning("an answer cannot be used", why=why), house(config))
    return Responder(mode, charged, desk, Threads(), audit, folder / FILE_NAME, folder / RETRAININGS, clock)


def house(config: Config) -> House:
    """Who may answer, and what holds everything. Raises `KeyFileError`."""
    approvers = {name: read_public_key(path) for name, path in config.approvers.items()}
    names = {key.key_id: name for name, key in approvers.items()}
    if len(names) < len(approvers):
        raise KeyFileError("approvers: two names have the same key; each person needs a key of their own")
    wanted = max((model.response.approvals for model in config.models.values()), default=1)
    if 0 < len(approvers) < wanted:
        raise KeyFileError(f"approvers: {wanted} people must approve, and only {len(approvers)} may")
    return House(approvers, config.hold, config.hold_file)


def charge(name: str, model: ModelConfig, registry: Registry, trainer: Trainer, environ: Mapping[str, str]) -> Charge:
    """A model with its servers, its policy and the trainer of its candidates."""
    return Charge(
        Target(registry, reloader(name, model.serving, environ)),
        trainer,
        training_buffer(model, registry),
        policy_settings(model.response, model.retrain),
        Tries(attempts=model.response.attempts, retry_seconds=model.response.retry_seconds),
        model.serving.grace_seconds,
    )


def policy_settings(response: ResponseConfig, retrain: RetrainConfig) -> PolicySettings:
    """The policy's part of the two sections."""
    return PolicySettings(
        minimum_confidence=response.minimum_confidence,
        withdraw_confidence=response.withdraw_confidence,
        probation_confidence=response.probation_confidence,
        probation_seconds=response.probation_seconds,
        maintenance=tuple(maintenance(text, response.timezone) for text in response.maintenance),
        approvals=response.approvals,
        cooldown_seconds=response.cooldown_seconds,
        rollbacks_per_day=response.rollbacks_per_day,
        retrain=retrain.enabled,
        release=response.release,
    )


def trainer(config: Config, name: str, environ: Mapping[str, str]) -> Trainer:
    """Retrains with `tocsin retrain` in a child process with limits, or as it does, in a thread of the daemon."""
    retrain = config.model(name).retrain
    limits = Limits(timeout_seconds=retrain.timeout_seconds, memory_bytes=retrain.memory_mib * 2**20)
    if retrain.trainer == "thread":
        return ThreadTrainer(retrainer(config, name), clock=time.monotonic, now=time.time, limits=limits)
    # what persons have decided about rows holds for the daemon's own retraining too
    options = ["--seed", str(retrain.seed), "--device", retrain.device, "--reviewed", "--anew", *_keys(config.signing)]
    if retrain.recipe is not None:
        options += ["--recipe", retrain.recipe]
    if retrain.benign is not None:
        options += ["--benign", retrain.benign]
    return ChildTrainer(
        [sys.executable, "-m", "monitor"],
        config.registry,
        clock=time.monotonic,
        now=time.time,
        environ=environ,
        limits=limits,
        options=options,
    )


def _keys(signing: SigningConfig) -> list[str]:
    """The options that name the keys: a candidate is signed by the daemon's key."""
    trusted = [option for path in signing.trusted_keys for option in ("--trusted-key", _absolute(path))]
    own = [] if signing.key_file is None else ["--signing-key", _absolute(signing.key_file)]
    return [*trusted, *own]


def _absolute(path: Path) -> str:
    return str(path.absolute())
