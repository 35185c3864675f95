# SPDX-License-Identifier: Apache-2.0
"""Asks whether a path carries IKE: over UDP, and over a stream that is then used, not thrown away.

Success is any IKE response to our initiator SPI. Every failure is a `RungError` with a `Failure` that says
what was met: a silent path, an ICMP refusal and by whom, a reset, an end in order, or something that answers
and does not speak IKE. Works without privileges, except for a bound device or a port below 1024.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NoReturn

from tc_client import icmp, ikeprobe, networks
from tc_client.rungs import Failure, RungError, Why
from tpkt.decoder import Decoder
from tpkt.errors import PeerError
from tpkt.wire import Framing, encode

Address = IPv4Address | IPv6Address

# When the request is sent again, in parts of the deadline: a lost datagram is not a blocked path.
RETRANSMISSIONS = (0.0, 0.3, 0.65)
MAX_DATAGRAM = 65_535
READ_SIZE = 4096
NAT_TRAVERSAL_PORT = 4500
HTTP_LINE = 60  # how much of a stray answer is shown


@dataclass(frozen=True, slots=True)
class Answer:
    """Something that speaks IKE answered after `rtt` seconds; `meaning` is what it said."""

    rtt: float
    meaning: str


@dataclass(frozen=True, slots=True)
class Stream:
    """A connection on which IKE was answered, and the bytes that came after the answer."""

    sock: socket.socket
    leftover: bytes
    answer: Answer


def _fail(why: Why, sentence: str) -> NoReturn:
    raise RungError(Failure(why, sentence)) from None


async def probe_udp(address: Address, port: int, *, seconds: float, device: str | None = None) -> Answer:
    """Ask `address` over UDP; `device` names the one to leave through, whatever the link's rules say."""
    name = f"UDP {port}"
    question = ikeprobe.ask(os.urandom(ikeprobe.RANDOM_LENGTH))
    async with contextlib.AsyncExitStack() as stack:
        sock = stack.enter_context(_udp_socket(address, port, device, name))
        if device is not None:
            await stack.enter_async_context(networks.bypass(address, device, sock.getsockname()[1]))
        try:
            return await _ask(sock, question, port, seconds)
        except OSError as error:
            raise RungError(icmp.explain(sock, error, name, address)) from None


async def _ask(sock: socket.socket, question: ikeprobe.Question, port: int, seconds: float) -> Answer:
    datagram = question.datagram if port == NAT_TRAVERSAL_PORT else question.message
    loop, begun, strangers = asyncio.get_running_loop(), time.monotonic(), 0
    for part, following in zip(RETRANSMISSIONS, (*RETRANSMISSIONS[1:], 1.0), strict=True):
        with contextlib.suppress(BlockingIOError):  # as good as lost on the way
            sock.send(datagram)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout((following - part) * seconds):
                while True:
                    meaning = _udp_answer(question, await loop.sock_recv(sock, MAX_DATAGRAM), port)
                    if meaning is not None:
                        return Answer(time.monotonic() - begun, meaning)
                    strangers += 1
    if strangers:
        _fail(Why.NOT_IKE, f"UDP {port}: something answers that does not speak IKE")
    _fail(Why.SILENT, f"UDP {port}: no answer in {seconds:g} s")


def _udp_answer(question: ikeprobe.Question, received: bytes, port: int) -> str | None:
    if port == NAT_TRAVERSAL_PORT:
        return ikeprobe.answer_on_stream(question, received)
    return ikeprobe.answer(question, received)


def _udp_socket(address: Address, port: int, device: str | None, name: str) -> socket.socket:
    sock = socket.socket(_family(address), socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if device is not None:
            # For everybody since Linux 5.7; before, a user without rights asks by the ordinary route.
            with contextlib.suppress(PermissionError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        icmp.listen(sock, address)
        sock.connect((str(address), port))
    except OSError as error:
        sock.close()
        raise RungError(icmp.explain(sock, error, name, address)) from None
    return sock


async def open_tcp(address: Address, port: int, *, seconds: float) -> socket.socket:
    """Connect to `address`; nothing is sent yet. Raises RungError."""
    name = f"TCP {port}"
    sock = socket.socket(_family(address), socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        icmp.listen(sock, address)
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
        # Once it is open, an ICMP error may be a passing trouble of the path: TCP lives through those.
        icmp.listen(sock, address, wanted=False)
    except TimeoutError:
        sock.close()
        _fail(Why.SILENT, f"{name}: no answer to the connection request in {seconds:g} s")
    except OSError as error:
        failure = icmp.explain(sock, error, name, address)
        sock.close()
        raise RungError(failure) from None
    except BaseException:
        sock.close()
        raise
    return sock


async def probe_stream(sock: socket.socket, name: str, *, seconds: float) -> Stream:
    """Ask for IKE in the first TPKT' frame of the connected `sock`, which is closed when that fails."""
    try:
        async with asyncio.timeout(seconds):
            return await _converse(sock, name)
    except BaseException as error:
        sock.close()
        if isinstance(error, TimeoutError):
            _fail(Why.SILENT, f"{name}: connects, and its first frame is not answered in {seconds:g} s")
        if isinstance(error, ConnectionResetError | BrokenPipeError):
            _fail(Why.RESET, f"{name}: connects, and is reset at its first frame")
        if isinstance(error, OSError):
            _fail(Why.RESET, f"{name}: connects, and breaks at its first frame ({error.strerror})")
        raise


async def _converse(sock: socket.socket, name: str) -> Stream:
    loop, begun = asyncio.get_running_loop(), time.monotonic()
    question = ikeprobe.ask(os.urandom(ikeprobe.RANDOM_LENGTH))
    await loop.sock_sendall(sock, encode(question.datagram))
    decoder, received = Decoder(Framing.TPKT), bytearray()
    while data := await loop.sock_recv(sock, READ_SIZE):
        received += data
        if len(received) > MAX_DATAGRAM:
            _fail(Why.NOT_IKE, f"{name}: answers much, and no IKE")
        decoder.feed(data)
        try:
            while (payload := decoder.next_payload()) is not None:
                meaning = ikeprobe.answer_on_stream(question, payload)
                if meaning is not None:
                    leftover = bytes(received[len(received) - decoder.buffered :])
                    return Stream(sock, leftover, Answer(time.monotonic() - begun, meaning))
        except PeerError:
            _fail(Why.NOT_IKE, f"{name}: {await _stranger(sock, received)}")
    if received:
        _fail(Why.NOT_IKE, f"{name}: answers {len(received)} bytes that are no IKE, and closes")
    _fail(Why.CLOSED, f"{name}: connects, and is closed at its first frame")


async def _stranger(sock: socket.socket, received: bytearray) -> str:
    """Say who answers instead of the gateway, by the first line of what it says."""
    try:
        async with asyncio.timeout(0.2):
            while b"\n" not in received and len(received) < HTTP_LINE:
                more = await asyncio.get_running_loop().sock_recv(sock, READ_SIZE)
                if not more:
                    break
                received += more
    except (TimeoutError, OSError):
        pass  # what is there has to do
    line = bytes(received).partition(b"\n")[0][:HTTP_LINE].decode("ascii", "replace").strip()
    shown = "".join(letter if letter.isprintable() else "." for letter in line)
    if received.startswith(b"HTTP/"):
        return f"a web server or proxy answers ({shown})"
    return f"something answers that does not speak TPKT' ({shown})"


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6
