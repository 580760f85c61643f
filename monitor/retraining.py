"""A retraining as the daemon orders it: what the incident names, what persons have decided, done in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from monitor.incidents.file import read_incident
from monitor.messages import Incident
from monitor.reviews import DECISIONS, FOLDER
from monitor.settings.config import Config
from rollback.registry.file import FileRegistry
from rollback.retraining.data import Tables
from rollback.retraining.out import OtherRequestError, Out
from rollback.retraining.retrain import Outcome, Retraining, retrain
from rollback.sanitise.case import Hint
from rollback.sanitise.rows import Progress
from rollback.sanitise.sanitise import sanitise
from rollback.signing.keys import Keys
from rollback.signing.trust_list import keys_from_files
from rollback.train.child import INCIDENT
from rollback.train.thread import Retrain
from rollback.train.trainer import Order

log = structlog.get_logger()


def hint(incident: Incident) -> Hint:
    """What an incident implicates: it is looked at first, never believed."""
    named = incident.implicated
    # with several labels it is open which one the served model gave
    label = named.labels[0] if len(named.labels) == 1 else None
    return Hint(dict(named.features), tuple(named.sources), label, tuple(named.origins), tuple(named.events))


def decided(registry: Path, name: str) -> Path | None:
    """The file of what persons have decided about held slices of a model; None where there is none."""
    path = registry / name / FOLDER / DECISIONS
    return path if path.exists() else None


def anew_where_needed(begin: Callable[[], Outcome], folder: Out, say: Callable[[str], None]) -> Outcome:
    """What ``begin`` makes in a folder; another request's results there are put aside first, which is said."""
    try:
        return begin()
    except OtherRequestError:
        say(f"{folder.folder}: what another request has left there is put into {folder.set_aside()}")
        return begin()


def retrainer(config: Config, name: str) -> Retrain:
    """Does orders as `tocsin retrain` does them with the options of the configuration.

    The registry is opened anew each time. Without keys in the configuration candidates are signed with the registry's
    trial key.
    """
    chosen, signing, root = config.model(name).retrain, config.signing, config.registry

    def do(order: Order, progress: Progress) -> None:
        named = bool(signing.trusted_keys) or signing.key_file is not None
        keys = keys_from_files(signing.trusted_keys, signing.key_file) if named else Keys.trial(root, make=True)
        registry = FileRegistry(root, name, keys, time.time, limits=config.bundles.limits())
        incident = read_incident(order.out / INCIDENT)
        asked = Retraining(
            place=str(root.resolve()),
            model=name,
            tables=Tables.of(order.buffer, keys=keys),
            hint=hint(incident),
            incident=incident.uid,
            recipe=chosen.recipe,
            seed=chosen.seed,
            device=chosen.device,
            decisions=decided(root, name),
            keys=keys,
            benign=chosen.benign,
        )
        out = Out(order.out)
        begin = partial(retrain, registry, asked, out, sanitise=sanitise, by="tocsin", progress=progress)
        anew_where_needed(begin, out, lambda said: log.info("retraining", said=said))

    return do
