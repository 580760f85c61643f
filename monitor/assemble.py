"""Puts a loop together from a configuration: the one place where every part meets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from detectors.batch import Floats
from detectors.evidence import Detector, State, make_detectors
from monitor.decoding.decode import InferenceDecoder
from monitor.decoding.envelope import DecodeLimits
from monitor.decoding.feedback import FeedbackDecoder
from monitor.decoding.quarantine import Quarantine
from monitor.decoding.reader import Served
from monitor.dedup import Deduplicator
from monitor.incidents.book import IncidentBook
from monitor.intake import Channels, Intake
from monitor.labels.joins import JoinSettings, LabelJoin, Segments
from monitor.labels.labelled import Rescored
from monitor.outlets import Outlet, Tee
from monitor.response import Responding
from monitor.settings.config import Config, ModelConfig
from monitor.settings.detector_parameters import detector_parameters
from monitor.state.output_file import OutputFile
from monitor.state.settlement import Stateful
from monitor.teller import Outlets, Teller
from monitor.training_buffer import training_buffer
from monitor.vetting import VettingDesk, VettingSettings
from monitor.watch import Watch
from monitor.watching.metrics import Metrics
from monitor.window import WindowBuilder, WindowSettings
from rollback.registry.registry import Registry

REPEAT_HORIZON = 200_000
"""Events over which a repeat is recognised."""

OUTPUTS = ("quarantine", "vetting", "incidents", "windows")
"""In the order of saving: who sees a window finds all that belongs to it."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a loop takes from outside.

    ``folder`` gets the outputs; ``hash_key`` keys ids and sessions; ``seed`` is the detectors' randomness.
    ``trusted_origins`` are believed besides those of the configuration; the outlets get incidents and vetting requests
    besides the files.
    """

    registries: Mapping[str, Registry]
    folder: Path
    segments: Segments
    metrics: Metrics
    responding: Responding
    hash_key: bytes
    seed: int
    trusted_origins: frozenset[str] = frozenset()
    incident_outlets: Sequence[Outlet] = ()
    vetting_outlets: Sequence[Outlet] = ()


@dataclass(frozen=True, slots=True)
class Assembly:
    """The parts between source and outputs; `monitor.loop.Loop` drives them."""

    intake: Intake
    watches: Mapping[str, Watch]
    teller: Teller
    desk: VettingDesk
    quarantine: Quarantine
    outputs: Mapping[str, OutputFile]

    def kept(self) -> dict[str, Stateful]:
        """What a checkpoint holds of the parts, by the names that it has there."""
        return {"intake": self.intake, "watches": self, "teller": self.teller}

    def state(self) -> State:
        """Of every model's detectors, for the checkpoint."""
        return {name: watch.state() for name, watch in self.watches.items()}

    def restore(self, state: State) -> None:
        """Take back what `state` gave; a model that is no longer configured is forgotten."""
        for name, watch in self.watches.items():
            if name in state:
                watch.restore(state[name])


def assemble(config: Config, around: Surroundings) -> Assembly:
    """A loop's parts for every model of the configuration."""
    watches = {name: _watch(name, config.model(name), around) for name in config.models}
    desk = VettingDesk({name: VettingSettings(budget=m.vetting_budget) for name, m in config.models.items()})
    outputs = {name: OutputFile(around.folder / f"{name}.ndjson") for name in OUTPUTS}
    quarantine = Quarantine(outputs["quarantine"])
    limits = DecodeLimits(message_bytes=config.kafka.max_message_bytes) if config.kafka else DecodeLimits()
    intake = Intake(
        InferenceDecoder(_lookup(watches), around.hash_key, limits),
        FeedbackDecoder(
            {name: frozenset(m.trusted_origins) | around.trusted_origins for name, m in config.models.items()},
            _serving(watches),
            around.hash_key,
            limits,
        ),
        Deduplicator(REPEAT_HORIZON, around.hash_key),
        quarantine,
        {name: _channels(m, watches[name], around) for name, m in config.models.items()},
        desk,
        around.metrics,
        around.segments,
        around.hash_key,
    )
    outlets = Outlets(
        outputs["windows"],
        Tee([outputs["incidents"], *around.incident_outlets]),
        Tee([outputs["vetting"], *around.vetting_outlets]),
    )
    life = config.incidents
    book = IncidentBook(
        life.quiet_windows,
        life.update_seconds,
        life.silent_seconds,
        life.dismissed_seconds,
        frozenset(config.models),
    )
    teller = Teller(book, desk, around.responding, outlets, around.metrics, intake)
    return Assembly(intake, watches, teller, desk, quarantine, outputs)


def _watch(name: str, model: ModelConfig, around: Surroundings) -> Watch:
    chosen = detector_parameters(model)

    def detectors() -> list[Detector]:
        return make_detectors(model.false_alarm_every, model.false_ask_every, around.seed, chosen)

    registry = around.registries[name]
    return Watch(name, registry, detectors, training_buffer(model, registry))


def _channels(model: ModelConfig, watch: Watch, around: Surroundings) -> Channels:
    settings = WindowSettings(
        window_events=model.window_events,
        window_max_seconds=model.window_max_seconds,
        idle_seconds=model.idle_seconds,
    )
    join = JoinSettings(horizon_windows=model.label_horizon_windows)
    return Channels(WindowBuilder(settings), LabelJoin(join, around.segments, around.hash_key, _rescorer(watch)))


def _rescorer(watch: Watch) -> Callable[[Floats], Rescored]:
    """Scores features that came with feedback: as the serving version reads them."""

    def rescore(x: Floats) -> Rescored:
        version = watch.pointers().serving or ""
        known = watch.versions(version)
        blank = np.full((len(x), len(known.schema.classes)), np.nan)
        f = known.score_f(x) if known.score_f else blank
        g = known.score_g(x) if known.score_g else blank
        return Rescored(version, known.schema.classes, f, g)

    return rescore


def _lookup(watches: Mapping[str, Watch]) -> Callable[[str, str], Served | Literal["unknown_model", "unknown_version"]]:
    def lookup(model: str, version: str) -> Served | Literal["unknown_model", "unknown_version"]:
        watch = watches.get(model)
        if watch is None:
            return "unknown_model"
        return watch.served(version) or "unknown_version"

    return lookup


def _serving(watches: Mapping[str, Watch]) -> Callable[[str], Served | None]:
    def serving(model: str) -> Served | None:
        version = watches[model].pointers().serving
        return watches[model].served(version) if version else None

    return serving
