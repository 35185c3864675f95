# SPDX-License-Identifier: Apache-2.0
"""Each behaviour of the lab's firewall, seen from both ends of it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from tests.lab.firewall import Firewall
from tests.lab.topology import FW_WAN, GW, GW_V6, Topology

pytestmark = pytest.mark.root
IKE = bytes(4) + b"i" * 28
ESP = b"\x12\x34\x56\x78" + b"e" * 28
LOST_SECONDS = 0.15  # a datagram takes well under a millisecond through four namespaces


@pytest.fixture(scope="module")
def lab() -> Iterator[Topology]:
    with Topology() as topology:
        yield topology


@pytest.fixture
def firewall(lab: Topology) -> Firewall:
    return Firewall(lab.fw)


def datagram_arrives(lab: Topology, payload: bytes, port: int = 4500, address: str = GW) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        lab.gw.socket(family, socket.SOCK_DGRAM) as server,
        lab.ue.socket(family, socket.SOCK_DGRAM) as client,
    ):
        server.bind((address, port))
        server.settimeout(LOST_SECONDS)
        client.connect((address, port))
        client.send(payload)
        try:
            server.recv(2048)
        except TimeoutError:
            client.setblocking(False)
            client.send(payload)  # raises what ICMP has told in the meantime
            return False
        return True


UDP_TABLE: list[tuple[Callable[[Firewall], None], bool, bool]] = [
    (Firewall.open_all, True, True),
    (Firewall.drop_udp, False, False),
    (Firewall.drop_ike_udp, False, True),
    (Firewall.drop_esp_in_udp, True, False),
    (Firewall.tcp80_only, False, False),
    (Firewall.allow_udp, True, True),
    (Firewall.drop_tcp, True, True),
]


@pytest.mark.parametrize("row", UDP_TABLE)
@pytest.mark.parametrize("address", [GW, GW_V6])
def test_udp_behaviours_tell_ike_from_esp(
    lab: Topology, firewall: Firewall, row: tuple[Callable[[Firewall], None], bool, bool], address: str
) -> None:
    behaviour, ike, esp = row
    behaviour(firewall)
    assert datagram_arrives(lab, IKE, address=address) is ike
    assert datagram_arrives(lab, ESP, address=address) is esp


def test_ike_on_port_500_goes_with_ike_on_4500_and_large_datagrams_have_their_own_rule(
    lab: Topology, firewall: Firewall
) -> None:
    firewall.drop_ike_udp()
    assert not datagram_arrives(lab, IKE, port=500)
    firewall.drop_large_udp(1200)
    assert datagram_arrives(lab, IKE, port=500)
    assert not datagram_arrives(lab, ESP + bytes(1300))


def test_rejected_udp_is_told_to_the_sender(lab: Topology, firewall: Firewall) -> None:
    firewall.reject_udp("port-unreachable")
    with pytest.raises(ConnectionRefusedError):
        datagram_arrives(lab, IKE)
    firewall.reject_udp()
    with pytest.raises(OSError, match=r"No route|refused|denied"):
        datagram_arrives(lab, IKE)
    firewall.allow_udp()
    assert datagram_arrives(lab, IKE)
    assert firewall.counters()["reject_udp"] >= 2


@pytest.fixture
def connection(lab: Topology, firewall: Firewall) -> Iterator[tuple[socket.socket, socket.socket]]:
    with lab.gw.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((GW, 80))
        listener.listen()
        with lab.ue.socket() as client:
            client.settimeout(3)
            client.connect((GW, 80))
            server, _ = listener.accept()
            with server:
                server.settimeout(LOST_SECONDS)
                yield client, server


Connection = tuple[socket.socket, socket.socket]


def test_tcp_80_passes_where_only_it_may_and_other_ports_do_not(
    lab: Topology, firewall: Firewall, connection: Connection
) -> None:
    firewall.tcp80_only()
    client, server = connection
    client.send(b"hello")
    assert server.recv(16) == b"hello"
    with lab.gw.socket() as listener, lab.ue.socket() as lost, lab.ue.socket() as later:
        listener.bind((GW, 443))
        listener.listen()
        lost.settimeout(LOST_SECONDS)
        with pytest.raises(TimeoutError):
            lost.connect((GW, 443))
        firewall.any_port()
        later.settimeout(3)
        later.connect((GW, 443))


def test_swallowed_tcp_opens_and_carries_nothing(firewall: Firewall, connection: Connection) -> None:
    client, server = connection
    firewall.swallow_tcp()
    client.send(b"x")
    with pytest.raises(TimeoutError):
        server.recv(16)
    firewall.allow_tcp()
    server.settimeout(5)
    assert server.recv(16) == b"x"  # retransmitted


def test_cutting_resets_the_connections_of_before_and_not_those_of_after(
    lab: Topology, firewall: Firewall, connection: Connection
) -> None:
    client, _ = connection
    firewall.cut_tcp()
    client.send(b"x")
    with pytest.raises(ConnectionResetError):
        client.recv(16)
    with lab.gw.socket() as listener, lab.ue.socket() as later:
        listener.bind((GW, 81))
        listener.listen()
        later.settimeout(3)
        later.connect((GW, 81))
        accepted, _ = listener.accept()
        with accepted:
            later.send(b"new")
            accepted.settimeout(3)
            assert accepted.recv(16) == b"new"
    assert firewall.counters()["cut_tcp"] >= 1


def test_reset_tcp_breaks_what_is_open(firewall: Firewall, connection: Connection) -> None:
    client, _ = connection
    firewall.reset_tcp(80)
    client.send(b"x")
    with pytest.raises(ConnectionResetError):
        client.recv(16)


def test_refused_tcp_says_so_at_once(lab: Topology, firewall: Firewall) -> None:
    firewall.reject_tcp(80)
    with lab.ue.socket() as client:
        client.settimeout(3)
        with pytest.raises(ConnectionRefusedError):
            client.connect((GW, 80))


def test_nat_hides_the_client(lab: Topology, firewall: Firewall) -> None:
    firewall.masquerade()
    with lab.gw.socket(kind=socket.SOCK_DGRAM) as server, lab.ue.socket(kind=socket.SOCK_DGRAM) as client:
        server.bind((GW, 4500))
        server.settimeout(3)
        client.sendto(IKE, (GW, 4500))
        _, source = server.recvfrom(64)
        assert source[0] == FW_WAN
