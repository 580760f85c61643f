"""A Kubernetes API server in memory that holds one InferenceService, as strict about it as a real one.

Merge patches (RFC 7396) with optimistic locking, generations that follow the spec only, Status objects for what fails,
bearer tokens, access reviews. `Cluster.controller` plays KServe: it is told the URI of every new generation and returns
why it could not be rolled out, "" where it was.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

GROUP = "serving.kserve.io"
PATH = f"/apis/{GROUP}/v1beta1/namespaces/soc/inferenceservices/nids"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
OBJECT = f'inferenceservices.{GROUP} "nids"'
REASONS = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 415: "UnsupportedMediaType",
           422: "Invalid", 503: "ServiceUnavailable"}  # fmt: skip


class Refusal(Exception):  # noqa: N818 - it is an answer
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    def status(self) -> dict[str, Any]:
        return {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": str(self), "reason": REASONS[self.code], "code": self.code,
        }  # fmt: skip


class Cluster:
    """The API server with the InferenceService `soc/nids`; a context manager."""

    def __init__(self, uri: str, controller: Callable[[str], str] = lambda _: "") -> None:
        self.controller = controller
        self.token: str | None = None
        self.verbs = {"get", "patch"}
        self.broken: Refusal | None = None
        self.before_patch: Callable[[], None] = lambda: None
        self.requests: list[tuple[str, str]] = []
        self._lock = threading.RLock()
        self.object: dict[str, Any] = {
            "apiVersion": f"{GROUP}/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "nids", "namespace": "soc", "resourceVersion": "100", "generation": 1},
            "spec": {"predictor": {"model": {"modelFormat": {"name": "onnx"}, "storageUri": uri}}},
        }
        self.settle()
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(cluster.get)

            def do_PATCH(self) -> None:
                self._answer(cluster.patch)

            def do_POST(self) -> None:
                self._answer(cluster.review)

            def log_message(self, *_: Any) -> None:
                """A request is no news."""

            def _answer(self, act: Callable[[str, str, Any], Any]) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                cluster.requests.append((self.command, self.path))
                try:
                    cluster.authenticate(self.headers.get("Authorization", ""))
                    status, said = 200, act(self.path, self.headers["Content-Type"], json.loads(body or b"null"))
                except Refusal as refusal:
                    status, said = refusal.code, refusal.status()
                content = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def uri(self) -> str:
        return str(self.object["spec"]["predictor"]["model"]["storageUri"])

    def authenticate(self, header: str) -> None:
        if self.broken:
            raise self.broken
        if self.token is not None and header != f"Bearer {self.token}":
            raise Refusal(401, "Unauthorized")

    def get(self, path: str, _: str, __: Any) -> Any:
        self._permit("get", path)
        with self._lock:
            return deepcopy(self.object)

    def patch(self, path: str, kind: str, patch: Any) -> Any:
        self._permit("patch", path)
        if kind != "application/merge-patch+json":
            raise Refusal(415, f"the body of the request was in an unknown format - accepted media types: not {kind}")
        self.before_patch()
        with self._lock:
            self.change(patch)
            return deepcopy(self.object)

    def review(self, path: str, _: str, review: Any) -> Any:
        if path != REVIEWS:
            raise Refusal(404, "the server could not find the requested resource")
        asked = review["spec"]["resourceAttributes"]
        where = (asked["namespace"], asked["group"], asked["resource"], asked["name"])
        allowed = asked["verb"] in self.verbs and where == ("soc", GROUP, "inferenceservices", "nids")
        return {**review, "status": {"allowed": allowed, "reason": "" if allowed else "no RBAC policy matched"}}

    def change(self, patch: Any) -> None:
        """Merge into the object, as anybody may; KServe then acts on what the spec says now."""
        with self._lock:
            known = self.object["metadata"]["resourceVersion"]
            if patch.get("metadata", {}).get("resourceVersion", known) != known:
                raise Refusal(
                    409,
                    f"Operation cannot be fulfilled on {OBJECT}: the object has been modified; "
                    "please apply your changes to the latest version and try again",
                )
            merged = merge(self.object, patch)
            if not str(merged["spec"]["predictor"]["model"].get("storageUri", "")).partition("://")[1]:
                raise Refusal(422, f"{OBJECT} is invalid: spec.predictor.model.storageUri: Invalid value")
            if merged == self.object:
                return
            if merged["spec"] != self.object["spec"]:
                merged["metadata"]["generation"] += 1
            merged["metadata"]["resourceVersion"] = str(int(known) + 7)
            self.object = merged
        self.settle()

    def settle(self) -> None:
        """KServe looks at the object once more."""
        trouble = self.controller(self.uri)
        ready = {"type": "Ready", "status": "False" if trouble else "True", "reason": "", "message": trouble}
        with self._lock:
            self.object["status"] = {
                "observedGeneration": self.object["metadata"]["generation"],
                "conditions": [{"type": "PredictorReady", "status": "True"}, ready],
                "modelStatus": {"transitionStatus": "BlockedByFailedLoad" if trouble else "UpToDate"},
            }

    def _permit(self, verb: str, path: str) -> None:
        if path != PATH:
            raise Refusal(404, f"inferenceservices.{GROUP} {json.dumps(path.rpartition('/')[2])} not found")
        if verb not in self.verbs:
            who = 'User "system:serviceaccount:tocsin:responder"'
            raise Refusal(403, f'{OBJECT} is forbidden: {who} cannot {verb} resource "inferenceservices"')

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def merge(value: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for key, part in patch.items():
        if part is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), part)
    return merged
