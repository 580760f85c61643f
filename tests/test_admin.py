"""The kill switch over HTTP: only with the token, also against garbage, and it says what holds."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from monitor.settings.config import ConfigError, load_config
from monitor.watching.admin import AdminListener
from rollback.response.desk import FolderDesk

TOKEN = "a-long-secret-of-the-operator"  # noqa: S105 - guards nothing but the test


@pytest.fixture
def desk(tmp_path: Path) -> FolderDesk:
    return FolderDesk(tmp_path / "answers")


@pytest.fixture
def address(desk: FolderDesk) -> Iterator[tuple[str, int]]:
    with AdminListener("127.0.0.1:0", TOKEN, desk) as listener:
        yield listener.address


def call(address: tuple[str, int], method: str, path: str, token: str = TOKEN, body: str = "") -> tuple[int, Any]:
    connection = HTTPConnection(*address, timeout=10)
    connection.request(method, path, body, {"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, json.loads(content)


def test_a_call_holds_everything_until_another_one_ends_it(address: tuple[str, int], desk: FolderDesk) -> None:
    assert call(address, "GET", "/v1/hold") == (200, {"held": False, "why": ""})
    said = "admin call from 127.0.0.1: switchover tonight"
    assert call(address, "POST", "/v1/hold", body="switchover\r\n tonight") == (200, {"held": True, "why": said})
    assert desk.held() == said
    assert call(address, "POST", "/v1/resume") == (200, {"held": False, "why": ""})
    assert desk.held() == ""


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], f"{TOKEN}x"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/hold"), ("POST", "/v1/hold"), ("POST", "/v1/resume")])
def test_without_the_token_nothing_is_told_or_done(
    address: tuple[str, int], desk: FolderDesk, token: str, method: str, path: str
) -> None:
    desk.hold("by hand")
    status, body = call(address, method, path, token)
    assert (status, body["error"]) == (401, "no valid token (Authorization: Bearer ...)")
    assert desk.held() == "by hand"


def test_what_there_is_not_is_said(address: tuple[str, int]) -> None:
    assert call(address, "POST", "/v1/promote") == (404, {"error": "there are /v1/hold and /v1/resume"})


@pytest.mark.parametrize("garbage", [b"\r\n\r\n", b"\x00\xff" * 500 + b"\r\n\r\n", b"POST /v1/hold HTTP/1.1\r\n\r\n"])
def test_garbage_does_nothing_and_the_next_caller_is_heard(
    address: tuple[str, int], desk: FolderDesk, garbage: bytes
) -> None:
    with socket.create_connection(address, timeout=10) as plain:
        plain.sendall(garbage)
        plain.shutdown(socket.SHUT_WR)
        plain.recv(1000)
    assert desk.held() == ""
    assert call(address, "GET", "/v1/hold")[0] == 200


def test_the_admin_listener_needs_a_token_of_some_length(tmp_path: Path) -> None:
    file, token = tmp_path / "tocsin.yaml", tmp_path / "token"
    file.write_text("admin: {listen: '127.0.0.1:0'}")
    with pytest.raises(ConfigError, match="token_file"):
        load_config(file, {})
    file.write_text(f"admin: {{listen: '127.0.0.1:0', token_file: {token}}}")
    token.write_text("short\n")
    with pytest.raises(ConfigError, match="at least 16 characters"):
        load_config(file, {}).admin.token()
    token.write_text(f"{TOKEN}\n")
    assert load_config(file, {}).admin.token() == TOKEN
