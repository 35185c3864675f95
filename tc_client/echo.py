# SPDX-License-Identifier: Apache-2.0
"""Pings from an inner address: echo requests (RFC 792, 4443) that their source leads into the tunnel.

Sent on a raw socket, which needs CAP_NET_RAW: the kernel's own ping sockets are closed to root as well
unless net.ipv4.ping_group_range says otherwise. Knows nothing of tunnels.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import time
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address

_HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence number
REQUEST, REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
DATA = b"tc-client"
INTERVAL_SECONDS = 0.3
FIRST_INTERVALS = (0.05, 0.1, 0.2)  # a path that has just been opened answers soon, or the next time


async def ping(source: Address, target: Address, seconds: float) -> float | None:
    """Give the round-trip time of the first answer, None when none comes in time. Raises OSError."""
    identifier = int.from_bytes(os.urandom(2), "big")
    with _socket(source) as sock:
        sock.setblocking(False)
        sock.bind((str(source), 0))
        sent: dict[int, float] = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    sequence = len(sent)
                    _send(sock, source, target, identifier, sequence)
                    sent[sequence] = time.monotonic()
                    pause = (*FIRST_INTERVALS, INTERVAL_SECONDS)[min(sequence, len(FIRST_INTERVALS))]
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            answered = await _answer(sock, source.version, target, identifier)
                            return time.monotonic() - sent.get(answered, sent[sequence])
    return None


def _socket(source: Address) -> socket.socket:
    if source.version == 4:
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    return socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)


def _send(sock: socket.socket, source: Address, target: Address, identifier: int, sequence: int) -> None:
    packet = _HEADER.pack(REQUEST[source.version], 0, 0, identifier, sequence) + DATA
    if source.version == 4:  # the kernel fills in the checksum of ICMPv6 itself
        packet = packet[:2] + struct.pack("!H", checksum(packet)) + packet[4:]
    # A route that is just being installed, a full queue: the next request will do.
    with contextlib.suppress(BlockingIOError, OSError):
        sock.sendto(packet, (str(target), 0))


async def _answer(sock: socket.socket, version: int, target: Address, identifier: int) -> int:
    """Wait for a reply to one of ours, and give its sequence number."""
    loop = asyncio.get_running_loop()
    while True:
        packet: bytes
        packet, peer = await loop.sock_recvfrom(sock, 2048)
        if version == 4:  # raw IPv4 sockets deliver the IP header too
            packet = packet[(packet[0] & 0x0F) * 4 :]
        if len(packet) < _HEADER.size or str(peer[0]).partition("%")[0] != str(target):
            continue
        kind, _, _, found, sequence = _HEADER.unpack_from(packet)
        if kind == REPLY[version] and found == identifier:
            return int(sequence)


def checksum(data: bytes) -> int:
    """Give the Internet checksum (RFC 1071) of `data`, whose own field is zero."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
