"""How long a rollback takes, from complete evidence to every endpoint seen to serve the last known good version.

    python bench/rollback_time.py [--runs 50] [--turn 0.5] [--load 1.0] [--adapter NAME]...

Each run adds a version, makes it serve, and hands a confirmed poisoning to the responder (`Responder.consider`); the
time ends when its case is done: the pointer was moved, every endpoint was told, names the version and answers its
canaries. ``--turn`` is the length of the loop's turns; half a second is what the daemon waits for events where none
come. ``--load`` is how long the stand-in servers take to load (two for each adapter).

`v2` is measured against a real MLServer, which loads as fast as it loads; `mlflow` against a real MLflow, whose alias
two stand-in servers look at every half second; `kserve` against an API server in memory; `exec` runs a Python program;
`pointer` posts to hooks. What cannot be installed is said, and left out. Progress on stderr, a table on stdout.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from kafka_broker import free_ports
from kube_api import Cluster
from machine import describe
from python_servers import MLflow, MLServer, ServerUnavailableError
from tiny_registry import NAME, add

from monitor.demo.server.http import JsonServer
from monitor.demo.server.protocol import Reply, Request
from monitor.demo.server.server import ModelServer
from monitor.reloaders import reloader
from monitor.settings.response_sections import ServingConfig
from rollback.audit.log import FILE_NAME, AuditLog
from rollback.registry.file import FileRegistry
from rollback.reload.exchange import Server
from rollback.reload.reloader import Reloader, ReloadRefusedError, ReloadRetryableError
from rollback.response.charge import Charge
from rollback.response.desk import MemoryDesk
from rollback.response.policy import Finding, PolicySettings
from rollback.response.responder import Responder
from rollback.response.steps import Target
from rollback.response.worker import Threads
from rollback.signing.keys import Keys
from rollback.train.memory import MemoryTrainer

GOAL_SECONDS = 5.0
LONGEST_SECONDS = 120.0
FOLLOW_SECONDS = 0.5
API = "/api/2.0/mlflow"


@dataclass
class Scene:
    """Servers of one adapter, and what is to be done elsewhere when a version was added to the registry."""

    reloader: Reloader
    added: Callable[[str], None] = lambda _: None


class Stage:
    """A registry in a folder, and the stand-in servers before it."""

    def __init__(self, folder: Path, load_seconds: float, stack: ExitStack) -> None:
        self.folder = folder
        self.root = folder / "registry"
        self.registry = FileRegistry(self.root, NAME, Keys.trial(self.root, make=True), time.time)
        add(self.registry, 1)
        self.stack = stack
        self._load_seconds = load_seconds

    def servers(self) -> list[str]:
        """The addresses of two that take their time to load."""
        return [self._server() for _ in range(2)]

    def _server(self) -> str:
        model = self.stack.enter_context(ModelServer(self.registry, NAME))

        def respond(request: Request) -> Reply:
            if request.path.endswith("/load"):
                time.sleep(self._load_seconds)
            return model.respond(request)

        return self.stack.enter_context(JsonServer(("127.0.0.1", 0), respond)).url


def load(url: str) -> None:
    """Tell a server to load; who does not is found out later."""
    try:
        Server(url).demand("POST", f"/v2/repository/models/{NAME}/load", {}, 30.0)
    except (ReloadRefusedError, ReloadRetryableError) as error:
        print(f"{url}: {error}", file=sys.stderr)


def servers_of(**serving: Any) -> Reloader:
    return reloader(NAME, ServingConfig.model_validate(serving), {"PATH": "/usr/bin:/bin"})


def pointer_scene(stage: Stage) -> Scene:
    urls = stage.servers()
    hooks = [f"{url}/v2/repository/models/{NAME}/load" for url in urls]
    return Scene(servers_of(adapter="pointer", endpoints=urls, pointer={"hooks": hooks}))


def v2_scene(stage: Stage) -> Scene:
    server = stage.stack.enter_context(MLServer(stage.folder / "mlserver", stage.root, NAME, free_ports(2)))
    return Scene(servers_of(adapter="v2", endpoints=[server.url]))


def exec_scene(stage: Stage) -> Scene:
    urls = stage.servers()
    program = str(Path(__file__).parent.parent / "tests" / "tell_servers.py")
    command = [sys.executable, "-I", program, "30", "{model}", *urls]
    return Scene(servers_of(adapter="exec", endpoints=urls, exec={"command": command}))


def mlflow_scene(stage: Stage) -> Scene:
    tracking = stage.stack.enter_context(MLflow(stage.folder / "mlflow", *free_ports(1)))
    client = Server(tracking.url)

    def post(path: str, **body: Any) -> None:
        client.demand("POST", f"{API}/{path}", body, 30.0)

    def added(version: str) -> None:
        tags = [{"key": "tocsin.version", "value": version}]
        post("model-versions/create", name=NAME, source=f"s3://models/{version}", tags=tags)

    post("registered-models/create", name=NAME)
    added("1")
    post("registered-models/alias", name=NAME, alias="serving", version="1")
    urls = stage.servers()
    for url in urls:
        stage.stack.enter_context(repeatedly(Follower(tracking.url, url).look))
    return Scene(servers_of(adapter="mlflow", endpoints=urls, mlflow={"tracking_uri": tracking.url}), added)


class Follower:
    """Looks at the alias, and has a server load when it has moved."""

    def __init__(self, tracking: str, url: str) -> None:
        self._tracking = Server(tracking)
        self._url = url
        self._seen: str | None = None

    def look(self) -> None:
        """Once."""
        query = f"{API}/registered-models/alias?name={NAME}&alias=serving"
        found = json.loads(self._tracking.demand("GET", query, None, 30.0))["model_version"]["version"]
        if found != self._seen:
            self._seen = found
            load(self._url)


@contextmanager
def repeatedly(act: Callable[[], None]) -> Iterator[threading.Thread]:
    """Done every half second, in a thread."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(FOLLOW_SECONDS):
            act()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield thread
    over.set()
    thread.join()


class Rolling(Cluster):
    """KServe takes its time, and the API server does not wait for it."""

    def settle(self) -> None:
        """See `Cluster.settle`."""
        threading.Thread(target=super().settle, daemon=True).start()


def kserve_scene(stage: Stage) -> Scene:
    urls = stage.servers()

    def roll_out(_: str) -> str:
        threads = [threading.Thread(target=load, args=(url,)) for url in urls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return ""

    cluster = stage.stack.enter_context(Rolling("s3://models/1", roll_out))
    outside = {"namespace": "soc", "api_server": cluster.url, "token_file": None, "ca_file": None}
    service = {"storage_uri": "s3://models/{version}", **outside}
    return Scene(servers_of(adapter="kserve", endpoints=urls, kserve=service))


SCENES: dict[str, Callable[[Stage], Scene]] = {
    "pointer": pointer_scene,
    "v2": v2_scene,
    "mlflow": mlflow_scene,
    "kserve": kserve_scene,
    "exec": exec_scene,
}


def once(stage: Stage, scene: Scene, run: int, turn: float) -> float:
    """A new version serves, and is rolled back from; returns the seconds that this took."""
    version = add(stage.registry, run + 2).manifest.version
    scene.added(version)
    stage.registry.promote(version, expected="1", known_good=False, by="bench", reason="a release")
    scene.reloader.start("1", version)
    wait_for(scene.reloader, version, stage)
    folder = stage.folder / f"run-{run}"
    folder.mkdir()
    audit = AuditLog(folder / FILE_NAME, time.time)
    charge = Charge(
        Target(stage.registry, scene.reloader), MemoryTrainer(), lambda _: None, PolicySettings(retrain=False)
    )
    path = folder / FILE_NAME
    responder = Responder("act", {NAME: charge}, MemoryDesk(), Threads(), audit, path, folder, time.time)
    began = time.monotonic()
    responder.consider(Finding(f"i{run}", NAME, version, "poisoning", "confirmed", 0.99, "{}"))
    (case,) = responder.cases.values()
    while responder.cases[case.key].phase not in {"done", "halted"}:
        if time.monotonic() - began > LONGEST_SECONDS:
            break
        responder.step()
        time.sleep(turn)
    took = time.monotonic() - began
    last = responder.cases[case.key]
    responder.close()
    audit.close()
    if last.phase != "done":
        raise SystemExit(f"the rollback of run {run} is {last.phase}: {last.detail}")
    return took


def wait_for(servers: Reloader, version: str, stage: Stage) -> None:
    """Until every endpoint serves the version."""
    canaries = stage.registry.load(version).canaries()
    ends = time.monotonic() + LONGEST_SECONDS
    while wrong := [seen for seen in servers.observe(version, canaries) if seen.problem]:
        if time.monotonic() > ends:
            raise SystemExit(f"version {version} does not come to serve: {wrong}")
        time.sleep(0.2)


def measure(adapter: str, runs: int, turn: float, load_seconds: float) -> list[float]:
    took = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        stage = Stage(Path(folder), load_seconds, stack)
        scene = SCENES[adapter](stage)
        for run in range(runs):
            took.append(once(stage, scene, run, turn))
            print(f"\r{adapter}: {run + 1} of {runs}, {took[-1]:.2f} s", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--turn", type=float, default=0.5)
    parser.add_argument("--load", type=float, default=1.0)
    parser.add_argument("--adapter", choices=SCENES, action="append")
    chosen = parser.parse_args()
    print(f"{chosen.runs} runs each, turns of {chosen.turn:g} s, stand-ins load in {chosen.load:g} s; {describe()}\n")
    print(f"| adapter | min s | median s | max s | within {GOAL_SECONDS:g} s |\n|---|---|---|---|---|")
    for adapter in chosen.adapter or SCENES:
        try:
            took = measure(adapter, chosen.runs, chosen.turn, chosen.load)
        except ServerUnavailableError as error:
            print(f"| {adapter} | not measured: {error} | | | |")
            continue
        within = sum(seconds <= GOAL_SECONDS for seconds in took)
        figures = f"{min(took):.2f} | {statistics.median(took):.2f} | {max(took):.2f}"
        print(f"| {adapter} | {figures} | {within} of {len(took)} |", flush=True)


if __name__ == "__main__":
    main()
