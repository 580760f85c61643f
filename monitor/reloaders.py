"""The servers of a model, by the adapter that its configuration names."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.settings.config_sections import ModelConfig
from monitor.settings.problems import Problem
from monitor.settings.response_sections import ServingConfig
from rollback.reload.adapter import Site, adapters
from rollback.reload.reloader import Reloader
from rollback.reload.v2_client import V2Settings


def reloader(name: str, serving: ServingConfig, environ: Mapping[str, str]) -> Reloader:
    """The servers of a model, by the adapter that is configured."""
    asking = V2Settings(
        timeout_seconds=serving.timeout_seconds,
        load_timeout_seconds=serving.load_timeout_seconds,
        load_path=serving.load_path,
        output=serving.output,
    )
    adapter = adapters()[serving.chosen]
    settings = getattr(serving, serving.chosen) or adapter.Settings()
    made: Reloader = adapter.make(settings, Site(name, tuple(serving.endpoints), asking, environ))
    return made


def serving_problems(models: Mapping[str, ModelConfig]) -> list[Problem]:
    """What is wrong with the servers of any model, besides what their sections say of themselves."""
    found = []
    for name, model in models.items():
        try:
            reloader(name, model.serving, {})
        except ValueError as error:
            found.append(Problem(f"models.{name}.serving", str(error)))
    return found
