# SPDX-License-Identifier: Apache-2.0
"""Listens to IKE in a namespace: which exchanges of which IKE_SA passed any of its devices, and when.

The kernel hands over only IKE messages in UDP (port 500, or 4500 with the non-ESP marker), on the wire and
on the link alike, so that a saturated tunnel costs nothing here. What TCP carries is seen on the link.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import socket
import struct
import threading
import time
from typing import NamedTuple, Self

from tests.lab.netns import Namespace

ETH_P_ALL = 0x0003
SO_ATTACH_FILTER = 26
UDP = 17
IKE_PORT, NAT_PORT = 500, 4500  # only the second has the marker
IKE_HEADER = struct.Struct("!8s8sBBBBLL")
FLAG_RESPONSE = 0x20

# Classic BPF as (label, operation, operand, label if equal, label if not); no label: the next instruction.
# Offsets count from the IP header, which has no options in the lab.
LDB, LDH, LDW, RSH, JEQ, RET = 0x30, 0x28, 0x20, 0x74, 0x15, 0x06
FILTER = (
    ("", LDB, 0, "", ""),
    ("", RSH, 4, "", ""),
    ("", JEQ, 4, "", "not IPv4"),
    ("", LDB, 9, "", ""),
    ("", JEQ, UDP, "", "drop"),
    ("", LDH, 20, "", ""),
    ("", JEQ, IKE_PORT, "accept", ""),
    ("", JEQ, NAT_PORT, "marker?", ""),
    ("", LDH, 22, "", ""),
    ("", JEQ, IKE_PORT, "accept", ""),
    ("", JEQ, NAT_PORT, "marker?", "drop"),
    ("marker?", LDW, 28, "", ""),
    ("", JEQ, 0, "accept", "drop"),
    ("not IPv4", LDB, 6, "", ""),
    ("", JEQ, UDP, "", "drop"),
    ("", LDH, 40, "", ""),
    ("", JEQ, IKE_PORT, "accept", ""),
    ("", JEQ, NAT_PORT, "marker in IPv6?", ""),
    ("", LDH, 42, "", ""),
    ("", JEQ, IKE_PORT, "accept", ""),
    ("", JEQ, NAT_PORT, "marker in IPv6?", "drop"),
    ("marker in IPv6?", LDW, 48, "", ""),
    ("", JEQ, 0, "accept", "drop"),
    ("accept", RET, 65535, "", ""),
    ("drop", RET, 0, "", ""),
)


def assemble() -> bytes:
    """Give FILTER as the kernel's struct sock_filter[]."""
    places = {label: place for place, (label, *_) in enumerate(FILTER) if label}

    def jump(place: int, label: str) -> int:
        return places[label] - place - 1 if label else 0

    return b"".join(
        struct.pack("=HBBL", operation, jump(place, equal), jump(place, other), operand)
        for place, (_, operation, operand, equal, other) in enumerate(FILTER)
    )


class Exchange(enum.IntEnum):
    """IKEv2 exchange types (RFC 7296 section 3.1)."""

    IKE_SA_INIT = 34
    IKE_AUTH = 35
    CREATE_CHILD_SA = 36
    INFORMATIONAL = 37


class Message(NamedTuple):
    """One IKE message that passed."""

    at: float
    spi_i: str
    exchange: int
    response: bool
    message_id: int


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class IkeTap:
    """Collects messages from construction until `close`; a context manager."""

    def __init__(self, namespace: Namespace) -> None:
        """Begin to listen on every device of `namespace`, those to come included."""
        self._messages: list[Message] = []
        self._socket = namespace.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        buffer = ctypes.create_string_buffer(assemble())
        program = _Program(len(FILTER), ctypes.addressof(buffer))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, bytes(program))
        self._drain()
        self._socket.settimeout(0.2)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="ike-tap", daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        """Throw away what came between the socket and its filter."""
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(1)

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                packet = self._socket.recv(65535)
            except TimeoutError:
                continue
            message = parse(packet, time.monotonic())
            if message:
                self._messages.append(message)

    def messages(self, exchange: Exchange | None = None, *, since: float = 0.0) -> list[Message]:
        """Give what passed since the monotonic time `since`, only of `exchange` when one is named."""
        return [
            message
            for message in tuple(self._messages)
            if message.at >= since and exchange in (None, message.exchange)
        ]

    def established(self, *, since: float = 0.0) -> set[str]:
        """Give the SPIs of the IKE_SAs that were authenticated since then.

        An IKE_SA_INIT alone makes no IKE_SA: a client also sends one to see whether a path exists.
        """
        return {message.spi_i for message in self.messages(Exchange.IKE_AUTH, since=since)}

    def close(self) -> None:
        """Stop listening."""
        self._ended.set()
        self._thread.join(5)
        self._socket.close()

    def __enter__(self) -> Self:
        """Give the running tap."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self.close()


def parse(packet: bytes, at: float) -> Message | None:
    """Read the IKE message in an IP packet; None when there is none."""
    udp = packet[20:] if packet[0] >> 4 == 4 else packet[40:]
    payload = udp[8:] if IKE_PORT in struct.unpack_from("!HH", udp) else udp[12:]
    if len(payload) < IKE_HEADER.size:
        return None
    spi_i, _, _, _, exchange, flags, message_id, _ = IKE_HEADER.unpack_from(payload)
    return Message(at, spi_i.hex(), exchange, bool(flags & FLAG_RESPONSE), message_id)
