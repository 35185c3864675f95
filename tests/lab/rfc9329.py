# SPDX-License-Identifier: Apache-2.0
"""A client of RFC 9329, written from the RFC alone: it carries somebody's UDP 500 and 4500 over TCP.

Whose packets those are it does not know: a charon in a neighbouring namespace takes it for its gateway. It
shares no line with the product; what it and the gateway agree on is the RFC. Its rules, by section:

    3    the stream is a 16-bit length that counts itself, then a non-ESP marker and IKE, or ESP; 0 and 1 are
         errors
    4    who opens the connection begins it with "IKETCP"
    6.6  no NAT keep-alives are sent on TCP; a received one is ignored
    6.1  the client re-opens the connection, and its IKE_SA outlives that
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Sequence
from typing import Self

PREFIX = b"IKETCP"
MARKER = b"\0\0\0\0"
IKE_PORT, NAT_PORT = 500, 4500
SECONDS = 10.0


class Broken(Exception):
    """The gateway broke a rule of the RFC."""


def framed(payload: bytes) -> bytes:
    """Give `payload` with its length, which counts its own two bytes."""
    return struct.pack("!H", len(payload) + 2) + payload


class Carrier:
    """Carries what comes by UDP to a gateway on TCP and back; a context manager, with a thread of its own."""

    def __init__(self, udp: Sequence[socket.socket], tcp: socket.socket, opening: Sequence[bytes]) -> None:
        """Begin on `tcp`, which is connected; `opening` are the pieces in which the prefix is sent.

        `udp` are the sockets on ports 500 and 4500 of the address that somebody takes for the gateway's.
        """
        self._udp = {sock.getsockname()[1]: sock for sock in udp}
        self._tcp = tcp
        self._opening = list(opening)
        self._peer: tuple[str, int] | None = None
        self._held = b""
        self._lock = threading.Lock()
        self._wake, self._woken = socket.socketpair()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self.step = 65_535  # bytes in one write
        self.up = self.down = 0  # frames
        self.kinds_up: set[str] = set()
        self.kinds_down: set[str] = set()
        self.ended = threading.Event()  # the gateway has closed the connection

    def __enter__(self) -> Self:
        """Send the prefix and begin."""
        self._open()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; a rule that was broken meanwhile is raised now."""
        self._wake.send(b"x")
        self._thread.join(SECONDS)
        for sock in (self._tcp, *self._udp.values(), self._wake, self._woken):
            sock.close()
        if self._failure is not None:
            raise self._failure

    def _open(self) -> None:
        self._tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in self._opening:
            self._tcp.sendall(piece)

    def say(self, data: bytes) -> None:
        """Send these bytes between two frames."""
        with self._lock, contextlib.suppress(ConnectionResetError, BrokenPipeError):
            self._tcp.sendall(data)

    def replace(self, tcp: socket.socket, *, reset: bool = False) -> None:
        """Go on over another connection; the old one ends orderly, or is reset."""
        with self._lock:
            if reset:
                self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._tcp.close()
            self._tcp, self._held = tcp, b""
            self.ended.clear()
            self._open()
        self._wake.send(b"again")

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except Broken as error:
            self._failure = error

    def _turn(self) -> bool:
        with self._lock:
            tcp = self._tcp
        reading = [*self._udp.values(), self._woken]
        if not self.ended.is_set() and tcp.fileno() != -1:
            reading.append(tcp)
        readable, _, _ = select.select(reading, [], [])
        if self._woken in readable:
            return self._woken.recv(16) != b"x"
        for sock in readable:
            with self._lock:
                if sock is not tcp:
                    self._upwards(sock)
                elif sock is self._tcp:
                    self._downwards()
        return True

    def _upwards(self, sock: socket.socket) -> None:
        datagram, peer = sock.recvfrom(65_535)
        self._peer = peer
        if sock.getsockname()[1] == IKE_PORT:
            datagram = MARKER + datagram
        if len(datagram) == 1:
            return  # a keep-alive is for UDP alone
        self.up += 1
        self.kinds_up.add("ike" if datagram.startswith(MARKER) else "esp")
        frame = framed(datagram)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for at in range(0, len(frame), self.step):
                self._tcp.sendall(frame[at : at + self.step])

    def _downwards(self) -> None:
        data = b""
        with contextlib.suppress(ConnectionResetError):
            data = self._tcp.recv(65_536)
        if not data:
            self.ended.set()
            return
        self._held += data
        while len(self._held) >= 2:
            length = int.from_bytes(self._held[:2], "big")
            if length < 2:
                raise Broken(f"a frame of length {length}")
            if len(self._held) < length:
                return
            self._deliver(self._held[2:length])
            self._held = self._held[length:]

    def _deliver(self, payload: bytes) -> None:
        if len(payload) < 12:
            raise Broken(f"a frame that is neither IKE nor ESP: {payload.hex()}")
        self.down += 1
        self.kinds_down.add("ike" if payload.startswith(MARKER) else "esp")
        if self._peer is not None:
            self._udp[NAT_PORT].sendto(payload, (self._peer[0], NAT_PORT))
