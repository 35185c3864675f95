# SPDX-License-Identifier: Apache-2.0
"""Behind a load balancer: the client of the PROXY header is who is shown, counted and limited."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.tpkt.pump.rig import GW, GW_V6, UE, UE_V6, Maker, Network, Peer, Rig, esp, ike
from tests.tpkt.pump.tls import Pki, TlsSocket
from tpkt.errors import CloseReason
from tpkt.link import GatewayLink
from tpkt.pump import ConnectionState, EventKind
from tpkt.sniff import Protocol
from tpkt.wire import encode

pytestmark = pytest.mark.root
SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
CLIENT, CLIENT_V6 = ("203.0.113.7", 40001), ("2001:db8:77::7", 40002)


@pytest.fixture
def make(network: Network, gateway_link: GatewayLink) -> Maker:
    def made(**options: object) -> Rig:
        return Rig(network, gateway_link.namespace, "gateway", **options)

    return made


def listen(rig: Rig, *balancers: str, address: str = GW) -> int:
    networks = [ip_network(text) for text in balancers or (UE,)]
    return rig.home.call(lambda: rig.pump.listen(address, 0, balancers=networks))


def v1(client: tuple[str, int], to: tuple[str, int] = (GW, 80)) -> bytes:
    family = "TCP6" if ":" in client[0] else "TCP4"
    return f"PROXY {family} {client[0]} {to[0]} {client[1]} {to[1]}\r\n".encode()


def v2(client: tuple[str, int], to: tuple[str, int] = (GW, 80), *, tlvs: bytes = b"") -> bytes:
    addresses = ip_address(client[0]).packed + ip_address(to[0]).packed
    body = addresses + struct.pack("!HH", client[1], to[1]) + tlvs
    family = 0x21 if ":" in client[0] else 0x11
    return SIGNATURE + struct.pack("!BBH", 0x21, family, len(body)) + body


def shown(rig: Rig) -> tuple[str, int]:
    (info,) = rig.pump.connections()
    return info.remote


def identified(rig: Rig, client: tuple[str, int]) -> None:
    rig.wait(
        lambda: [one for one in rig.pump.connections() if one.remote == client and one.protocol == "tpkt"],
        f"{client} speaks TPKT'",
    )


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (v1(CLIENT), CLIENT),
        (v1(CLIENT_V6, (GW_V6, 80)), CLIENT_V6),
        (v2(CLIENT), CLIENT),
        (v2(CLIENT_V6, (GW_V6, 80)), CLIENT_V6),
        (v2(CLIENT, tlvs=b"\x04\x03\x00" + bytes(768)), CLIENT),
    ],
    ids=["v1 IPv4", "v1 IPv6", "v2 IPv4", "v2 IPv6", "v2 with TLVs"],
)
@pytest.mark.parametrize("step", [10_000, 1], ids=["whole", "byte by byte"])
def test_the_client_of_a_header_is_the_one_that_is_shown(
    make: Maker, header: bytes, client: tuple[str, int], step: int
) -> None:
    with make() as rig:
        port = listen(rig, "192.0.2.0/28")
        charon = rig.charon()
        peer = rig.connect(port)
        stream = header + encode(ike(300)) + encode(esp(1400))
        for at in range(0, len(stream), step):
            peer.send_bytes(stream[at : at + step])
        datagram, flow = charon.recvfrom(65536)
        assert datagram == ike(300)
        assert charon.recvfrom(65536)[0] == esp(1400)
        charon.sendto(ike(120, spi_r=5), flow)
        assert peer.receive() == ike(120, spi_r=5)
        assert shown(rig) == client
        assert rig.event(EventKind.ACCEPTED).remote == peer.address
        for kind in (EventKind.IDENTIFIED, EventKind.FIRST_IKE):
            assert rig.event(kind).remote == client
        assert rig.pump.counters()["introduced"] == 1
        peer.close()
        assert rig.event(EventKind.CLOSED).remote == client


@pytest.mark.parametrize(
    "header",
    [b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\x00\x00\x00", SIGNATURE + b"\x21\x00\x00\x00"],
    ids=["v1 UNKNOWN", "v2 LOCAL", "v2 UNSPEC"],
)
def test_a_balancer_that_names_nobody_speaks_for_itself(make: Maker, header: bytes) -> None:
    with make() as rig:
        port = listen(rig)
        peer = rig.connect(port)
        peer.send_bytes(header + encode(ike()))
        identified(rig, peer.address)


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (encode(ike()), CloseReason.NO_PROXY_HEADER),
        (b"GET / HTTP/1.1\r\n\r\n", CloseReason.NO_PROXY_HEADER),
        (b"PROXY TCP4 nonsense\r\n", CloseReason.BAD_PROXY_HEADER),
        (b"PROXY " + b"x" * 200, CloseReason.BAD_PROXY_HEADER),
        (SIGNATURE + b"\x21\x11\xff\xff", CloseReason.BAD_PROXY_HEADER),
    ],
    ids=["a frame", "HTTP", "a broken line", "an endless line", "a huge header"],
)
def test_a_balancer_without_a_sound_header_is_closed(make: Maker, first: bytes, reason: CloseReason) -> None:
    with make() as rig:
        peer = rig.connect(listen(rig))
        peer.send_bytes(first)
        assert peer.read_all() == b""
        assert rig.closed(peer) is reason
        assert rig.pump.counters()["queued_bytes"] == 0


def test_a_balancer_that_leaves_in_its_header_or_before_it(make: Maker) -> None:
    with make() as rig:
        port = listen(rig)
        for first, reason in ((b"", CloseReason.FIN), (b"PROXY TC", CloseReason.BAD_PROXY_HEADER)):
            peer = rig.connect(port)
            peer.send_bytes(first)
            peer.close()
            assert rig.closed(peer) is reason
        rig.wait(lambda: rig.pump.counters()["connections_half_identified"] == 0, "none is left")


def test_the_deadline_for_first_bytes_covers_the_header_and_what_follows(make: Maker) -> None:
    with make(first_bytes_seconds=0.3) as rig:
        port = listen(rig)
        for first in (b"", b"PROXY TCP4 ", v1(CLIENT)):
            peer = rig.connect(port)
            peer.send_bytes(first)
            assert peer.read_all() == b""
        rig.count("closed_first_bytes_timeout", 3)


@pytest.mark.parametrize("header", [v1(CLIENT), v2(CLIENT)], ids=["v1", "v2"])
def test_nobody_else_is_believed(make: Maker, header: bytes) -> None:
    with make() as rig:
        for port in (rig.listen(), listen(rig, "192.0.2.128/25", "2001:db8::/32")):
            peer = rig.connect(port)
            peer.send_bytes(header + encode(ike()))
            assert peer.read_all() == b""
            assert rig.closed(peer) is CloseReason.UNKNOWN_PROTOCOL
        assert rig.pump.counters()["introduced"] == 0


def test_others_are_served_beside_a_balancer_on_the_same_port(make: Maker) -> None:
    with make() as rig:
        port = listen(rig, UE_V6, address=GW_V6)
        other = listen(rig, "192.0.2.77")
        balancer, plain = rig.connect(port, GW_V6), rig.connect(other)
        balancer.send_bytes(v2(CLIENT_V6, (GW_V6, 80)) + encode(ike()))
        plain.send(ike())
        identified(rig, CLIENT_V6)
        identified(rig, plain.address)


def test_limits_are_the_clients_own_and_not_the_balancers(make: Maker) -> None:
    with make(half_identified_per_source=2, accepts_per_second_per_source=5) as rig:
        port = listen(rig)
        silent = [rig.connect(port) for _ in range(8)]  # more than any source may have
        many = [rig.connect(port) for _ in range(6)]
        for number, peer in enumerate(many):
            peer.send_bytes(v1((f"203.0.113.{number}", 4000)))
        rig.count("introduced", 6)
        assert len(rig.pump.connections()) == 14
        same = [rig.connect(port) for _ in range(3)]
        for peer in same:
            peer.send_bytes(v2(("203.0.113.99", 5000)))
        refused = rig.event(EventKind.LIMIT)
        assert refused.reason is CloseReason.LIMIT_SOURCE
        assert refused.remote[0] == "203.0.113.99"
        rig.count("closed_limit_source", 1)
        for peer in (*silent, *many, *same):
            peer.close()
        rig.wait(lambda: rig.pump.counters()["connections_half_identified"] == 0, "every slot is given back")
        again: list[Peer] = [rig.connect(port), rig.connect(port)]
        for peer in again:
            peer.send_bytes(v2(("203.0.113.98", 5000)))
        rig.count("introduced", 11)
        assert len(rig.pump.connections()) == 2


def test_all_that_are_half_identified_have_a_limit_behind_a_balancer_too(make: Maker) -> None:
    with make(half_identified=3, half_identified_per_source=3) as rig:
        port = listen(rig)
        _kept = [rig.connect(port) for _ in range(3)]
        rig.count("accepted", 3)
        rig.knock(port)
        rig.count("closed_limit_connections")


@pytest.mark.parametrize("together", [True, False], ids=["in one segment", "by itself"])
def test_tls_may_follow_a_header(make: Maker, tmp_path: Path, together: bool) -> None:
    pki = Pki(tmp_path)
    with make() as rig:
        rig.pump.serve_tls(pki.server)
        charon, peer = rig.charon(), rig.connect(listen(rig))
        peer.socket.send(v2(CLIENT), socket.MSG_MORE if together else 0)
        tls = TlsSocket(peer.socket, pki.context())
        tls.handshake()
        tls.sendall(encode(ike(200)))
        assert charon.recv(65536) == ike(200)
        identified(rig, CLIENT)
        (info,) = rig.pump.connections()
        assert info.tls is not None


def test_a_web_client_behind_a_balancer_gets_its_answer(make: Maker) -> None:
    with make() as rig:
        peer = rig.connect(listen(rig))
        peer.send_bytes(v1(CLIENT) + b"PUT /x HTTP/1.1\r\n\r\n")
        assert peer.read_all().startswith(b"HTTP/1.1 404 ")
        (info,) = rig.pump.connections()
        assert (info.state, info.protocol, info.remote) == (
            ConnectionState.LINGERING,
            Protocol.HTTP,
            CLIENT,
        )
