"""What a deployment can tell, by what it is given: levels 0 to 3, and what the next one takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from monitor.settings.config import Config
from monitor.training_buffer import training_buffer
from rollback.bundle import IntegrityError
from rollback.registry.registry import Registry, RegistryError

TELLS: Final = {
    0: "input and entropy drift, pipeline faults, bursts (from events alone)",
    1: "concept drift from label poisoning (labels of trusted origins)",
    2: "a backdoor from a new family, tampering; rollback (models of the serving and the last known good version)",
    3: "sanitised retraining (the training buffer)",
}
"""What each level adds."""


@dataclass(frozen=True, slots=True)
class Level:
    """``level`` is the highest of which nothing is missing, -1 where nothing can be watched.

    ``missing`` says of each further level what it takes: a key of the configuration, or a command.
    """

    level: int
    missing: Mapping[int, str]

    @property
    def adds(self) -> str:
        """What the next level would tell; "" at the highest."""
        return TELLS.get(self.level + 1, "")

    @property
    def how(self) -> str:
        """How to get there."""
        return self.missing.get(self.level + 1, "")


def level_of(config: Config, model: str, registry: Registry) -> Level:
    """The level of a model. Never raises for a registry that cannot be read: that is level -1."""
    missing = {
        level: how
        for level, how in (
            (0, _for_events(config, model, registry)),
            (1, _for_labels(config, model)),
            (2, _for_models(config, model, registry)),
            (3, _for_retraining(config, model, registry)),
        )
        if how
    }
    return Level(min(missing, default=len(TELLS)) - 1, missing)


def _for_events(config: Config, model: str, registry: Registry) -> str:
    try:
        if registry.pointers().last_known_good is not None:
            return ""
    except RegistryError as error:
        return str(error)
    return f"tocsin registry add --registry {config.registry} --name {model} --reference FILE --label COLUMN"


def _for_labels(config: Config, model: str) -> str:
    keys = []
    if config.kafka is None or config.kafka.trusted_feedback_topic is None:
        keys.append("kafka.trusted_feedback_topic")
    if not config.model(model).trusted_origins:
        keys.append(f"models.{model}.trusted_origins")
    return f"set {' and '.join(keys)}" if keys else ""


def _for_models(config: Config, model: str, registry: Registry) -> str:
    try:
        now = registry.pointers()
        for version in dict.fromkeys(v for v in (now.serving, now.last_known_good) if v is not None):
            if registry.load(version).manifest.onnx is None:
                return (
                    f"version {version} is a name with a reference: tocsin registry add --registry {config.registry} "
                    f"--name {model} --onnx FILE --reference FILE --label COLUMN"
                )
    except (RegistryError, IntegrityError) as error:
        return f"versions that can be verified: {error}"
    return "" if now.serving is not None else "a version that serves"


def _for_retraining(config: Config, model: str, registry: Registry) -> str:
    give = f"set models.{model}.buffer, or give it with tocsin registry add --buffer"
    try:
        serving = registry.pointers().serving
        found = None if serving is None else training_buffer(config.model(model), registry)(serving)
    except (RegistryError, IntegrityError, OSError) as error:
        return f"a training buffer that can be used: {error}"
    return give if found is None else ""
