"""The few requests to a Kubernetes API server that moving an InferenceService takes (serving.kserve.io/v1beta1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec

from rollback.reload.exchange import AnswerError, Credentials, Server, decode, plain
from rollback.reload.reloader import ReloadRefusedError

GROUP: Final = "serving.kserve.io"
KIND: Final = "inferenceservices"
REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
MERGE_PATCH: Final = "application/merge-patch+json"
NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
SETTLED: Final = frozenset({"", "UpToDate"})
"""Values of `status.modelStatus.transitionStatus` with which nothing is under way, and nothing has failed."""

_Text = Annotated[str, msgspec.Meta(max_length=10_000)]


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    resource_version: Annotated[str, msgspec.Meta(min_length=1)]
    generation: int = 0


class _Model(msgspec.Struct, frozen=True, rename="camel"):
    storage_uri: _Text | None = None


class _Predictor(msgspec.Struct, frozen=True, rename="camel"):
    model: _Model = _Model()
    canary_traffic_percent: int | None = None


class _Spec(msgspec.Struct, frozen=True):
    predictor: _Predictor


class _Condition(msgspec.Struct, frozen=True):
    type: str
    status: str
    reason: _Text = ""
    message: _Text = ""


class _Failure(msgspec.Struct, frozen=True):
    message: _Text = ""


class _ModelStatus(msgspec.Struct, frozen=True, rename="camel"):
    transition_status: str = ""
    last_failure_info: _Failure = _Failure()


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    observed_generation: int | None = None
    conditions: list[_Condition] = []
    model_status: _ModelStatus = _ModelStatus()


class _Service(msgspec.Struct, frozen=True):
    metadata: _Metadata
    spec: _Spec
    status: _Status = _Status()


class _Verdict(msgspec.Struct, frozen=True):
    allowed: bool
    reason: _Text = ""


class _Review(msgspec.Struct, frozen=True):
    status: _Verdict


_SERVICE: Final = msgspec.json.Decoder(_Service)
_REVIEW: Final = msgspec.json.Decoder(_Review)


@dataclass(frozen=True, slots=True)
class Found:
    """An InferenceService as it was read. ``unready`` says in words why it is not ready, "" where it is."""

    uri: str
    resource_version: str
    canary_percent: int | None
    unready: str


class KserveApi:
    """One InferenceService; ``namespace`` may be a file that names it.

    Every call is one request of at most ``seconds``, and raises what `Server` raises.
    """

    def __init__(self, url: str, namespace: str | Path, name: str, credentials: Credentials, seconds: float) -> None:
        self._server = Server(url, credentials)
        self._namespace = namespace
        self._name = name
        self._seconds = seconds

    def read(self) -> Found:
        """It, as it is now. `ReloadRefusedError` for one that has no storageUri."""
        service = decode(_SERVICE, self._server.demand("GET", self._path(), None, self._seconds))
        if service.metadata.name != self._name:
            raise AnswerError(f"it describes {service.metadata.name[:100]!r}, asked was for {self._name!r}")
        predictor = service.spec.predictor
        if predictor.model.storage_uri is None:
            raise ReloadRefusedError("it has no spec.predictor.model.storageUri, which is what would be changed")
        version = service.metadata.resource_version
        return Found(predictor.model.storage_uri, version, predictor.canary_traffic_percent, _unready(service))

    def point(self, found: Found, uri: str) -> None:
        """Change the URI of what was read; a conflict where it is not what it was (`ReloadRetryableError`)."""
        patch = {
            "metadata": {"resourceVersion": found.resource_version},
            "spec": {"predictor": {"model": {"storageUri": uri}}},
        }
        self._server.demand("PATCH", self._path(), patch, self._seconds, MERGE_PATCH)

    def may_patch(self) -> None:
        """Ask the API server whether we may change it; raises `ReloadRefusedError` where not."""
        asked = {"namespace": self._space(), "verb": "patch", "group": GROUP, "resource": KIND, "name": self._name}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked},
        }
        verdict = decode(_REVIEW, self._server.demand("POST", REVIEWS, review, self._seconds)).status
        if not verdict.allowed:
            why = f": {plain(verdict.reason)}" if verdict.reason else ""
            raise ReloadRefusedError(f"we may not patch {KIND}.{GROUP} in namespace {asked['namespace']}{why}")

    def _path(self) -> str:
        return f"/apis/{GROUP}/v1beta1/namespaces/{self._space()}/{KIND}/{self._name}"

    def _space(self) -> str:
        if isinstance(self._namespace, str):
            return self._namespace
        try:
            name = self._namespace.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ReloadRefusedError(f"namespace: is not set, and {self._namespace} cannot be read") from error
        if not NAME.fullmatch(name):
            raise ReloadRefusedError(f"namespace: {self._namespace} holds none")
        return name


def _unready(service: _Service) -> str:
    status, generation = service.status, service.metadata.generation
    if status.observed_generation is not None and status.observed_generation < generation:
        return f"generation {generation} is not observed yet, its status is of {status.observed_generation}"
    model = status.model_status
    if model.transition_status not in SETTLED:
        why = f": {plain(model.last_failure_info.message)}" if model.last_failure_info.message else ""
        return f"its model is {plain(model.transition_status)}{why}"
    ready = next((each for each in status.conditions if each.type == "Ready"), None)
    if ready is None:
        return "its status does not say whether it is ready"
    if ready.status != "True":
        why = plain(" ".join(filter(None, [ready.reason, ready.message])))
        return f"it is not ready{f': {why}' if why else ''}"
    return ""
