"""The few requests of MLflow's REST interface that moving an alias takes (`api/2.0/mlflow`)."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Final
from urllib.parse import urlencode

import msgspec

from rollback.reload.exchange import AnswerError, Credentials, Reply, Server, decode, refusal
from rollback.reload.reloader import ReloadRefusedError
from rollback.reload.v2_tensors import BAD_JSON

API: Final = "/api/2.0/mlflow"
TAG: Final = "tocsin.version"
READY: Final = "READY"
_Word = Annotated[str, msgspec.Meta(max_length=1000)]


class _Tag(msgspec.Struct, frozen=True):
    key: str
    value: str = ""


class _Version(msgspec.Struct, frozen=True):
    name: _Word
    version: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,18}$")]
    status: _Word = READY
    status_message: _Word = ""
    tags: list[_Tag] = []

    def ours(self) -> str | None:
        """The name of our version, if it carries one."""
        return next((tag.value[:100] for tag in self.tags if tag.key == TAG), None)


class _One(msgspec.Struct, frozen=True):
    model_version: _Version


class _Many(msgspec.Struct, frozen=True):
    model_versions: list[_Version] = []


class _Error(msgspec.Struct, frozen=True):
    message: str = ""


_ERROR: Final = msgspec.json.Decoder(_Error)
_ONE: Final = msgspec.json.Decoder(_One)
_MANY: Final = msgspec.json.Decoder(_Many)


@dataclass(frozen=True, slots=True)
class Alias:
    """What an alias names: MLflow's number, and the version of ours that it stands for (None: it has no tag)."""

    number: str
    version: str | None

    def __str__(self) -> str:
        return (
            f"number {self.number}, version {self.version!r}" if self.version else f"number {self.number} without {TAG}"
        )


class MlflowClient:
    """One registered model. Every call is one request of at most ``seconds``, and raises what `Server` raises."""

    def __init__(self, url: str, model: str, credentials: Credentials, seconds: float) -> None:
        self._server = Server(url, credentials)
        self._model = model
        self._seconds = seconds

    def number_of(self, version: str) -> str:
        """The MLflow version that stands for ``version``; `ReloadRefusedError` where there is not exactly one."""
        # a name of ours holds no quotes: see rollback.registry.moves.NAME
        query = urlencode({"filter": f"name='{self._model}' and tags.`{TAG}`='{version}'", "max_results": 100})
        path = f"{API}/model-versions/search"
        body = self._server.demand("GET", f"{path}?{query}", None, self._seconds)
        found = [each for each in decode(_MANY, body).model_versions if each.ours() == version]
        if len(found) != 1 or found[0].name != self._model:
            numbers = ", ".join(each.version for each in found[:5]) or "none"
            raise ReloadRefusedError(f"tagged {TAG}={version} must be one version of {self._model!r}; found: {numbers}")
        if found[0].status != READY:
            why = f"{found[0].status} {found[0].status_message}".strip()
            raise ReloadRefusedError(f"version {version} is number {found[0].version} there, which is {why[:200]}")
        return found[0].version

    def alias(self, name: str) -> Alias:
        """What the alias names. `ReloadRefusedError` where there is no such alias."""
        path = f"{API}/registered-models/alias"
        reply = self._server.ask(
            "GET", f"{path}?{urlencode({'name': self._model, 'alias': name})}", None, self._seconds
        )
        if not reply.good:
            if _is_missing(reply):
                raise ReloadRefusedError(f"there is no alias {name!r} of {self._model!r}: set it once")
            raise refusal("GET", path, reply)
        found = decode(_ONE, reply.body).model_version
        if found.name != self._model:
            raise AnswerError(f"it describes {found.name[:100]!r}, asked was for {self._model!r}")
        return Alias(found.version, found.ours())

    def set_alias(self, name: str, number: str) -> None:
        """Make the alias name that version."""
        body = {"name": self._model, "alias": name, "version": number}
        self._server.demand("POST", f"{API}/registered-models/alias", body, self._seconds)


def _is_missing(reply: Reply) -> bool:
    """MLflow 3 answers 400 with INVALID_PARAMETER_VALUE for an alias that is not there, 404 for a model that is not."""
    try:
        said = _ERROR.decode(reply.body)
    except BAD_JSON:
        return False
    return reply.status == HTTPStatus.BAD_REQUEST and "not found" in said.message
