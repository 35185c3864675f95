# SPDX-License-Identifier: Apache-2.0
"""A real pump between real sockets: peers in one namespace, charon's place in another, the link between.

    ue 192.0.2.2 ── veth ── 192.0.2.1 gw  eseg0 ── veth ── link's namespace (the pump's UDP sockets)
       2001:db8:1::2        2001:db8:1::1

The pump's threads live in this process; only its sockets are in namespaces. Charon is played by UDP sockets
on ports 500 and 4500 of gw, peers by TCP sockets of ue. Knows no test.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Literal, Self

from tests.lab.netns import Namespace, unique_prefix, veth
from tests.lab.wait import until
from tpkt.decoder import Decoder
from tpkt.errors import CloseReason
from tpkt.link import ClientLink, ClientLinkConfig, GatewayLink, GatewayLinkConfig
from tpkt.pump import EventKind, Limits, Pump, PumpConfig, PumpEvent
from tpkt.wire import NON_ESP_MARKER, Framing, encode, encode_rfc9329

UE, GW = "192.0.2.2", "192.0.2.1"
UE_V6, GW_V6 = "2001:db8:1::2", "2001:db8:1::1"
POOL4, POOL6 = IPv4Network("198.18.0.0/15"), IPv6Network("2001:2::/64")
SECONDS = 5.0
SO_RCVBUFFORCE = 33  # asm-generic/socket.h; not in the socket module
Address = tuple[str, int]


def esp(size: int = 100, number: int = 1, spi: int = 0xC0FFEE01) -> bytes:
    """An ESP packet by its looks."""
    return struct.pack("!II", spi, number) + bytes([number & 0xFF]) * (size - 8)


def ike(size: int = 100, *, spi_i: int = 0x1122334455667788, spi_r: int = 0, message_id: int = 0) -> bytes:
    """An IKE message with a sound header, its non-ESP marker before it; `size` counts both."""
    header = struct.pack("!QQBBBBII", spi_i, spi_r, 33, 0x20, 34, 0x08, message_id, size - 4)
    return NON_ESP_MARKER + header + bytes(size - 4 - len(header))


class Network:
    """The two namespaces and their cable."""

    def __init__(self) -> None:
        self.prefix = unique_prefix()
        self.ue = Namespace(f"{self.prefix}-ue")
        self.gw = Namespace(f"{self.prefix}-gw")
        veth(self.ue, "eth0", self.gw, "eth0")
        self.ue.ip(f"addr add {UE}/24 dev eth0", f"addr add {UE_V6}/64 dev eth0 nodad")
        self.gw.ip(f"addr add {GW}/24 dev eth0", f"addr add {GW_V6}/64 dev eth0 nodad")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.ue.delete()
        self.gw.delete()

    @contextlib.contextmanager
    def gateway_link(self, mtu: int = 1500) -> Iterator[GatewayLink]:
        link = GatewayLink(GatewayLinkConfig(instance=self.prefix, pool4=POOL4, pool6=POOL6, mtu=mtu))
        self.gw.call(link.up)
        try:
            yield link
        finally:
            self.gw.call(link.down)

    @contextlib.contextmanager
    def client_link(self) -> Iterator[ClientLink]:
        link = ClientLink(
            ClientLinkConfig(instance=self.prefix, gateways=(IPv4Address(GW), IPv6Address(GW_V6)))
        )
        self.ue.call(link.up)
        try:
            for gateway in link.config.gateways:
                self.ue.call(link.divert, gateway)
            yield link
        finally:
            self.ue.call(link.down)


class Peer:
    """The other end of a stream."""

    def __init__(
        self,
        sock: socket.socket,
        framing: Framing = Framing.TPKT,
        tell: Callable[[], object] = lambda: "not known",
    ) -> None:
        """`tell` gives what a failure's message says of the pump."""
        self.socket = sock
        self.tell = tell
        self.socket.settimeout(SECONDS)
        self.framing = framing
        self._decoder = Decoder(framing)
        name = sock.getsockname()
        self.address: Address = (name[0], name[1])

    def send(self, *payloads: bytes) -> None:
        """Send payloads as frames, in one write."""
        encoder = encode if self.framing is Framing.TPKT else encode_rfc9329
        self.socket.sendall(b"".join(encoder(payload) for payload in payloads))

    def send_bytes(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> bytes:
        """The next payload from the stream."""
        while True:
            payload = self._decoder.next_payload()
            if payload is not None:
                return payload
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                raise TimeoutError(f"nothing from the pump, which counts {self.tell()}") from None
            if not data:
                raise EOFError(f"the pump has closed the connection; it counts {self.tell()}")
            self._decoder.feed(data)

    def read_all(self) -> bytes:
        """Everything up to the end of the stream, or to its reset."""
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := self.socket.recv(1 << 16):
                data += piece
        return data

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()


class Rig:
    """A running pump of either role, its peers and its charon; everything is closed with it."""

    def __init__(
        self, network: Network, namespace: str, role: Literal["gateway", "client"], **options: Any
    ) -> None:
        self.network = network
        limits = Limits(**{name: options.pop(name) for name in list(options) if name in Limits.__slots__})
        gateway = role == "gateway"
        self.pump = Pump(
            PumpConfig(
                role=role,
                namespace=namespace,
                pool4=options.pop("pool4", POOL4 if gateway else None),
                pool6=options.pop("pool6", POOL6 if gateway else None),
                limits=limits,
                **options,
            )
        )
        self.events: list[PumpEvent] = []
        self._closing = contextlib.ExitStack()
        # Charon is beside the link's device: in the gateway's namespace or in the client's.
        self.home, self.here, self.here_v6 = (network.gw, GW, GW_V6) if gateway else (network.ue, UE, UE_V6)

    def __enter__(self) -> Self:
        self.home.call(self._closing.enter_context, self.pump)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def listen(self, address: str = GW) -> int:
        return self.home.call(self.pump.listen, address, 0)

    def charon(self, port: int = 4500, address: str | None = None) -> socket.socket:
        """A UDP socket where charon's would be."""
        address = address or self.here
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = self.home.socket(family, socket.SOCK_DGRAM)
        self._closing.callback(sock.close)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        sock.bind((address, port))
        sock.settimeout(SECONDS)
        return sock

    def connect(self, port: int, address: str = GW, framing: Framing = Framing.TPKT) -> Peer:
        """A peer's connection to the pump."""
        sock = self.network.ue.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self._closing.callback(sock.close)
        sock.settimeout(SECONDS)
        sock.connect((address, port))
        return Peer(sock, framing, self.non_zero)

    def knock(self, port: int) -> Address:
        """A peer that is refused; its address."""
        with self.network.ue.socket() as sock:
            sock.settimeout(SECONDS)
            sock.bind((UE, 0))
            with contextlib.suppress(ConnectionResetError):
                sock.connect((GW, port))
                sock.recv(1)
            name = sock.getsockname()
            return name[0], name[1]

    def connected(self) -> tuple[socket.socket, Peer]:
        """A TCP connection from ue to gw: the ue's end to be adopted, and the gateway's end."""
        with self.network.gw.socket() as server:
            server.bind((GW, 0))
            server.listen()
            mine = self.network.ue.socket()
            self._closing.callback(mine.close)
            mine.settimeout(SECONDS)
            mine.connect(server.getsockname())
            other = Peer(server.accept()[0], tell=self.non_zero)
        self._closing.callback(other.close)
        return mine, other

    def event(self, kind: EventKind, *, connection: int = 0, of: Peer | None = None) -> PumpEvent:
        """The first event of this kind (and connection, or peer) since the start, waited for."""

        def fits(event: PumpEvent) -> bool:
            return (
                event.kind is kind
                and connection in (0, event.connection)
                and (of is None or event.remote == of.address)
            )

        def look() -> list[PumpEvent]:
            self.events += self.pump.poll_events()
            return [event for event in self.events if fits(event)]

        return until(look, SECONDS, f"the event {kind}")[0]

    def closed(self, peer: Peer) -> CloseReason:
        """Why the connection of `peer` ended, waited for."""
        return self.event(EventKind.CLOSED, of=peer).reason

    def count(self, name: str, at_least: int = 1) -> int:
        """A counter, once it has come to `at_least`."""
        self.wait(lambda: self.pump.counters()[name] >= at_least, f"{name} comes to {at_least}")
        return self.pump.counters()[name]

    def wait(self, predicate: Callable[[], Any], what: str) -> None:
        until(predicate, SECONDS, f"{what}; counters {self.non_zero()}")

    def non_zero(self) -> dict[str, int]:
        return {name: value for name, value in self.pump.counters().items() if value}


Maker = Callable[..., Rig]  # a fixture's gift: a rig with the options given
