"""What may be done about a poisoned model, and with what: the servers, the policy, the retraining."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from monitor.settings.problems import unknown
from monitor.settings.section import Section, split_list
from rollback.reload.adapter import adapters
from rollback.reload.exchange import Address
from rollback.reload.exec import Settings as ExecSettings
from rollback.reload.kserve import Settings as KserveSettings
from rollback.reload.mlflow import Settings as MlflowSettings
from rollback.reload.pointer import Settings as PointerSettings
from rollback.reload.v2 import Settings as V2Settings
from rollback.response.maintenance import maintenance

MOST_ENDPOINTS = 32


def _check_url(url: str) -> str:
    found = urlsplit(url)
    if found.scheme not in {"http", "https"} or not found.hostname:
        raise ValueError("must be a URL such as http://localhost:8000")
    if found.username or found.password:
        raise ValueError("must hold no user or password")
    Address.of(url)
    return url.rstrip("/")


Url = Annotated[str, AfterValidator(_check_url)]
Urls = Annotated[
    list[Url],
    BeforeValidator(split_list, json_schema_input_type=list[str] | str),
]


def _check_adapter(name: str) -> str:
    if name not in adapters():
        raise ValueError(unknown(name, adapters()))
    return name


Adapter = Annotated[
    str, AfterValidator(_check_adapter), WithJsonSchema({"type": "string", "enum": [*adapters()], "title": "Adapter"})
]


class ServingConfig(Section):
    """The servers that serve the model, and how they are made to serve another version; see docs/rollback.md."""

    adapter: Adapter | None = None
    """What kind of servers they are; by default `v2` where there are endpoints, else `pointer`."""
    endpoints: Urls = Field(default_factory=list, max_length=MOST_ENDPOINTS)
    """Base URL of every server (Open Inference Protocol, V2, over HTTP); each one is asked what it serves."""
    load_path: str = Field(default="/v2/repository/models/{model}/load", pattern=r"^/")
    """Adapter `v2`: a POST there makes a server load what the registry's pointer names; `{model}` is the model."""
    output: str = Field(default="scores", min_length=1, max_length=100)
    """Name of the tensor with the scores [N, k], in class order, in an endpoint's answer."""
    timeout_seconds: float = Field(default=10.0, gt=0, le=300)
    """How long a server may take for an answer."""
    load_timeout_seconds: float = Field(default=60.0, gt=0, le=3000)
    """How long a server (or a command) may take to load a version."""
    grace_seconds: float = Field(default=300.0, ge=0)
    """Events of a replaced version count as proof that it still serves when they are later than this after the move."""
    pointer: PointerSettings | None = None
    """Servers that read the registry's folder themselves."""
    v2: V2Settings | None = None
    """Servers with the model repository extension: MLServer, Triton."""
    mlflow: MlflowSettings | None = None
    """An alias in an MLflow model registry, which the servers follow."""
    kserve: KserveSettings | None = None
    """A KServe InferenceService."""
    exec: ExecSettings | None = None
    """A command of your own."""

    @property
    def chosen(self) -> str:
        """The adapter's name."""
        return self.adapter or ("v2" if self.endpoints else "pointer")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.endpoints)) != len(self.endpoints):
            raise ValueError("endpoints: one is named twice")
        own = {name for name in adapters() if getattr(self, name) is not None}
        if idle := sorted(own - {self.chosen}):
            raise ValueError(f"{', '.join(idle)} would not be used: the adapter is {self.chosen}")
        if self.chosen not in own and adapters()[self.chosen].NEEDS_SETTINGS:
            raise ValueError(f"the adapter {self.chosen} needs its section, {self.chosen}")
        if self.chosen == "v2" and not self.endpoints:
            raise ValueError("the adapter v2 needs endpoints")
        return self

    @property
    def observable(self) -> bool:
        """Whether anybody can be asked what is served."""
        return bool(self.endpoints) or adapters()[self.chosen].ASKS_BY_ITSELF


class ResponseConfig(Section):
    """When Tocsin acts by itself."""

    minimum_confidence: float = Field(default=0.95, ge=0.5, le=1)
    """A verdict that is less sure leads to nothing."""
    withdraw_confidence: float = Field(default=0.8, ge=0.5, le=1)
    """A rollback that has not begun is withdrawn when the poisoning becomes less likely than this."""
    probation_seconds: float = Field(default=86_400.0, ge=0)
    """For so long after a version was made to serve, probation_confidence is enough."""
    probation_confidence: float = Field(default=0.9, ge=0.5, le=1)
    """What minimum_confidence is for a version on probation."""
    maintenance: list[str] = Field(default_factory=list)
    """Windows such as `Sat,Sun 02:00-06:00` or `daily 22:00-02:00`: nothing is begun in them that nobody approved."""
    timezone: str = "UTC"
    """The zone of maintenance windows, such as `Europe/Berlin`."""
    approvals: Literal[1, 2] = 1
    """How many different people must approve what waits for approval."""
    cooldown_seconds: float = Field(default=3600.0, ge=0)
    """A second rollback so soon after the first waits for approval."""
    rollbacks_per_day: int = Field(default=3, ge=0)
    """More rollbacks than that wait for approval."""
    attempts: int = Field(default=6, ge=1)
    """How often a step is tried before the response halts and a person is called."""
    retry_seconds: float = Field(default=5.0, gt=0, le=300)
    """Between the first two tries; it doubles with every further one."""
    release: Literal["approval", "automatic"] = "approval"
    """Whether a retrained candidate that has passed the gate waits for approval before it serves."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.withdraw_confidence <= self.probation_confidence <= self.minimum_confidence:
            raise ValueError("withdraw_confidence <= probation_confidence <= minimum_confidence does not hold")
        for text in self.maintenance:
            maintenance(text, self.timezone)
        return self


class RetrainConfig(Section):
    """How a poisoned version is retrained on sanitised data."""

    enabled: bool = True
    """Whether a rollback leads to a retraining."""
    recipe: str | None = None
    """A recipe's name, or the path of a recipe file; that of the last known good version unless said."""
    benign: str | None = Field(default=None, min_length=1)
    """The class that lets things pass; that of the last known good version's manifest unless said."""
    seed: int = Field(default=0, ge=0)
    """Of split, screens and training."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """A GPU is used where there is one, unless said."""
    trainer: Literal["child", "thread"] = "child"
    """A child process with limits, or a thread of the daemon, where nothing but time is limited."""
    label: str = "label"
    """The column of classes in a buffer that `models.NAME.buffer` names."""
    source: str | None = None
    """Its column of sources, if any."""
    session: str | None = None
    """Its column of sessions, if any."""
    timeout_seconds: float = Field(default=6 * 3600.0, gt=0)
    """A retraining that takes longer is ended."""
    memory_mib: int = Field(default=16_384, ge=512)
    """Memory that it may use, in MiB; a thread takes what it needs from the daemon's."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        named = [c for c in (self.label, self.source, self.session) if c]
        if len(set(named)) != len(named):
            raise ValueError("label, source and session must be different columns")
        return self
