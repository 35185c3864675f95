# SPDX-License-Identifier: Apache-2.0
"""Who is around while strangers make trouble: a charon that answers, a good client, sources by the thousand.

The good client sends numbered datagrams both ways all the time; when it is asked at the end, every one of
them must have arrived. Strangers come from 10.77.0.0/16, so that nothing they do can be laid at its door.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from ipaddress import IPv4Address
from types import TracebackType
from typing import Self

from tests.lab.wait import PATIENCE, until
from tests.tpkt.pump.rig import GW, SECONDS, UE, Address, Network, Peer, Rig, esp, ike
from tpkt.decoder import Decoder
from tpkt.wire import NON_ESP_MARKER, Framing, encode

STRANGERS = IPv4Address("10.77.0.1")
PACE = 0.004  # between two datagrams each way: voice is five times slower
SIZE = 200


def reachable_strangers(network: Network) -> None:
    """Let the peers' namespace speak from all of 10.77.0.0/16."""
    network.ue.ip("link set lo up", "route replace local 10.77.0.0/16 dev lo")
    network.gw.ip(f"route replace 10.77.0.0/16 via {UE}")


def source(number: int) -> str:
    """The address of a stranger."""
    return str(STRANGERS + number)


class Strangers:
    """Sockets of the peers' namespace, each from a source of its choice; all are closed in the end."""

    def __init__(self, rig: Rig, port: int) -> None:
        self._rig, self._port = rig, port
        self._closing = contextlib.ExitStack()
        self.sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def close_all(self) -> None:
        """End all of them; others may come."""
        self._closing.close()
        self.sockets.clear()

    def knock(self, sources: list[str]) -> list[socket.socket]:
        """Begin to connect from each of these, all at once, and wait for none."""
        return self._rig.network.ue.call(self._knock, sources)

    def _knock(self, sources: list[str]) -> list[socket.socket]:
        made = [socket.socket() for _ in sources]
        for sock, address in zip(made, sources, strict=True):
            self._closing.callback(sock.close)
            sock.setblocking(False)
            sock.bind((address, 0))
            with contextlib.suppress(BlockingIOError):
                sock.connect((GW, self._port))
        self.sockets += made
        return made

    def connect(self, address: str) -> Peer:
        """A connection from there that is waited for; a refusal may show only when it is used."""
        (sock,) = self.knock([address])
        sock.settimeout(SECONDS)
        with contextlib.suppress(ConnectionResetError):
            sock.connect((GW, self._port))  # of a connection that stands: nothing, or that it was reset
        return Peer(sock, tell=self._rig.non_zero)


def is_over(sock: socket.socket) -> bool:
    """Whether the other side has ended it, one way or the other."""
    sock.setblocking(False)
    try:
        return sock.recv(1 << 16) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


class PlayedCharon:
    """Takes what the link brings: answers IKE while it is `answering`, and keeps ESP by flow."""

    def __init__(self, rig: Rig) -> None:
        self._socket = rig.charon()
        self._socket.settimeout(0.05)
        self.answering = True
        self.seconds_an_answer = 0.0
        self.asked: list[Address] = []
        self.esp: defaultdict[str, list[int]] = defaultdict(list)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="played-charon")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                payload, where = self._socket.recvfrom(65_536)
            except TimeoutError:
                continue
            if not payload.startswith(NON_ESP_MARKER):
                self.esp[where[0]].append(int.from_bytes(payload[4:8], "big"))
                continue
            self.asked.append(where)
            if self.answering:
                self._over.wait(self.seconds_an_answer)
                self.answer(where)

    def answer(self, where: Address) -> None:
        """Say something as a responder."""
        self._socket.sendto(ike(100, spi_r=9), where)

    def forget_all_but(self, flow: str) -> None:
        """Keep nothing of other flows."""
        self.asked.clear()
        for other in set(self.esp) - {flow}:
            del self.esp[other]

    def send(self, payload: bytes, flow: Address) -> None:
        self._socket.sendto(payload, flow)


class GoodClient:
    """One that was there before the trouble; leaving the context asserts that it noticed nothing of it."""

    def __init__(self, rig: Rig, port: int, charon: PlayedCharon) -> None:
        self._rig, self._charon = rig, charon
        known = set(charon.asked)
        self.peer = rig.connect(port)
        self.peer.send(ike(100))
        self.flow = until(lambda: set(charon.asked) - known, SECONDS, "its IKE message").pop()
        charon.answer(self.flow)
        self.peer.receive()
        self.sent_up = self.sent_down = 0
        self.down: list[int] = []
        self._over, self._sent_all = threading.Event(), threading.Event()
        self._patient_until = 0.0
        self._threads = [threading.Thread(target=work) for work in (self._send, self._receive)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._threads[0].join()
        self._patient_until = time.monotonic() + SECONDS * PATIENCE
        self._sent_all.set()
        self._threads[1].join()
        if kind is None:
            with contextlib.suppress(TimeoutError):  # what is missing is told below
                until(lambda: len(self.charon_has) >= self.sent_up, SECONDS, "all that it sent")
            assert self.charon_has == list(range(self.sent_up)), "not all that it sent arrived, in order"
            assert self.down == list(range(self.sent_down)), "it did not get all, in order"

    @property
    def charon_has(self) -> list[int]:
        return self._charon.esp[self.flow[0]]

    def _send(self) -> None:
        while not self._over.wait(PACE):
            self.peer.socket.sendall(encode(esp(SIZE, self.sent_up)))
            self.sent_up += 1
            self._charon.send(esp(SIZE, self.sent_down), self.flow)
            self.sent_down += 1

    def _receive(self) -> None:
        decoder = Decoder(Framing.TPKT)
        while not self._sent_all.is_set() or len(self.down) < self.sent_down:
            if not select.select([self.peer.socket], [], [], 0.05 if not self._late() else 0)[0]:
                if self._late():
                    return  # what is missing is told by who asks
                continue
            data = self.peer.socket.recv(1 << 16)
            if not data:
                return
            decoder.feed(data)
            while (payload := decoder.next_payload()) is not None:
                if not payload.startswith(NON_ESP_MARKER):
                    self.down.append(int.from_bytes(payload[4:8], "big"))

    def _late(self) -> bool:
        return self._sent_all.is_set() and time.monotonic() > self._patient_until

    def goes_on(self, datagrams: int = 50) -> None:
        """Wait until that many more have made their way."""
        wanted = len(self.down) + datagrams, len(self.charon_has) + datagrams
        until(
            lambda: len(self.down) >= wanted[0] and len(self.charon_has) >= wanted[1],
            SECONDS,
            f"the good client's datagrams go on; the pump counts {self._rig.non_zero()}",
        )


@contextlib.contextmanager
def in_company(rig: Rig) -> Iterator[tuple[int, PlayedCharon, GoodClient, Strangers]]:
    """A port that is served, charon, the good client at its work, and strangers to be let loose."""
    port = rig.listen()
    with (
        PlayedCharon(rig) as charon,
        GoodClient(rig, port, charon) as good,
        Strangers(rig, port) as strangers,
    ):
        yield port, charon, good, strangers
        good.goes_on()
