# SPDX-License-Identifier: Apache-2.0
"""`Pump`: the data plane as an object. The only importer of the compiled module.

Every method may be called from any thread and from asyncio's: none waits for the network. Nothing here sees a
datagram. `close()` ends the threads and gives everything back; it may be called twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network
from types import TracebackType
from typing import Any

from tpkt.errors import CloseReason, MisuseError
from tpkt.pump import moving, native
from tpkt.pump.config import PumpConfig
from tpkt.pump.door import Door
from tpkt.pump.errors import HandOverError, PumpError
from tpkt.pump.events import ConnectionInfo, PumpEvent
from tpkt.pump.native import ffi, lib
from tpkt.pump.tls import TlsServer
from tpkt.pump.tlsclient import TlsClient
from tpkt.sniff import Protocol

_ADOPTABLE = {
    "gateway": (Protocol.UNKNOWN, Protocol.TPKT, Protocol.RFC9329, Protocol.FTT),
    "client": (Protocol.TPKT, Protocol.RFC9329, Protocol.FTT),
}
_BATCH = 512  # events or connections fetched by one call


class Pump:
    """One pump. Made from its configuration, started once, closed once; also a context manager."""

    def __init__(self, config: PumpConfig) -> None:
        """Nothing of the system is touched before start()."""
        self.config = config
        self._lock = threading.Lock()  # life and death against calls from other threads
        self._pump: Any = None
        self._closed = False
        self._frozen = False
        self._prepared: Any = None  # made, and nothing taken over yet
        self._readers = 0
        self._left: list[PumpEvent] = []  # events nobody had fetched when it was closed
        self.door = Door(self._held)
        self._event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def start(self) -> None:
        """Open the link's sockets in its namespace and start the workers; PumpError when that cannot be."""
        with self._lock:
            self._pump = self._made(lib.tp_pump_start)

    def prepare(self) -> None:
        """Instead of start(): get what take_over() will need, which takes time and disturbs nobody."""
        with self._lock:
            self._prepared = self._made(lib.tp_pump_prepare)

    def _made(self, begin: Any) -> Any:
        if self._closed or self._pump is not None or self._prepared is not None:
            raise MisuseError("start() a second time: a pump lives once")
        config, kept = native.native_config(self.config, self._event_fd)
        pump = lib.tp_pump_new(config)
        del kept  # the pump has copies
        if pump == ffi.NULL:
            raise native.out_of_memory()
        error = ffi.new("struct tp_error *")
        try:
            native.check(begin(pump, error), -1, error)
        except PumpError:
            lib.tp_pump_free(pump)
            raise
        return pump

    def close(self) -> None:
        """Close every connection (reason shutdown), join the threads, release everything.

        A frozen pump closes none: they are a successor's, or were never quite ours.
        Events that were not fetched yet can still be polled, and a waiting `events()` gives them and ends.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._pump is not None:
                lib.tp_pump_stop(self._pump)
                self._left += self._fetch_events()
                lib.tp_pump_free(self._pump)
                self._pump = None
            if self._prepared is not None:
                lib.tp_pump_free(self._prepared)
                self._prepared = None
            if self._readers:
                os.eventfd_write(self._event_fd, 1)  # the last reader closes it
            else:
                os.close(self._event_fd)

    def __enter__(self) -> Pump:
        """Start; what could not start is closed."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def listen(
        self,
        address: str,
        port: int,
        *,
        tls: bool = True,
        balancers: Sequence[IPv4Network | IPv6Network] = (),
    ) -> int:
        """Accept connections on `address` (IPv6 ones on IPv6 only); give the port, for 0 the one chosen.

        Who comes from one of the networks `balancers` must begin with a PROXY header, which says who the
        client really is; from everybody else such a header is an unknown protocol.
        With `tls` what arrives there may begin TLS, once serve_tls() has said with which certificates.
        """
        where = native.native_address(address, port)
        networks = native.native_networks(balancers)
        error = ffi.new("struct tp_error *")
        with self._lock:
            result = lib.tp_pump_listen(self._running(), where, tls, networks, len(networks), error)
        return native.check(result, -1, error)

    def serve_tls(self, server: TlsServer | None) -> None:
        """Serve TLS with these certificates from now on (None: not any more); for gateways.

        Connections that stand keep what they were given. On PumpError what was served before still is.
        """
        if self.config.role == "client":
            raise MisuseError("serve_tls: a client serves nobody")
        error = ffi.new("struct tp_error *")
        made, kept = (ffi.NULL, []) if server is None else native.native_tls_server(server)
        with self._lock:
            native.check(lib.tp_pump_serve_tls(self._running(), made, error), -1, error)
        del kept  # the pump has copies

    def relisten(
        self,
        address: str,
        port: int,
        *,
        tls: bool = False,
        balancers: Sequence[IPv4Network | IPv6Network] = (),
    ) -> bool:
        """Change how it listens there, see listen(); False when it does not. Nobody is refused meanwhile."""
        where = native.native_address(address, port)
        networks = native.native_networks(balancers)
        with self._lock:
            return bool(lib.tp_pump_relisten(self._running(), where, tls, networks, len(networks)))

    def unlisten(self, address: str, port: int) -> bool:
        """Accept no more connections there; False when none were."""
        where = native.native_address(address, port)
        with self._lock:
            return bool(lib.tp_pump_unlisten(self._running(), where))

    def listeners(self) -> list[tuple[str, int]]:
        """Where connections are accepted."""
        with self._lock:
            pump = self._running()
            room = lib.tp_pump_listeners(pump, ffi.NULL, 0)
            addresses = ffi.new("struct tp_address[]", room)
            lib.tp_pump_listeners(pump, addresses, room)
        return [native.listener(addresses[index]) for index in range(room)]

    def hand_over(self, sock: socket.socket) -> None:
        """Freeze, and give everything to the process at the other end of `sock`.

        `sock` is a SOCK_SEQPACKET pair's end with a timeout. The pump keeps everything and is frozen
        afterwards: close() it when the other has taken over, or thaw() it. Raises PumpError, and
        HandOverError when it is the other's fault; it is frozen then as well.
        """
        error = ffi.new("struct tp_error *")
        state = ffi.new("struct tp_moving *")
        with self._lock:
            pump = self._running()
            self._frozen = True
            lib.tp_pump_freeze(pump)
            native.check(lib.tp_pump_export(pump, state, error), -1, error)
        try:
            descriptors = ffi.unpack(state.descriptors, state.descriptor_count)
            moving.send(sock, ffi.buffer(state.bytes, state.size), descriptors)
        finally:
            lib.tp_moving_free(state)

    def take_over(self, sock: socket.socket) -> None:
        """After prepare(): take what hand_over() sends. The pump is frozen afterwards until thaw().

        Raises PumpError, and HandOverError when it is the other's fault; close() it then.
        """
        with self._lock:
            if self._prepared is None:
                raise MisuseError("take_over() without prepare()")
            error = ffi.new("struct tp_error *")
            with moving.receive(sock) as (state, descriptors):
                kept = ffi.from_buffer(state)
                given = ffi.new("int[]", descriptors)
                offered = ffi.new("struct tp_moving *")
                offered.bytes, offered.size = ffi.cast("uint8_t *", kept), len(state)
                offered.descriptors, offered.descriptor_count = given, len(descriptors)
                descriptors.clear()  # the pump's from here on, whatever becomes of it
                try:
                    native.check(lib.tp_pump_import(self._prepared, offered, error), -1, error)
                finally:
                    ffi.release(kept)
            self._pump, self._prepared = self._prepared, None
            self._frozen = True

    def thaw(self) -> None:
        """Go on where it was frozen."""
        with self._lock:
            lib.tp_pump_thaw(self._running())
            self._frozen = False

    def adopt(
        self,
        sock: socket.socket,
        *,
        flow: str | None = None,
        leftover: bytes = b"",
        protocol: Protocol = Protocol.TPKT,
        tls: TlsClient | None = None,
    ) -> int:
        """Take over a connected TCP socket and give the connection's id.

        The descriptor is the pump's from then on and `sock` detached; on an error it is still the caller's.
        `leftover` is what was read behind a proxy's answer: the stream's first bytes.

        With `tls` (a client's, TPKT' alone) a handshake comes first: the event IDENTIFIED tells that it is
        done and the gateway believed, CLOSED with its reason why it is not.

        Client: `flow` is the gateway's address. What comes from the link for it now goes to this connection;
        an older one with the same flow stays open for reading until it is closed. For RFC9329 the prefix is
        sent here. Gateway: leave `flow` out, an address of the pool is taken; Protocol.UNKNOWN has the first
        bytes tell, any other says that an RFC 9329 prefix was read already.
        """
        role = self.config.role
        if protocol not in _ADOPTABLE[role]:
            raise MisuseError(f"adopt: a {role} cannot take over a connection that speaks {protocol}")
        if (flow is None) != (role == "gateway"):
            raise MisuseError(
                "adopt: a gateway takes the flow address from its pool"
                if flow
                else "adopt: a client must name its gateway's address as flow"
            )
        if tls is not None and (role, protocol) != ("client", Protocol.TPKT):
            raise MisuseError("adopt: a client's TPKT' can be inside TLS, nothing else")
        dialling = ffi.NULL if tls is None else tls.handle
        address = ffi.NULL if flow is None else native.native_address(flow, 0)
        spoken = native.PROTOCOLS.index(protocol)
        error = ffi.new("struct tp_error *")
        with self._lock:
            if self._frozen:
                raise HandOverError("adopt: no connection can be taken in the middle of it")
            result = lib.tp_pump_adopt(
                self._running(), sock.fileno(), address, spoken, dialling, leftover, len(leftover), error
            )
            connection = native.check(result, 0, error)
        sock.detach()
        return connection

    def close_connection(self, connection: int, reason: CloseReason = CloseReason.CONTROL) -> bool:
        """Close a connection now; False when it had ended already, or the pump is frozen."""
        with self._lock:
            return not self._frozen and bool(
                lib.tp_pump_close_connection(self._running(), connection, native.REASONS.index(reason))
            )

    def connection(self, connection: int) -> ConnectionInfo | None:
        """One connection as it stands, None when it has ended."""
        info = ffi.new("struct tp_connection_info *")
        with self._lock:
            found = lib.tp_pump_connection(self._running(), connection, info)
        return native.connection_info(info) if found else None

    def connections(self) -> list[ConnectionInfo]:
        """Every open connection; no worker is stopped for it."""
        found: list[ConnectionInfo] = []
        cursor = ffi.new("uint64_t *", 0)
        infos = ffi.new("struct tp_connection_info[]", _BATCH)
        while True:
            with self._lock:
                count = lib.tp_pump_connections(self._running(), cursor, infos, _BATCH)
            found += [native.connection_info(infos[index]) for index in range(count)]
            if count == 0:
                return found

    def counters(self) -> dict[str, int]:
        """Everything that is counted, by name, summed over the workers.

        `closed_<reason>` and `identified_<protocol>` are always there; `unknown_first_byte_<hex>` only for
        bytes that connections of no known protocol really began with.
        """
        values = ffi.new("uint64_t[]", len(native.COUNTER_NAMES))
        with self._lock:
            lib.tp_pump_counters(self._running(), values)
        return {
            name: int(value)
            for name, value in zip(native.COUNTER_NAMES, values, strict=True)
            if value or not name.startswith("unknown_first_byte_")
        }

    @property
    def event_fd(self) -> int:
        """Readable when poll_events() has something to give."""
        return self._event_fd

    def poll_events(self) -> list[PumpEvent]:
        """Everything since the last call, in order, without waiting; works after close() too."""
        with self._lock:
            if self._closed:
                left, self._left = self._left, []
                return left
            # Before the events, so that a later one makes it readable again.
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._event_fd)
            return self._fetch_events()

    async def events(self) -> AsyncIterator[PumpEvent]:
        """Give events as they happen, until the pump is closed. One reader: an event is given once."""
        with self._lock:
            watching = not self._closed
            self._readers += watching
        news = asyncio.Event()
        if watching:
            asyncio.get_running_loop().add_reader(self._event_fd, news.set)
        try:
            while True:
                last = self._closed
                for one in self.poll_events():
                    yield one
                if last:
                    return
                await news.wait()
                news.clear()
        finally:
            if watching:
                asyncio.get_running_loop().remove_reader(self._event_fd)
                self._reader_gone()

    def _reader_gone(self) -> None:
        with self._lock:
            self._readers -= 1
            if self._closed and not self._readers:
                os.close(self._event_fd)

    @contextlib.contextmanager
    def _held(self) -> Iterator[Any]:
        with self._lock:
            yield self._running()

    def _running(self) -> Any:
        if self._pump is None:
            raise PumpError(0, "the pump does not run", "start() it first, and do not use it after close()")
        return self._pump

    def _fetch_events(self) -> list[PumpEvent]:
        if self._pump is None:
            return []
        fetched: list[PumpEvent] = []
        events = ffi.new("struct tp_event[]", _BATCH)
        while True:
            count = lib.tp_pump_poll(self._pump, events, _BATCH)
            fetched += [native.event(events[index]) for index in range(count)]
            if count < _BATCH:
                return fetched
