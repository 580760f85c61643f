"""What every reloader does alike: the same misbehaviour in memory and over real HTTP."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import pytest
from kube_api import Cluster
from lying_server import LyingServer
from scripted_mlflow import ScriptedMlflow
from tiny_registry import NAME, make_registry, point

import rollback.reload
from monitor.settings.response_sections import ServingConfig
from rollback.canary.canaries import Canaries
from rollback.registry.memory import MemoryRegistry
from rollback.reload.adapter import Site, adapters
from rollback.reload.exec import ExecReloader
from rollback.reload.exec import Settings as ExecSettings
from rollback.reload.kserve import KserveReloader
from rollback.reload.kserve import Settings as KserveSettings
from rollback.reload.memory import Behaviour, Conduct, MemoryReloader
from rollback.reload.mlflow import MlflowReloader
from rollback.reload.mlflow import Settings as MlflowSettings
from rollback.reload.pointer import PointerReloader
from rollback.reload.pointer import Settings as PointerSettings
from rollback.reload.rehearsal import rehearse
from rollback.reload.reloader import Observation, Reloader, ReloadRefusedError, ReloadRetryableError
from rollback.reload.v2 import V2Reloader
from rollback.reload.v2_client import V2Settings

IMPATIENT = V2Settings(timeout_seconds=2.0, load_timeout_seconds=2.0)
PATIENT = V2Settings(timeout_seconds=60.0, load_timeout_seconds=60.0)
WATCHED = V2Settings(timeout_seconds=60.0, load_timeout_seconds=1.0)


@dataclass
class World:
    """Two endpoints that serve version 1, a registry with versions 1 and 2, and how to make the first one misbehave.

    ``declared``: nobody is told; what should serve is said in one place, observed first, which the servers follow.
    """

    reloader: Reloader
    registry: MemoryRegistry
    behave: Callable[[Behaviour], None]
    declared: bool = False
    follow: Callable[[], None] = lambda: None

    def change_to(self, version: str) -> None:
        serving = self.registry.pointers().serving
        point(self.registry, version)
        self.reloader.start(serving, version)

    def canaries(self, version: str) -> Canaries | None:
        return rehearse(self.registry.load(version), [])

    def observe(self, version: str) -> tuple[Observation, ...]:
        return self.look(version, self.canaries(version))

    def look(self, version: str, canaries: Canaries | None) -> tuple[Observation, ...]:
        """What is seen of the endpoints."""
        return self.reloader.observe(version, canaries)[self.declared :]

    def declaration(self, version: str) -> Observation:
        return self.reloader.observe(version, None)[0]


def memory_world(_: ExitStack, __: V2Settings) -> World:
    reloader = MemoryReloader({"a": Behaviour(), "b": Behaviour()}, "1")
    return World(reloader, make_registry(), partial(reloader.behave, "a"))


def v2_world(stack: ExitStack, settings: V2Settings) -> World:
    registry = make_registry()
    first, second = (stack.enter_context(LyingServer(registry, NAME)) for _ in range(2))
    reloader = V2Reloader([first.url, second.url], NAME, settings)
    return World(reloader, registry, lambda behaviour: setattr(first, "behaviour", behaviour))


def pointer_world(stack: ExitStack, settings: V2Settings) -> World:
    registry = make_registry()
    first, second = (stack.enter_context(LyingServer(registry, NAME)) for _ in range(2))
    site = Site(NAME, (first.url, second.url), settings)
    hooks = PointerSettings(tuple(f"{url}/v2/repository/models/{NAME}/load" for url in site.endpoints))
    return World(PointerReloader(hooks, site), registry, lambda behaviour: setattr(first, "behaviour", behaviour))


def exec_world(stack: ExitStack, settings: V2Settings) -> World:
    registry = make_registry()
    first, second = (stack.enter_context(LyingServer(registry, NAME)) for _ in range(2))
    site = Site(NAME, (first.url, second.url), settings)
    command = ExecSettings((sys.executable, "-I", str(TELL_SERVERS), "1.0", "{model}", first.url, second.url))
    return World(ExecReloader(command, site), registry, lambda behaviour: setattr(first, "behaviour", behaviour))


class Followers:
    """Two servers that are told to load whatever the declaration names, as far as they do."""

    def __init__(self, stack: ExitStack, settings: V2Settings) -> None:
        self.registry = make_registry()
        self.servers = [stack.enter_context(LyingServer(self.registry, NAME)) for _ in range(2)]
        self.site = Site(NAME, tuple(server.url for server in self.servers), settings)

    def told(self, _: str) -> str:
        """Why not all of them follow, "" where they do."""
        reloader = V2Reloader(self.site.endpoints, NAME, V2Settings(load_timeout_seconds=0.3))
        try:
            reloader.start(None, self.registry.pointers().serving or "")
        except (ReloadRefusedError, ReloadRetryableError) as error:
            return str(error)
        return ""

    def behave(self, behaviour: Behaviour) -> None:
        self.servers[0].behaviour = behaviour


def mlflow_world(stack: ExitStack, settings: V2Settings) -> World:
    followers = Followers(stack, settings)
    server = stack.enter_context(ScriptedMlflow("1", followers.told))
    reloader = MlflowReloader(MlflowSettings(server.url), followers.site)
    follow = lambda: followers.told("")  # noqa: E731 - one line
    return World(reloader, followers.registry, followers.behave, declared=True, follow=follow)


def kserve_world(stack: ExitStack, settings: V2Settings) -> World:
    followers = Followers(stack, settings)
    cluster = stack.enter_context(Cluster("s3://models/nids/1"))
    cluster.controller = followers.told
    service = KserveSettings("s3://models/{model}/{version}", None, "soc", cluster.url, None, None)
    reloader = KserveReloader(service, followers.site)
    return World(reloader, followers.registry, followers.behave, declared=True, follow=cluster.settle)


TELL_SERVERS = Path(__file__).parents[1] / "tell_servers.py"
WORLDS: dict[type, Callable[[ExitStack, V2Settings], World]] = {
    MemoryReloader: memory_world,
    V2Reloader: v2_world,
    PointerReloader: pointer_world,
    ExecReloader: exec_world,
    MlflowReloader: mlflow_world,
    KserveReloader: kserve_world,
}
DECLARED = {MlflowReloader, KserveReloader}


def implementations() -> set[type]:
    """Every class under `rollback.reload` that has all methods of the seam."""
    methods = {name for name in vars(Reloader) if not name.startswith("_")}
    modules = [
        importlib.import_module(m.name) for m in pkgutil.iter_modules(rollback.reload.__path__, "rollback.reload.")
    ]
    classes = {c for m in modules for _, c in inspect.getmembers(m, inspect.isclass) if c is not Reloader}
    return {c for c in classes if methods <= set(dir(c))}


def test_every_implementation_is_under_contract() -> None:
    assert implementations() == set(WORLDS)


def test_the_configuration_has_a_section_for_every_adapter_and_knows_no_other() -> None:
    fields = ServingConfig.model_fields
    sections = {name: get_args(field.annotation)[0] for name, field in fields.items() if field.default is None}
    assert {name: kind for name, kind in sections.items() if is_dataclass(kind)} == {
        name: module.Settings for name, module in adapters().items()
    }


@pytest.mark.parametrize("name", sorted(adapters()))
def test_the_settings_of_an_adapter_are_frozen_and_say_whether_they_have_defaults(name: str) -> None:
    module = adapters()[name]
    needed = [f.name for f in fields(module.Settings) if f.default is MISSING and f.default_factory is MISSING]
    assert bool(needed) == module.NEEDS_SETTINGS
    assert module.Settings.__dataclass_params__.frozen


@pytest.fixture(params=sorted(WORLDS, key=lambda c: c.__name__))
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[V2Settings], World]]:
    with ExitStack() as stack:
        yield partial(WORLDS[request.param], stack)


@pytest.fixture(params=sorted(set(WORLDS) - DECLARED, key=lambda c: c.__name__))
def telling(request: pytest.FixtureRequest) -> Iterator[World]:
    """One in which every endpoint is told."""
    with ExitStack() as stack:
        yield WORLDS[request.param](stack, PATIENT)


@pytest.fixture(params=sorted(set(WORLDS) - DECLARED, key=lambda c: c.__name__))
def impatient(request: pytest.FixtureRequest) -> Iterator[World]:
    """One in which every endpoint is told, and not waited for."""
    with ExitStack() as stack:
        yield WORLDS[request.param](stack, IMPATIENT)


@pytest.fixture(params=sorted(DECLARED, key=lambda c: c.__name__))
def declaring(request: pytest.FixtureRequest) -> Iterator[World]:
    """One in which endpoints follow what is said in one place."""
    with ExitStack() as stack:
        yield WORLDS[request.param](stack, WATCHED)


@pytest.fixture
def world(make: Callable[[V2Settings], World]) -> World:
    return make(PATIENT)


def test_before_the_change_every_endpoint_serves_the_old_version_and_says_so(world: World) -> None:
    assert [(o.version, o.agreement, o.problem, o.note) for o in world.observe("1")] == [("1", 1.0, "", "")] * 2
    for seen in world.observe("2"):
        assert (seen.version, seen.agreement) == ("1", 0.0)
        assert "'1' answers, not '2'" in seen.problem


def test_after_the_change_every_endpoint_serves_the_new_version(world: World) -> None:
    world.change_to("2")
    assert [(o.version, o.agreement, o.problem) for o in world.observe("2")] == [("2", 1.0, "")] * 2
    assert all(o.problem for o in world.observe("1"))


def test_endpoints_are_told_apart_by_name(world: World) -> None:
    assert len({o.endpoint for o in world.observe("1")}) == 2


def test_telling_again_is_harmless(world: World) -> None:
    world.change_to("2")
    world.reloader.start("1", "2")
    world.reloader.start(None, "2")
    assert [o.problem for o in world.observe("2")] == ["", ""]


def test_a_change_can_be_taken_back(world: World) -> None:
    world.change_to("2")
    world.change_to("1")
    assert [(o.version, o.agreement, o.problem) for o in world.observe("1")] == [("1", 1.0, "")] * 2


def test_who_says_the_new_version_and_serves_the_old_is_caught_by_the_canaries(world: World) -> None:
    world.behave(Behaviour("says_new_serves_old"))
    world.change_to("2")
    liar, honest = world.observe("2")
    assert (liar.version, liar.agreement) == ("2", 0.0)
    assert liar.problem == "it answers 0% of the canaries as version '2' does"
    assert honest.problem == ""


def test_without_canaries_a_liar_is_believed_and_the_observation_says_that(world: World) -> None:
    world.behave(Behaviour("says_new_serves_old"))
    world.change_to("2")
    for seen in world.look("2", None):
        assert (seen.version, seen.agreement, seen.problem) == ("2", None, "")
        assert "no canaries: it is believed" in seen.note


def test_without_canaries_another_version_is_still_a_problem(world: World) -> None:
    assert all(o.problem and o.agreement is None for o in world.look("2", None))


def test_half_of_the_rows_right_is_not_right(world: World) -> None:
    world.behave(Behaviour("half_right"))
    world.change_to("2")
    half, honest = world.observe("2")
    assert (half.version, half.agreement) == ("2", 0.5)
    assert half.problem == "it answers 50% of the canaries as version '2' does"
    assert honest.problem == ""


def test_who_is_busy_may_be_told_again_and_the_others_have_been_told(telling: World) -> None:
    telling.behave(Behaviour("busy"))
    with pytest.raises(ReloadRetryableError, match="busy"):
        telling.change_to("2")
    busy, other = telling.observe("2")
    assert (busy.version, other.version) == ("1", "2")
    telling.behave(Behaviour())
    telling.reloader.start("1", "2")
    assert [o.problem for o in telling.observe("2")] == ["", ""]


def test_who_refuses_goes_on_with_the_old_version(telling: World) -> None:
    telling.behave(Behaviour("refuses"))
    with pytest.raises(ReloadRefusedError):
        telling.change_to("2")
    refusing, other = telling.observe("2")
    assert (refusing.version, refusing.agreement) == ("1", 0.0)
    assert refusing.problem
    assert (other.version, other.problem) == ("2", "")


def test_who_hangs_is_no_longer_waited_for_and_stops_nobody_else(impatient: World) -> None:
    impatient.behave(Behaviour("hangs"))
    with pytest.raises(ReloadRetryableError):
        impatient.change_to("2")
    hanging, other = impatient.observe("2")
    assert (hanging.version, hanging.agreement) == (None, None)
    assert hanging.problem
    assert (other.version, other.agreement, other.problem) == ("2", 1.0, "")


def test_who_loads_slowly_serves_the_new_version_after_some_asking(world: World) -> None:
    world.behave(Behaviour(asks=2))
    world.change_to("2")
    seen = [world.observe("2")[0] for _ in range(4)]
    waited = [o for o in seen if o.version == "1"]
    assert all(o.problem for o in waited)
    assert [(o.version, o.problem) for o in seen[len(waited) :]] == [("2", "")] * (4 - len(waited))
    assert len(waited) < 3


def test_nothing_is_in_the_way_of_telling_those_that_can_be_told(world: World) -> None:
    assert world.reloader.obstacles() == ()


def test_what_is_declared_is_seen_apart_from_what_is_served(declaring: World) -> None:
    assert (declaring.declaration("1").version, declaring.declaration("1").problem) == ("1", "")
    assert "only endpoints and events can tell" in declaring.declaration("1").note
    other = declaring.declaration("2")
    assert (other.version, bool(other.problem)) == ("1", True)
    declaring.change_to("2")
    assert (declaring.declaration("2").version, declaring.declaration("2").problem) == ("2", "")
    declaring.behave(Behaviour("says_new_serves_old"))
    declaring.change_to("1")
    assert declaring.declaration("1").problem == ""
    assert [bool(seen.problem) for seen in declaring.observe("1")] == [True, False]


@pytest.mark.parametrize("conduct", ["busy", "refuses"])
def test_who_does_not_follow_is_seen_and_may_follow_later(declaring: World, conduct: Conduct) -> None:
    declaring.behave(Behaviour(conduct))
    declaring.change_to("2")
    assert [seen.version for seen in declaring.observe("2")] == ["1", "2"]
    declaring.behave(Behaviour())
    declaring.follow()
    declaring.reloader.start("1", "2")
    assert [seen.problem for seen in declaring.observe("2")] == ["", ""]


def test_a_declaration_that_somebody_else_has_moved_is_left_alone(declaring: World) -> None:
    declaring.change_to("2")
    with pytest.raises(ReloadRefusedError, match=r"version '2'.*, neither version '3' nor '1': somebody|/2, neither"):
        declaring.reloader.start("3", "1")
    assert (declaring.declaration("2").version, declaring.declaration("2").problem) == ("2", "")
