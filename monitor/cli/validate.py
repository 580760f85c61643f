"""`tocsin validate`: whether a configuration file is good for `tocsin run`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from monitor.alerts.route_notes import routing_notes
from monitor.alerts.sink_files import check_files
from monitor.alerts.template import TemplateError
from monitor.audit_keys import objection
from monitor.charges import house
from monitor.cli.output import show
from monitor.key_use import key_notes
from monitor.settings.config import Config, ConfigError, load_config
from monitor.settings.problems import Problem
from monitor.settings.response_sections import ServingConfig
from rollback.audit.log import AuditError
from rollback.reload.exchange import Credentials
from rollback.reload.reloader import ReloadRefusedError
from rollback.signing.keys import KeyFileError


def validate(
    config: Annotated[Path, typer.Option("--config", help="The YAML file.", show_default=False)],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Check a configuration file, and that the files it names are there and hold what they should.

    Example: tocsin validate --config tocsin.yaml
    """
    loaded = load_config(config, os.environ)
    check_for_run(loaded, config)
    notes = [*key_notes(loaded, datetime.now(UTC)), *routing_notes(loaded)]
    text = "\n".join([_in_words(loaded), *(f"note: {note}" for note in notes)])
    show({"valid": True, **summary(loaded), "notes": notes}, as_json=as_json, text=text)


def check_for_run(config: Config, path: Path | None) -> None:
    """`ConfigError` with everything that `tocsin run` would lack."""
    problems = [*_missing_sections(config), *_missing_files(config)]
    if problems := problems or [*_unusable_keys(config), *_unusable_secrets(config)]:
        raise ConfigError(path, problems)


def summary(config: Config) -> dict[str, Any]:
    """What the configuration amounts to."""
    kafka = config.kafka
    topics = {
        "inference": kafka.inference_topic if kafka else None,
        "feedback": kafka.feedback_topic if kafka else None,
        "trusted": kafka.trusted_feedback_topic if kafka else None,
    }
    return {
        "mode": config.mode,
        "models": sorted(config.models),
        "topics": topics,
        "registry": str(config.registry),
        "state_dir": str(config.state_dir),
    }


def _in_words(config: Config) -> str:
    facts = summary(config)
    topics = ", ".join(f"{topic} ({role})" for role, topic in facts["topics"].items() if topic)
    return "\n".join(
        [
            "valid",
            f"mode      {facts['mode']}",
            f"models    {', '.join(facts['models'])}",
            f"topics    {topics}",
            f"registry  {facts['registry']}",
            f"state     {facts['state_dir']}",
        ]
    )


def _missing_sections(config: Config) -> Iterator[Problem]:
    if config.kafka is None:
        yield Problem("kafka", "missing: where events come from")
    if not config.models:
        yield Problem("models", "missing: name at least one model to watch")
    for name, model in config.models.items():
        if model.trusted_origins and config.kafka and config.kafka.trusted_feedback_topic is None:
            yield Problem(
                f"models.{name}.trusted_origins",
                "nobody would be believed: kafka.trusted_feedback_topic is missing",
            )


def _missing_files(config: Config) -> Iterator[Problem]:
    if config.registry.exists() and not config.registry.is_dir():
        yield Problem("registry", f"{config.registry} is not a folder")
    elif not config.registry.exists():
        yield Problem("registry", f"{config.registry} does not exist: `tocsin registry add` or `train` makes it")
    if config.state_dir.exists() and not config.state_dir.is_dir():
        yield Problem("state_dir", f"{config.state_dir} is not a folder")
    for field, path in _named_files(config):
        if not path.is_file():
            yield Problem(field, f"{path} does not exist" if not path.exists() else f"{path} is not a file")
        elif not os.access(path, os.R_OK):
            yield Problem(field, f"{path} cannot be read: permission denied")


def _unusable_keys(config: Config) -> Iterator[Problem]:
    """Of files that are there: keys that are none, or not believed."""
    try:
        if why := objection(config, datetime.now(UTC)):
            yield Problem("signing.key_file", why)
    except KeyFileError as error:
        yield Problem("signing", str(error))
    except AuditError as error:  # the log that is there is not signed by these keys
        yield Problem("state_dir", str(error))
    try:
        house(config)
    except KeyFileError as error:
        yield Problem("approvers", str(error))


def _unusable_secrets(config: Config) -> Iterator[Problem]:
    """Of files that are there: a token that is too short, empty passwords, certificates that are none."""
    for read in _secrets(config):
        try:
            read()
        except ConfigError as error:
            yield from error.problems
    for name, sink in config.sinks.items():
        try:
            check_files(sink)
        except (OSError, TemplateError) as error:
            yield Problem(f"sinks.{name}", str(error))
    for name, model in config.models.items():
        for field, path in _files_of_servers(model.serving):
            yield from _unusable_credential(f"models.{name}.serving.{field}", path)


def _unusable_credential(field: str, path: Path) -> Iterator[Problem]:
    """A token that is none, certificates that cannot be used."""
    try:
        if field.endswith(".token_file"):
            Credentials(token_file=path).headers()
        elif field.endswith(".ca_file"):
            Credentials(ca_file=path).context()
    except ReloadRefusedError as error:
        yield Problem(field, str(error))


def _secrets(config: Config) -> Iterator[Callable[[], object]]:
    """Each reads a file that must hold something; raises `ConfigError`."""
    if config.admin.listen is not None:
        yield config.admin.token
    if config.kafka is not None:
        yield config.kafka.sasl_password
        yield config.kafka.ssl_password


def _named_files(config: Config) -> Iterator[tuple[str, Path]]:
    for section_name, section in (("kafka", config.kafka), ("signing", config.signing)):
        for field, value in section or ():
            if isinstance(value, Path):
                yield f"{section_name}.{field}", value
    for i, key in enumerate(config.signing.trusted_keys):
        yield f"signing.trusted_keys.{i}", key
    yield from ((f"approvers.{name}", path) for name, path in config.approvers.items())
    if config.admin.token_file is not None:
        yield "admin.token_file", config.admin.token_file
    yield from _files_of_sinks(config)
    for name, model in config.models.items():
        yield from ((f"models.{name}.serving.{field}", path) for field, path in _files_of_servers(model.serving))


def _files_of_sinks(config: Config) -> Iterator[tuple[str, Path]]:
    """All but the file that alerts are written to."""
    for name, sink in config.sinks.items():
        for prefix, section in ((f"sinks.{name}", sink), (f"sinks.{name}.kafka", sink.kafka)):
            for field, value in section or ():
                if isinstance(value, Path) and field != "path":
                    yield f"{prefix}.{field}", value


def _files_of_servers(serving: ServingConfig) -> Iterator[tuple[str, Path]]:
    """Files that the adapter's section names; those it names by itself are there where it runs."""
    settings = getattr(serving, serving.chosen)
    for field in fields(settings) if settings is not None else ():
        value = getattr(settings, field.name)
        if isinstance(value, Path) and value != field.default:
            yield f"{serving.chosen}.{field.name}", value
