"""`tocsin serve`: a small model server, for the demonstration and for tests."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
import typer

from monitor.cli.main import version
from monitor.cli.registry_options import Name, Root, Trusted, open_registry
from monitor.demo.server.server import ModelServer
from monitor.logging import set_up_logging
from monitor.settings.section import split_address
from monitor.stop import Stop, StoppedError

HOUR = 3600.0


def serve(
    registry: Root,
    name: Name,
    listen: Annotated[str, typer.Option("--listen", help="HOST:PORT; port 0 takes a free one.")] = "127.0.0.1:8080",
    trusted_key: Trusted = None,
) -> None:
    """Serve the registry's serving version over HTTP (V2 inference protocol), for demonstrations and tests.

    It has no authentication and no TLS. When it is ready it prints one line of JSON with its address.

    Example: tocsin serve --registry registry --name nids --listen 127.0.0.1:8080
    """
    try:
        address = split_address(listen)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--listen") from None
    keeper = open_registry(registry, name, trusted_key)
    with ModelServer(keeper, name, address, version()) as server:
        set_up_logging(sys.stderr, as_json=not sys.stderr.isatty())
        stop = Stop()
        ready = {"url": server.url, "model": name, "version": server.version}
        typer.echo(msgspec.json.encode(ready).decode())
        sys.stdout.flush()
        try:
            while True:
                stop.wait(HOUR)
        except StoppedError:
            return
