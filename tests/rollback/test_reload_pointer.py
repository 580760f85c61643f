"""Servers that read the registry's folder: hooks are told, endpoints waited for, and by default nobody is bothered."""

from __future__ import annotations

import socket
from http import HTTPStatus

import msgspec
import pytest
from lying_server import LyingServer
from tiny_registry import NAME, make_registry, point

from monitor.demo.server.http import JsonServer
from monitor.demo.server.protocol import Reply, Request
from rollback.reload.adapter import Site
from rollback.reload.memory import Behaviour
from rollback.reload.pointer import PointerReloader, Settings
from rollback.reload.reloader import ReloadRefusedError, ReloadRetryableError
from rollback.reload.v2_client import V2Settings


def test_by_default_nobody_is_told_and_nobody_asked() -> None:
    reloader = PointerReloader()
    reloader.start("1", "2")
    assert reloader.observe("2", make_registry().load("2").canaries()) == ()
    assert reloader.obstacles() == ()


def test_every_hook_is_told_what_serves_where_its_path_says() -> None:
    told: list[Request] = []

    def respond(request: Request) -> Reply:
        told.append(request)
        return Reply(HTTPStatus.ACCEPTED, b"on it")

    with JsonServer(("127.0.0.1", 0), respond) as server:
        hooks = Settings((f"{server.url}/reload?who=a", f"{server.url}/team/b"))
        PointerReloader(hooks, Site(NAME)).start("1", "2")
    assert sorted((request.method, request.path) for request in told) == [
        ("POST", "/reload?who=a"),
        ("POST", "/team/b"),
    ]
    assert [msgspec.json.decode(request.body) for request in told] == [{"model": NAME, "version": "2"}] * 2


@pytest.mark.parametrize(("status", "error"), [(500, ReloadRetryableError), (404, ReloadRefusedError)])
def test_a_hook_that_fails_is_named(status: int, error: type[Exception]) -> None:
    with (
        JsonServer(("127.0.0.1", 0), lambda _: Reply(HTTPStatus(status), b"{}")) as server,
        pytest.raises(error, match=f"^{server.url}/reload: POST /reload: status {status}$"),
    ):
        PointerReloader(Settings((f"{server.url}/reload",)), Site(NAME)).start("1", "2")


def test_a_hook_that_takes_no_connection_is_an_obstacle_and_none_is_used_to_find_out() -> None:
    told: list[Request] = []

    def respond(request: Request) -> Reply:
        told.append(request)
        return Reply(HTTPStatus.OK, b"{}")

    with socket.create_server(("127.0.0.1", 0)) as taken, JsonServer(("127.0.0.1", 0), respond) as server:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/reload"
        taken.close()
        hooks = Settings((f"{server.url}/reload", address))
        obstacles = PointerReloader(hooks, Site(NAME)).obstacles()
    assert told == []
    assert [each.partition(": ")[::2] for each in obstacles] == [
        (address, "it takes no connection: ConnectionRefusedError: Connection refused")
    ]


@pytest.mark.parametrize("asks", [1, 3])
def test_an_endpoint_that_is_about_to_read_the_pointer_is_waited_for(asks: int) -> None:
    registry = make_registry()
    with LyingServer(registry, NAME) as server:
        hooks = Settings((f"{server.url}/v2/repository/models/{NAME}/load",))
        reloader = PointerReloader(hooks, Site(NAME, (server.url,)))
        server.behaviour = Behaviour(asks=asks)
        point(registry, "2")
        reloader.start("1", "2")
        (seen,) = reloader.observe("2", registry.load("2").canaries())
    assert (seen.version, seen.agreement, seen.problem) == ("2", 1.0, "")


def test_one_that_never_reads_it_is_waited_for_no_longer_than_loading_may_take() -> None:
    registry = make_registry()
    with LyingServer(registry, NAME) as server:
        reloader = PointerReloader(Settings(), Site(NAME, (server.url,), V2Settings(load_timeout_seconds=0.5)))
        point(registry, "2")
        reloader.start("1", "2")
        (seen,) = reloader.observe("2", registry.load("2").canaries())
    assert "version '1' answers, not '2'" in seen.problem


@pytest.mark.parametrize("urls", [("http://a/x", "http://a/x"), ("http://a/ x",), ("a/x",), ("http://u:p@a/x",)])
def test_hooks_are_different_and_plain(urls: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"hooks|endpoint"):
        Settings(urls)
