"""`tocsin store build`: a training store from recorded events and feedback, joined as the daemon joins them."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client import CollectorRegistry

from monitor.assemble import Assembly, Surroundings, assemble
from monitor.cli.output import show
from monitor.cli.registry_options import AsJson, Name, Root, SigningKeyFile, Trusted, open_registry, registry_keys
from monitor.labels.keeping import StoreKeeping
from monitor.response import NoResponse
from monitor.settings.config import ModelConfig, load_config
from monitor.sources.file import FileSource
from monitor.sources.source import Committed, Partition, Role
from monitor.state.checkpoint import MemorySegments
from monitor.watching.metrics import Metrics
from monitor.window import ClosedWindow
from rollback.registry.registry import Registry
from rollback.store.store import Store

HASH_KEY = b"tocsin store: the same bytes every time"
TURN = 2000


def build(
    registry: Root,
    name: Name,
    events: Annotated[
        list[Path], typer.Option("--events", help="Inference events: NDJSON (.gz, .zst) or Parquet; may be repeated.")
    ],
    folder: Annotated[Path, typer.Option("--store", help="The store's folder.", show_default=False)],
    feedback: Annotated[list[Path] | None, typer.Option("--feedback", help="Feedback events; may be repeated.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Settings of the model; defaults without.")] = None,
    trusted_key: Trusted = None,
    signing_key: SigningKeyFile = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Join recorded events with feedback and add them to a store; nothing is judged, and nobody is trusted by it.

    Example: tocsin store build --registry registry --name nids --events day.ndjson --feedback said.ndjson --store store
    """
    settings = load_config(config, os.environ)
    settings = settings.model_copy(update={"models": {name: settings.models.get(name, ModelConfig())}})
    keeper = open_registry(registry, name, trusted_key)
    store = Store(folder, registry_keys(registry, trusted_key, signing_key))
    files: list[tuple[Path, Role]] = [(path, "inference") for path in events]
    files += [(path, "feedback") for path in feedback or []]
    with tempfile.TemporaryDirectory() as scratch:
        parts = assemble(settings, _around({name: keeper}, Path(scratch)))
        kept = _join(parts, files, StoreKeeping({name: store}, time.time))
        unread = sum(parts.quarantine.by_reason.values())
        for output in parts.outputs.values():
            output.close()
    facts = {"events": parts.intake.events, "rows": kept, "unreadable": unread, "store": str(folder)}
    text = f"{kept} labelled rows of {parts.intake.events} events were added to {folder}"
    show(facts, as_json=as_json, text=text + (f"; {unread} messages could not be read" if unread else ""))


def _around(registries: Mapping[str, Registry], folder: Path) -> Surroundings:
    metrics = Metrics(CollectorRegistry(), "store", time.time)
    return Surroundings(registries, folder, MemorySegments(), metrics, NoResponse(), HASH_KEY, 0)


class _Anew:
    """Files are read from their beginning, and nobody takes them away."""

    def on_assigned(self, partitions: Mapping[Partition, Committed | None]) -> Mapping[Partition, int]:  # noqa: ARG002 - the seam's signature
        return {}

    def on_positioned(self, offsets: Mapping[Partition, int]) -> None:
        """Nothing to do."""

    def on_revoked(self, partitions: Sequence[Partition]) -> None:
        """Nothing to do."""

    def on_lost(self, partitions: Sequence[Partition]) -> None:
        """Nothing to do."""


def _join(parts: Assembly, files: list[tuple[Path, Role]], keeping: StoreKeeping) -> int:
    """How many labels were joined and kept."""
    for watch in parts.watches.values():
        watch.open()
    source = FileSource(files, _Anew())
    kept = 0
    while not source.finished:
        for chunk in source.poll(TURN, 0.0):
            for closed in parts.intake.take(chunk, math.inf):
                kept += _keep(parts, closed, keeping)
    for closed in parts.intake.flush():
        kept += _keep(parts, closed, keeping)
    for model, version in sorted(parts.intake.labelled()):
        kept += _keep(parts, parts.intake.without_events(model, version), keeping)
    keeping.flush()
    return kept


def _keep(parts: Assembly, closed: ClosedWindow, keeping: StoreKeeping) -> int:
    """Remember a window's events for their labels, and keep those that were joined."""
    served = parts.watches[closed.model].served(closed.version)
    if served is None:
        return 0
    if len(closed.batch):
        # nothing is judged, so that nothing is scored: the scores are those that were served
        parts.intake.channels[closed.model].labels.store(closed.batch, served.schema.classes, closed.batch.scores, None)
    labels = parts.intake.labels(closed.model, closed.version)
    if labels is None:
        return 0
    keeping.labels(closed.model, served.schema, labels)
    return len(labels)
