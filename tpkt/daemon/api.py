# SPDX-License-Identifier: Apache-2.0
"""The admin API of a daemon: HTTP with JSON on a Unix socket, its server and its client.

The socket is created with mode 0600 inside a directory of the daemon, so that the file system decides
who may ask. The server knows no routes of its own; the client turns every failure into one sentence.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

logger = logging.getLogger(__name__)
Handler = Callable[[Mapping[str, Any]], Awaitable[object]]

MAX_BODY = 65536  # a request is a small JSON object; anything larger is a mistake


@dataclass(frozen=True)
class Raw:
    """An answer that is not JSON, as it goes over the socket."""

    body: bytes
    content_type: str


class ApiError(Exception):
    """A request that was refused or could not be made; the message is one line with its cure."""


class AlreadyRunning(ApiError):
    """Another daemon answers on this socket."""


class Server:
    """Serves `routes` ({"GET /status": handler}) on a Unix socket; an async context manager.

    A handler gets the request's JSON object (GET: its query) and gives anything msgspec can turn into
    JSON, or Raw. ApiError becomes 409 with its sentence; any other failure is logged and becomes 500.
    """

    def __init__(self, path: Path, routes: Mapping[str, Handler] | None = None) -> None:
        """Prepare to serve `routes` at `path`; nothing is bound before entering the context."""
        self._path = path
        self._listener: socket.socket | None = None
        self._given_away = False
        self._app = web.Application(client_max_size=MAX_BODY)
        self._runner = web.AppRunner(self._app, access_log=None)
        self.route(routes or {})

    def route(self, routes: Mapping[str, Handler]) -> None:
        """Add routes, before entering the context."""
        for route, handler in routes.items():
            method, _, pattern = route.partition(" ")
            self._app.router.add_route(method, pattern, self._adapt(handler))

    @staticmethod
    def _adapt(handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            try:
                body: Mapping[str, Any] = request.query if request.method == "GET" else await _object(request)
                answer = await handler(body)
            except ApiError as error:
                return _reply({"error": str(error)}, status=409)
            return _reply(answer)

        return handle

    async def __aenter__(self) -> Server:
        """Bind the socket. Raises AlreadyRunning when a live daemon has it; a dead one's is replaced."""
        if self._listener is not None:
            await self._runner.setup()
            await web.SockSite(self._runner, self._listener).start()
            return self
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if await answers(self._path):
            raise AlreadyRunning(f"{self._path}: a daemon is running here already; stop it first")
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Between bind() and chmod() the socket must not be open to others: nobody can connect to it
        # before listen(), which aiohttp calls later.
        listener.bind(str(self._path))
        os.chmod(self._path, 0o600)
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()
        self._listener = listener
        return self

    def inherit(self, descriptor: int) -> None:
        """Before entering the context: serve on a predecessor's socket instead of binding one."""
        self._listener = socket.socket(fileno=descriptor)

    @property
    def descriptor(self) -> int:
        """The listening socket, for a successor."""
        return self._listener.fileno() if self._listener is not None else -1

    def give_away(self) -> None:
        """Leave the socket to a successor: it is not removed in the end."""
        self._given_away = True

    async def __aexit__(self, *_: object) -> None:
        """Close all connections and remove the socket."""
        await self._runner.cleanup()
        if not self._given_away:
            self._path.unlink(missing_ok=True)


async def _object(request: web.Request) -> Mapping[str, Any]:
    data = await request.read()
    if not data:
        return {}
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ApiError(f"the request is not a JSON object: {error}") from error


def _reply(answer: object, *, status: int = 200) -> web.Response:
    if isinstance(answer, Raw):
        return web.Response(body=answer.body, headers={"Content-Type": answer.content_type})
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json", status=status)


async def answers(path: Path) -> bool:
    """Tell whether something accepts connections on the Unix socket at `path`."""
    try:
        async with asyncio.timeout(2):
            _, writer = await asyncio.open_unix_connection(str(path))
    except (OSError, TimeoutError):
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def call(
    path: Path, route: str, body: Mapping[str, Any] | None = None, *, seconds: float = 10.0
) -> Any:
    """Ask the daemon at `path` for `route` ("POST /up") and give its decoded JSON answer.

    Raises ApiError: no daemon, no permission, no answer in `seconds`, or the daemon's own refusal.
    """
    method, _, target = route.partition(" ")
    timeout = aiohttp.ClientTimeout(total=seconds)
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(path=str(path)), timeout=timeout
            ) as session,
            session.request(
                method, f"http://daemon{target}", data=msgspec.json.encode(body or {})
            ) as response,
        ):
            raw = await response.read()
            status = response.status
    except TimeoutError as error:
        raise ApiError(f"{path}: no answer within {seconds:g} s; is the daemon hung?") from error
    except PermissionError as error:
        raise ApiError(f"{path}: permission denied; run this as the daemon's user") from error
    except (aiohttp.ClientError, OSError) as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, PermissionError) or "Permission denied" in str(error):
            raise ApiError(f"{path}: permission denied; run this as the daemon's user") from error
        raise ApiError(f"{path}: no daemon answers; start it with its `run` command") from error
    answer = msgspec.json.decode(raw) if raw.startswith((b"{", b"[")) else {}
    if status != 200:
        reason = answer.get("error") if isinstance(answer, dict) else None
        raise ApiError(str(reason or f"{path}: {route} failed with HTTP {status}; see its log"))
    return answer
