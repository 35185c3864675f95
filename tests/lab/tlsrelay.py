# SPDX-License-Identifier: Apache-2.0
"""A TLS end for clients that have none: carries each of their TCP connections to the gateway inside TLS.

Stands on a host of its own; whoever dials it as the gateway reaches the gateway's TLS port. Python's ssl
does the cryptography, so that nothing of the product is at both ends. Knows no frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.netns import Namespace
from tpkt.daemon import tasks

PIECE = 1 << 16
Address = tuple[str, int]


class TlsRelay:
    """A context manager; inside it `at` in `namespace` leads to `gateway` inside TLS."""

    def __init__(self, namespace: Namespace, at: Address, gateway: Address, name: str, ca: Path) -> None:
        """Prepare: the gateway must prove to be `name` by a certificate of `ca`."""
        self._namespace, self._gateway, self._name = namespace, gateway, name
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.load_verify_locations(ca)
        self._context.set_alpn_protocols(["trikesec/1"])
        self._listener = namespace.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(at)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tls-relay", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._carry, sock=self._listener), self._loop
        ).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = self._namespace.socket()
        sock.setblocking(False)
        with contextlib.closing(writer):
            await asyncio.wait_for(self._loop.sock_connect(sock, self._gateway), 10)
            far_reader, far_writer = await asyncio.open_connection(
                sock=sock, ssl=self._context, server_hostname=self._name
            )
            with contextlib.closing(far_writer):
                ways = [
                    tasks.create_task(_copy(reader, far_writer), name="up"),
                    tasks.create_task(_copy(far_reader, writer), name="down"),
                ]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()
