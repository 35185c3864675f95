# SPDX-License-Identifier: Apache-2.0
"""Peers on loopback that a probe may meet: one that speaks IKE, and the many that do not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

from tc_client.ikeprobe import FLAG_RESPONSE, IKE_SA_INIT, NOTIFY, VERSION
from tpkt.decoder import Decoder
from tpkt.wire import NON_ESP_MARKER, Framing, encode

NO_PROPOSAL_CHOSEN = 14
Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def response(request: bytes, notification: int = NO_PROPOSAL_CHOSEN, *, spi: bytes | None = None) -> bytes:
    """What a responder says to `request` (without marker) when it wants none of it."""
    notify = struct.pack("!BBHBBH", 0, 0, 8, 0, 0, notification)
    header = struct.pack(
        "!8s8sBBBBII",
        spi or request[:8],
        b"responde",
        NOTIFY,
        VERSION,
        IKE_SA_INIT,
        FLAG_RESPONSE,
        0,
        28 + len(notify),
    )
    return header + notify


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    decoder = Decoder(Framing.TPKT)
    while True:
        payload = decoder.next_payload()
        if payload is not None:
            return payload
        decoder.feed(await reader.read(4096))


async def ike(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A gateway."""
    request = (await read_frame(reader))[len(NON_ESP_MARKER) :]
    writer.write(encode(NON_ESP_MARKER + response(request)))


async def ike_and_more(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A gateway that has something else to say: before, in pieces, and right behind the answer."""
    request = (await read_frame(reader))[len(NON_ESP_MARKER) :]
    writer.write(encode(NON_ESP_MARKER + response(request, spi=b"somebody")))
    frame = encode(NON_ESP_MARKER + response(request))
    writer.write(frame[:7])
    await writer.drain()
    writer.write(frame[7:] + b"\x01\x00\x00\x0ctail-")


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """A box that accepts for everybody and swallows what comes."""
    await reader.read()


async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    # What was not read would turn the end into a reset.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await reader.read(65536)
    writer.close()


async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A web server or a transparent proxy."""
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nServer: box\x07\r\n\r\n")


async def babbling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """SSH, say."""
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    await reader.read()


async def babbling_in_frames(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Somebody who speaks TPKT' and no IKE."""
    await reader.read(1)
    writer.write(encode(b"\x00\x00\x00\x07ESP or so, it says"))
    writer.close()


@contextlib.asynccontextmanager
async def tcp(behaviour: Behaviour, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Serve `behaviour` on loopback; gives the port."""
    tasks: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await behaviour(reader, writer)
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)


class Udp(asyncio.DatagramProtocol):
    """Answers each datagram with what `answers` makes of it; the first `lost` are ignored."""

    def __init__(self, answers: Callable[[bytes], list[bytes]], lost: int = 0) -> None:
        self._answers, self._lost = answers, lost
        self.received: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Python 3.11's own class is no asyncio.DatagramTransport, though it is one.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.received.append(data)
        if len(self.received) > self._lost:
            for datagram in self._answers(data):
                self._transport.sendto(datagram, addr)


@contextlib.asynccontextmanager
async def udp(
    answers: Callable[[bytes], list[bytes]], *, port: int = 0, lost: int = 0, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[int, Udp]]:
    """Answer datagrams on loopback; gives the port and what was heard."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: Udp(answers, lost), local_addr=(host, port)
    )
    try:
        yield transport.get_extra_info("sockname")[1], protocol
    finally:
        transport.close()
