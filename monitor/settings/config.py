"""The configuration: one YAML file, with environment variables on top.

Every key can also come as `TOCSIN_SECTION__KEY` (`TOCSIN_KAFKA__GROUP_ID`, `TOCSIN_MODELS__NIDS__VETTING_BUDGET`),
which wins over the file; an empty variable counts as not set. In a variable a model's name is written with `_` for
every character that a variable cannot hold. Secrets are never values here, only paths of files (`..._file`).
Relative paths, wherever they are written, start at the folder of the configuration file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from monitor.reloaders import serving_problems
from monitor.settings.config_sections import (
    AdminConfig,
    BundlesConfig,
    HttpConfig,
    KafkaConfig,
    ModelConfig,
    SigningConfig,
)
from monitor.settings.detector_parameters import parameter_problems
from monitor.settings.explain import explain
from monitor.settings.incident_section import IncidentsConfig
from monitor.settings.problems import ConfigError, Problem, unknown
from monitor.settings.route_sections import RoutingConfig, routing_problems
from monitor.settings.schedule_section import ScheduleConfig
from monitor.settings.sink_sections import SinkConfig, SinkName
from monitor.settings.strict_yaml import read_yaml
from monitor.settings.tracing_section import TracingConfig

__all__ = [
    "BundlesConfig",
    "Config",
    "ConfigError",
    "HttpConfig",
    "KafkaConfig",
    "ModelConfig",
    "Problem",
    "SigningConfig",
    "load_config",
]

PREFIX = "TOCSIN_"
T = TypeVar("T", bound=BaseModel)

ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class Config(BaseSettings):
    """All settings. Made by `load_config`; `Config()` holds the defaults and reads nothing."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    mode: Literal["observe", "propose", "act"] = "observe"
    """Whether a rollback is only recorded, proposed, or carried out."""
    hold: bool = False
    """The kill switch: while it is set no step of a response is begun, whatever the mode."""
    hold_file: Path | None = None
    """The same, while this file exists."""
    approvers: dict[str, Path] = {}
    """Public keys (PEM) of those who may approve, by name: without a signature by one of them no answer counts then."""
    state_dir: Path = Path("state")
    """Everything that outlives a restart lies here, and only here."""
    registry: Path = Path("registry")
    """Folder of the model versions."""
    store: Path | None = None
    """Folder of training stores, one a model: events with their labels are kept there. Nothing is kept without."""
    kafka: KafkaConfig | None = None
    """Where events come from; not needed for `replay`."""
    models: dict[ModelName, ModelConfig] = {}
    """The models to watch, by name."""
    http: HttpConfig = HttpConfig()
    """Metrics and health."""
    tracing: TracingConfig = TracingConfig()
    """Traces of the loop's stages."""
    admin: AdminConfig = AdminConfig()
    """The kill switch over HTTP."""
    signing: SigningConfig = SigningConfig()
    """Keys."""
    bundles: BundlesConfig = BundlesConfig()
    """Limits of what is read from the registry."""
    incidents: IncidentsConfig = IncidentsConfig()
    """When an incident is updated, and when it is closed by itself."""
    sinks: dict[SinkName, SinkConfig] = {}
    """Where alerts go, by name."""
    routing: RoutingConfig = RoutingConfig()
    """Which incidents go to which of them, how often, and when not."""
    schedule: ScheduleConfig = ScheduleConfig()
    """What is done from time to time."""
    checkpoint_every_seconds: float = Field(default=10.0, gt=0)
    """How much work is done again after a crash, at most."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the base class's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load_config` hands in: nothing is read from the process's environment in passing."""
        return (init_settings,)

    def model(self, name: str) -> ModelConfig:
        """The settings of a model; the defaults where the file does not name it."""
        return self.models.get(name, ModelConfig())


def load_config(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration in the file (None: no file) with ``environ`` on top; `ConfigError` lists all that is wrong."""
    values = read_yaml(path) if path else {}
    try:
        config = Config(**_overlay(values, _from_environment(environ, values, path)))
    except ValidationError as error:
        raise ConfigError(path, explain(error, Config)) from error
    found = (
        parameter_problems(config.models),
        serving_problems(config.models),
        routing_problems(config.routing, config.sinks),
    )
    if problems := [problem for each in found for problem in each]:
        raise ConfigError(path, problems)
    return _anchored(config, path.parent) if path else config


class _Environment(EnvSettingsSource):
    """Reads the variables that are passed in; a list that is no JSON stays text, which the list's own type reads."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        super().__init__(Config)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._environ.items() if value}

    def decode_complex_value(self, field_name: str, field: Any, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


def _from_environment(environ: Mapping[str, str], values: Mapping[str, Any], path: Path | None) -> dict[str, Any]:
    found = _Environment(environ)()
    if problems := [*_strays(environ, found)]:
        raise ConfigError(path, problems)
    if isinstance(found.get("models"), dict):
        known = {_as_variable(str(name)): name for name in values.get("models") or ()}
        found["models"] = {known.get(name, name): model for name, model in found["models"].items()}
    return found


def _strays(environ: Mapping[str, str], found: Mapping[str, Any]) -> Iterator[Problem]:
    """Variables that belong to no section.

    One without `__` may be anything: Kubernetes itself sets TOCSIN_PORT and the like for a service of that name.
    """
    for name, value in environ.items():
        section, *rest = name.lower().removeprefix(PREFIX.lower()).split("__")
        if value and rest and name.upper().startswith(PREFIX) and section not in found:
            yield Problem(".".join([section, *rest]), f"{unknown(section, Config.model_fields)} (from {name})")


def _as_variable(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "_", name.lower())


def _overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _overlay(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _anchored(part: T, folder: Path) -> T:
    """The same settings with every relative path put under ``folder``."""
    return part.model_copy(update={name: _anchor(value, folder) for name, value in part})


def _anchor(value: Any, folder: Path) -> Any:
    if isinstance(value, BaseModel):
        return _anchored(value, folder)
    if isinstance(value, Path):
        return folder / value
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: _anchor(getattr(value, each.name), folder) for each in fields(value)})
    if isinstance(value, dict):
        return {key: _anchor(item, folder) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return type(value)(_anchor(item, folder) for item in value)  # type: ignore[call-arg]  # a list or a tuple
    return value
