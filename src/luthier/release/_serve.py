"""Serving a released system behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from luthier.errors import ReleaseError
from luthier.release._chat import SystemMessages

if TYPE_CHECKING:
    from fastapi import FastAPI

    from luthier.decide import System
    from luthier.store import Store

SHORTEST_TOKEN = 16
MAKE_TOKEN = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
SHUTDOWN_SECONDS = 30  # how long answers that are being made may still take after Ctrl-C


def create_app(
    system: System,
    *,
    store: Store,
    release: int,
    token: str | None = None,
    model_name: str,
    system_messages: SystemMessages = "none",
) -> FastAPI:
    """The web application that serves a system: what clients send goes through `System.request`, as it was measured.

    Streamed answers are the same text, sent in pieces once it is known: an error is then a proper error response.
    Requests that wait are answered together; every answer is logged to the store.

    Args:
        system: what is served.
        store: gets the traffic.
        release: the number that traffic is logged under.
        token: what clients must send as bearer token; without one only this machine's names are answered.
        model_name: the name that clients ask for.
        system_messages: whether the measured cases had system messages of their own (see `lock.json`).

    Raises:
        ReleaseError: the token can be guessed or cannot be sent.
    """
    check_token(token)
    from luthier.release._app import build_app

    return build_app(
        system, store=store, release=release, token=token, model_name=model_name, system_messages=system_messages
    )


def serve(
    app: FastAPI,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until interrupted (Ctrl-C, SIGTERM); answers that are being made are finished first.

    Args:
        app: from `create_app`.
        host: address to listen on.
        port: 0 takes any free one.
        ready: called with the base URL as soon as clients can connect.

    Raises:
        ReleaseError: the host would be open to others without a token, or the port is taken.
    """
    import uvicorn

    check_exposure(host, app.state.token)
    listening = _listen(host, port)
    address = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=SHUTDOWN_SECONDS)
    with listening, suppress(KeyboardInterrupt):  # the server has shut down when it raises this
        ready(f"http://{address}:{listening.getsockname()[1]}/v1")
        uvicorn.Server(config).run(sockets=[listening])


def check_exposure(host: str, token: str | None) -> None:
    """Refuse to be open to others without a token.

    Raises:
        ReleaseError: the host is more than this machine, and there is no token.
    """
    if token is None and not _is_loopback(host):
        raise ReleaseError(
            f"listening on {host} would let everybody who reaches this machine ask the model and read what it looks up",
            why="without a token only this machine is served",
            fix=f'export LUTHIER_TOKEN="$({MAKE_TOKEN})"; luthier serve --host {host}',
        )


def check_token(token: str | None) -> None:
    """Refuse a token that can be guessed or cannot be sent.

    Raises:
        ReleaseError: it is short, or has spaces or other than ASCII characters.
    """
    if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii() or any(c.isspace() for c in token)):
        raise ReleaseError(
            f"the token must have at least {SHORTEST_TOKEN} ASCII characters and no spaces",
            why="a short one can be guessed, and others cannot be sent in a header",
            fix=f"make one: {MAKE_TOKEN}",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(128)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    return listening


def _cannot_listen(host: str, port: int, error: OSError) -> ReleaseError:
    if error.errno == errno.EADDRINUSE:
        return ReleaseError(
            f"port {port} on {host} is taken by another program",
            fix=f"luthier serve --port {port + 1}, or end that program (find it with: ss -ltnp 'sport = :{port}')",
        )
    return ReleaseError(
        f"cannot listen on {host}:{port}: {error.strerror or error}",
        fix="give an address of this machine (--host 127.0.0.1) and a port above 1023 (--port 8000)",
    )
