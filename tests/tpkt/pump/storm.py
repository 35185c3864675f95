# SPDX-License-Identifier: Apache-2.0
"""Many clients that come at once, each with an IKE message, and come again when they are turned away."""

from __future__ import annotations

import random
import selectors
import socket
import time
from collections.abc import Callable, Sequence

from tests.lab.netns import Namespace
from tests.tpkt.pump.rig import GW, ike
from tpkt.wire import encode

HELLO = encode(ike(100))
PAUSES = (0.1, 0.5)  # before one that was turned away comes again


class Storm:
    """Clients by source; `run` lasts until charon has answered each, `scatter` resets all of them."""

    def __init__(self, home: Namespace, port: int, sources: Sequence[str]) -> None:
        self._home, self._port, self._sources = home, port, sources
        self._selector = selectors.DefaultSelector()
        self.answered: dict[str, socket.socket] = {}
        self.turned_away = 0

    def run(self, seconds: float, watch: Callable[[], object]) -> None:
        """Have all of them answered; `watch` is called all the time. Raises TimeoutError."""
        self._home.call(self._run, seconds, watch)

    def _run(self, seconds: float, watch: Callable[[], object]) -> None:
        end, waiting = time.monotonic() + seconds, [(0.0, source) for source in self._sources]
        while len(self.answered) < len(self._sources):
            now = time.monotonic()
            if now > end:
                raise TimeoutError(f"{len(self.answered)} of {len(self._sources)} were answered")
            watch()
            due = [source for at, source in waiting if at <= now]
            waiting = [(at, source) for at, source in waiting if at > now]
            for source in due:
                self._connect(source)
            for key, events in self._selector.select(0.01):
                if not self._serve(key, events):
                    self.turned_away += 1
                    waiting.append((now + random.uniform(*PAUSES), key.data))

    def _connect(self, source: str) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((source, 0))
        sock.connect_ex((GW, self._port))
        self._selector.register(sock, selectors.EVENT_WRITE, source)

    def _serve(self, key: selectors.SelectorKey, events: int) -> bool:
        """False when it was turned away."""
        sock = key.fileobj
        assert isinstance(sock, socket.socket)
        try:
            if events & selectors.EVENT_WRITE:
                sock.send(HELLO)
                self._selector.modify(sock, selectors.EVENT_READ, key.data)
                return True
            got = sock.recv(4096)
        except OSError:
            got = b""
        self._selector.unregister(sock)
        if not got:
            sock.close()
            return False
        self.answered[key.data] = sock
        return True

    def scatter(self) -> None:
        """Break every connection, as a restarted box on the way does."""
        for sock in self.answered.values():
            sock.close()
        self.answered.clear()

    def close(self) -> None:
        """End what is left."""
        self.scatter()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()
