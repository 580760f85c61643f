"""`tocsin run`: the loop over Kafka, with its state on disk, its figures on a port, and an orderly end."""

from __future__ import annotations

import os
import random
import secrets
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec
import structlog
from prometheus_client import CollectorRegistry

from monitor.alerts.courier import Clocks
from monitor.alerts.delivery import close_all
from monitor.alerts.open_sinks import open_sinks
from monitor.alerts.route_notes import configured_routing, routing_notes
from monitor.alerts.vetting_queues import open_queues
from monitor.assemble import Assembly, Surroundings, assemble
from monitor.audit_keys import audit_keys
from monitor.audited import FindingsBook, QuarantineBook, Recording, note_configuration
from monitor.charges import charges, house, open_responder
from monitor.inbox import Hunted, Inbox, KeysRead, ServedOtherwise
from monitor.incidents.closing_desk import CLOSINGS, ClosingDesk
from monitor.key_use import START, key_ids, key_notes
from monitor.labels.keeping import open_keeping
from monitor.loop import Loop, LoopSettings, News, Parts
from monitor.new_version import Prepared
from monitor.open_requests import CHECKPOINTS, open_requests
from monitor.oracle import Elsewhere
from monitor.outlet_ends import DescriptorEnd, TopicEnd
from monitor.outlets import Background, Outlet
from monitor.response import ANSWERS, RETRAININGS, NoResponse, Responding
from monitor.schedule import open_schedule
from monitor.settings.config import Config, KafkaConfig
from monitor.settings.problems import ConfigError, Problem
from monitor.sources.kafka import KafkaSource
from monitor.sources.kafka_configured import configured
from monitor.sources.kafka_group import SoleMember, require_empty_group
from monitor.sources.kafka_settings import KafkaSettings
from monitor.sources.source import Listener, Role
from monitor.state.checkpoint import CheckpointStore
from monitor.state.settlement import Checkpoints, Stateful
from monitor.stop import Stop, StoppedError
from monitor.supervise import Supervision, supervise, when_reachable
from monitor.watching.admin import AdminListener
from monitor.watching.alert_metrics import AlertMetrics
from monitor.watching.health import Health
from monitor.watching.http import Listener as HttpListener
from monitor.watching.metrics import Metrics
from monitor.watching.otlp import OtlpStages
from monitor.watching.process_metrics import gpus_of_this_machine, watch_process
from monitor.watching.response_board import ResponseBoard
from monitor.watching.response_metrics import ResponseMetrics
from monitor.watching.schedule_metrics import ScheduleMetrics
from monitor.watching.stages import NoStages, Stages
from rollback.audit.anchors import Anchors
from rollback.audit.log import FILE_NAME, AuditLog, read_records
from rollback.durable import sync_folder
from rollback.registry.file import FileRegistry, Trust
from rollback.response.desk import FolderDesk
from rollback.response.policy import Mode
from rollback.signing.keys import Keys
from rollback.signing.trust_list import keys_from_files

log = structlog.get_logger()

HASH_KEY = "hash.key"
Acting = Literal["watcher", "both"]


def kafka_settings(kafka: KafkaConfig) -> KafkaSettings:
    """The configuration's section as the source wants it; reads the secrets' files."""
    topics: dict[str, Role] = {kafka.inference_topic: "inference"}
    if kafka.feedback_topic:
        topics[kafka.feedback_topic] = "feedback"
    if kafka.trusted_feedback_topic:
        topics[kafka.trusted_feedback_topic] = "trusted"
    return replace(
        configured(kafka, topics, kafka.group_id), start_at=kafka.start_at, group_instance_id=kafka.group_instance_id
    )


def vetting_topic(kafka: KafkaConfig) -> str:
    """Where requests for labels are published, besides `vetting.ndjson`."""
    return f"{kafka.inference_topic}.vetting"


def hash_key(folder: Path) -> bytes:
    """The secret that ids are hashed with, made on first use: who does not know it cannot aim for a collision."""
    path = folder / HASH_KEY
    if not path.exists():
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            temporary.chmod(0o600)
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(folder)
    return path.read_bytes()


def run(config: Config, mode: Mode, role: Acting, version: str) -> None:
    """Watch until told to stop. Raises what a person must mend; a broker that is away is waited for."""
    if config.kafka is None:
        raise ConfigError(None, [Problem("kafka", "missing: tocsin run reads from Kafka")])
    if not config.models:
        raise ConfigError(None, [Problem("models", "no model is named: there is nothing to watch")])
    stop = Stop()
    settings = kafka_settings(config.kafka)
    registry, metrics = _figures(version)
    health = Health(time.monotonic)
    with ExitStack() as stack:
        store = stack.enter_context(CheckpointStore(config.state_dir / CHECKPOINTS))
        listener = stack.enter_context(HttpListener(config.http.listen, registry, health))
        log.info("listening", listen=config.http.listen, port=listener.port)
        audit = _open_audit(stack, config, {"version": version, "mode": mode, "role": role})
        note_configuration(config, mode, audit)
        anchors = Anchors(read_records(config.state_dir / FILE_NAME))
        registries = {name: open_configured(config, name, anchors) for name in config.models}
        charged = charges(config, registries, os.environ)
        responding: Responding = NoResponse()
        if role == "both":
            responding = open_responder(config, mode, charged, audit, time.time)
        stack.callback(responding.close)
        _admin(stack, config)
        stages = _stages(stack, config, version)
        alert_metrics = AlertMetrics(registry)
        around = Surroundings(
            registries,
            config.state_dir,
            store,
            metrics,
            responding,
            hash_key(config.state_dir),
            seed=0,
            incident_outlets=[*_stdout(stack, metrics), *_sinks(stack, config, alert_metrics, version)],
            vetting_outlets=[
                _requests(stack, config.state_dir, vetting_topic(config.kafka), settings, metrics),
                *_queues(stack, config, alert_metrics),
            ],
        )
        parts = assemble(config, around)
        for name, watch in parts.watches.items():
            watch.open()
            metrics.features(name, watch.feature_names())
        health.loaded = True
        reloaders = {name: each.target.reloader for name, each in charged.items()}
        preparations = {name: watch.preparation() for name, watch in parts.watches.items()}
        figures, topic = ScheduleMetrics(registry), config.kafka.audit_topic
        elsewhere = None if topic is None else _topic(stack, topic, settings, metrics)
        schedule = open_schedule(
            config, registries, reloaders, figures, config.state_dir, time.time, preparations, elsewhere
        )
        stack.enter_context(schedule)
        news: deque[News] = deque()
        book, unread = FindingsBook(anchors, audit), QuarantineBook(parts.quarantine, audit, time.time)
        take = partial(take_findings, schedule.inbox, responding, news, book)
        orders = ClosingDesk(config.state_dir / CLOSINGS, house(config).approvers, _complain)
        follow = partial(take_orders, orders, news, book)
        board = ResponseBoard(
            ResponseMetrics(registry), responding, audit, config.state_dir / RETRAININGS, config.models, time.time
        )
        over = Supervision(stop, health, metrics, _in_turn(take, follow, unread.look, board.look))
        with suppress(StoppedError):
            when_reachable(lambda: require_empty_group(settings, sleep=stop.wait), over)
            loop, source = _loop(parts, responding, settings, store, metrics, config, news, stages)
            supervise(loop, source, SoleMember(settings, source.other_members, time.monotonic), over)
        log.info("stopped")
        unread.close()
        audit.append("stop", {})


def _figures(version: str) -> tuple[CollectorRegistry, Metrics]:
    registry = CollectorRegistry()
    watch_process(registry, gpus_of_this_machine())
    return registry, Metrics(registry, version, time.time)


def open_configured(config: Config, name: str, anchors: Anchors | None = None) -> FileRegistry:
    """The registry of a model with the keys of the configuration; its trial keys where none is named.

    ``anchors`` are what the audit log holds of it.
    """
    signing = config.signing
    if signing.trusted_keys or signing.key_file:
        keys = keys_from_files(signing.trusted_keys, signing.key_file)
    else:
        log.warning("no signing.trusted_keys are configured: bundles are checked with the registry's own trial keys")
        keys = Keys.trial(config.registry)
    known = anchors or Anchors(())
    unsigned = frozenset(config.model(name).allow_unsigned)
    trust = Trust(known.of(name), unsigned, partial(known.rewritten, name))
    return FileRegistry(config.registry, name, keys, time.time, trust, config.bundles.limits())


def _open_audit(stack: ExitStack, config: Config, about: Mapping[str, str]) -> AuditLog:
    """The log, with a record of this start and of the keys that are used."""
    for note in key_notes(config, datetime.now(UTC)):
        log.warning("keys", note=note)
    keys = audit_keys(config)
    audit = AuditLog(config.state_dir / FILE_NAME, time.time, keys)
    stack.callback(audit.close)
    sealer = None if keys.signing is None else keys.signing.public.key_id
    models = sorted(config.models)
    audit.append(START, {**about, "models": models, **key_ids(config), "checkpoint_key": sealer})
    return audit


def _admin(stack: ExitStack, config: Config) -> None:
    """The kill switch over HTTP, where it is configured."""
    if config.admin.listen is not None:
        desk = FolderDesk(config.state_dir / ANSWERS)
        admin = stack.enter_context(AdminListener(config.admin.listen, config.admin.token(), desk))
        log.info("admin listening", listen=config.admin.listen, port=admin.address[1])


def _stages(stack: ExitStack, config: Config, version: str) -> Stages:
    """Who is told of the loop's stages: a collector of traces, where one is configured."""
    if config.tracing.endpoint is None:
        return NoStages()
    stages = OtlpStages(config.tracing.endpoint, config.tracing.share, version)
    stack.callback(stages.close)
    return stages


def _sinks(stack: ExitStack, config: Config, metrics: AlertMetrics, version: str) -> list[Outlet]:
    """The SIEM's."""
    clocks = Clocks(time.time, time.monotonic)
    rng = random.Random()  # noqa: S311 - spreads retries, guards nothing
    routing = configured_routing(config)
    for note in routing_notes(config):
        log.warning("routing", note=note)
    sinks = open_sinks(config.sinks, config.state_dir, metrics, clocks, rng, version, routing)
    stack.callback(close_all, sinks)
    return [*sinks]


def _queues(stack: ExitStack, config: Config, metrics: AlertMetrics) -> list[Outlet]:
    """Those of the labellers."""
    clocks = Clocks(time.time, time.monotonic)
    rng = random.Random()  # noqa: S311 - spreads retries, guards nothing
    queues = open_queues(config.sinks, config.state_dir, metrics, clocks, rng)
    stack.callback(close_all, queues)
    return [*queues]


def _in_turn(*each: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        for one in each:
            one()

    return run


def take_findings(inbox: Inbox, responding: Responding, news: deque[News], record: Recording) -> None:
    """What scheduled jobs found comes into the loop here, in the loop's own thread."""
    for found in inbox.drain():
        if isinstance(found, Prepared):
            news.append(found)
        elif isinstance(found, Hunted):
            record.hunted(found)
            news.append(found)
        elif isinstance(found, KeysRead):
            record.keys(found)
        elif isinstance(found, ServedOtherwise):
            record.served(found)
            responding.probed(found.model, found.version, found.problem, found.at)
        else:
            record.checked(found)


def take_orders(desk: ClosingDesk, news: deque[News], record: Recording) -> None:
    """What operators ordered is in the audit log before it is followed."""
    for order in desk.new():
        record.dismissed(order)
        news.append(order)


def _complain(why: str) -> None:
    log.error("an order is not followed", reason=why)


def _stdout(stack: ExitStack, metrics: Metrics) -> list[Outlet]:
    """Incidents on stdout; none where the process was started without one: the descriptor may be another file's."""
    if sys.stdout is None:
        log.warning("there is no stdout: incidents are written to state_dir only")
        return []
    outlet = Background("stdout", DescriptorEnd(sys.stdout.fileno()), metrics.line_dropped)
    stack.callback(outlet.close)
    return [outlet]


def _requests(stack: ExitStack, state_dir: Path, topic: str, settings: KafkaSettings, metrics: Metrics) -> Outlet:
    """Requests for labels as messages; those that are open are sent again, as a crash may have come before it."""
    outlet = _topic(stack, topic, settings, metrics)
    for found in open_requests(state_dir):
        outlet.append(msgspec.json.encode(found.request))
    return outlet


def _topic(stack: ExitStack, topic: str, settings: KafkaSettings, metrics: Metrics) -> Outlet:
    end = TopicEnd(topic, settings)
    stack.callback(end.close)
    outlet = Background(topic, end, metrics.line_dropped)
    stack.callback(outlet.close)
    return outlet


def _loop(
    parts: Assembly,
    responding: Responding,
    settings: KafkaSettings,
    store: CheckpointStore,
    metrics: Metrics,
    config: Config,
    news: deque[News],
    stages: Stages,
) -> tuple[Loop, KafkaSource]:
    sources: list[KafkaSource] = []

    def connect(listener: Listener) -> KafkaSource:
        sources.append(KafkaSource(settings, listener))
        return sources[0]

    kept: dict[str, Stateful] = {"response": responding, **parts.kept()}
    checkpoints = Checkpoints(store, kept, parts.outputs, metrics.checkpointed)
    loop = Loop(
        Parts(
            connect,
            parts.intake,
            parts.watches,
            parts.teller,
            checkpoints,
            Elsewhere(),
            time.time,
            news,
            open_keeping(config, time.time),
            stages,
        ),
        LoopSettings(settle_seconds=config.checkpoint_every_seconds),
    )
    return loop, sources[0]
