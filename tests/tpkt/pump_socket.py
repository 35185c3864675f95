# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the pump on the link: one UDP socket that claims addresses it does not have."""

from __future__ import annotations

import os
import socket
import struct
import threading
from ipaddress import ip_address
from typing import NamedTuple, Self

from tests.lab.netns import setns

SECONDS = 2.0
LOST_SECONDS = 0.15  # how long a datagram that must not come is waited for; it would take microseconds
IPV6_TRANSPARENT = 75  # not in the socket module (linux/in6.h)
IP_PKTINFO = 8  # nor this before Python 3.14 (linux/in.h)


class Datagram(NamedTuple):
    payload: bytes
    source: str
    port: int
    destination: str


class PumpSocket:
    """Sends from and receives for any address that is local to the namespace at `path`."""

    def __init__(self, path: str, port: int, family: socket.AddressFamily) -> None:
        made: list[socket.socket] = []

        def inside() -> None:
            descriptor = os.open(path, os.O_RDONLY)
            setns(descriptor)
            os.close(descriptor)
            made.append(socket.socket(family, socket.SOCK_DGRAM))

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        (self._socket,) = made
        self._six = family == socket.AF_INET6
        if self._six:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            self._socket.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
        else:
            self._socket.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_TRANSPARENT, 1)
        self._socket.bind(("::" if self._six else "0.0.0.0", port))
        self._socket.settimeout(SECONDS)

    def send(self, payload: bytes, *, source: str, to: tuple[str, int]) -> None:
        packed = ip_address(source).packed
        if self._six:
            control = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, struct.pack("=16sI", packed, 0))
        else:
            control = (socket.IPPROTO_IP, IP_PKTINFO, struct.pack("=I4s4s", 0, packed, bytes(4)))
        self._socket.sendmsg([payload], [control], 0, to)

    def receive(self) -> Datagram:
        payload, ancillary, _, source = self._socket.recvmsg(65535, 256)
        data = ancillary[0][2]
        destination = data[:16] if self._six else data[8:12]
        return Datagram(payload, source[0], source[1], str(ip_address(destination)))

    def hears_nothing(self) -> bool:
        self._socket.settimeout(LOST_SECONDS)
        try:
            self._socket.recv(65535)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(SECONDS)
        return False

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
