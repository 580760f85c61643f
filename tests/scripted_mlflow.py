"""A server in memory that speaks as much of MLflow's REST interface as moving an alias takes, and lies when told to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from monitor.demo.server.http import JsonServer
from monitor.demo.server.protocol import Reply, Request

API = "/api/2.0/mlflow"


def found(number: str = "1", version: str | None = "1", **more: Any) -> dict[str, Any]:
    tags = [] if version is None else [{"key": "tocsin.version", "value": version}]
    return {"name": "nids", "version": number, "status": "READY", "tags": tags, **more}


class ScriptedMlflow(JsonServer):
    """Answers as a tracking server would: numbers 1 and 2 are versions 1 and 2, and the alias names one of them.

    ``follower`` is told of what is set; ``more`` goes into every description of a version.
    """

    def __init__(self, named: str = "2", follower: Callable[[str], object] = lambda _: None, **more: Any) -> None:
        self.named = named
        self.follower = follower
        self.more = more
        self.paths: list[str] = []
        self.overwrites: str | None = None
        self.refuses: tuple[HTTPStatus, bytes] | None = None
        super().__init__(("127.0.0.1", 0), self._respond)

    def _respond(self, request: Request) -> Reply:
        self.paths.append(f"{request.method} {request.path.partition('?')[0].removeprefix(API)}")
        if self.refuses:
            return Reply(*self.refuses)
        return Reply(HTTPStatus.OK, msgspec.json.encode(self._answer(request)))

    def _answer(self, request: Request) -> Mapping[str, Any]:
        if request.path.startswith(f"{API}/model-versions/search"):
            version = "1" if "%271%27" in request.path else "2"
            return {"model_versions": [found(version, version, **self.more)]}
        if request.method == "POST":
            self.named = self.overwrites or msgspec.json.decode(request.body)["version"]
            self.follower(self.named)
            return {}
        return {"model_version": found(self.named, self.named)}
