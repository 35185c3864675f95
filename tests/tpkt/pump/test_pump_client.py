# SPDX-License-Identifier: Apache-2.0
"""A client's pump: charon's datagrams to its gateway go into the adopted connection, answers come back."""

from __future__ import annotations

import socket

import pytest

from tests.tpkt.pump.rig import GW, GW_V6, SECONDS, UE, UE_V6, Maker, Network, Peer, Rig, esp, ike
from tpkt.errors import CloseReason, MisuseError
from tpkt.link import ClientLink
from tpkt.pump import EventKind, PumpError
from tpkt.sniff import Protocol
from tpkt.wire import Framing, encode

pytestmark = pytest.mark.root


@pytest.fixture
def make(network: Network, client_link: ClientLink) -> Maker:
    def made(**options: object) -> Rig:
        return Rig(network, client_link.namespace, "client", **options)

    return made


@pytest.mark.parametrize(("gateway", "here"), [(GW, UE), (GW_V6, UE_V6)], ids=["ipv4", "ipv6"])
def test_a_conversation(make: Maker, gateway: str, here: str) -> None:
    with make() as rig:
        charon = rig.charon(address=here)
        sock, gateways_end = rig.connected()
        connection = rig.pump.adopt(sock, flow=gateway)
        assert sock.fileno() == -1
        request, answer = ike(300), ike(310, spi_r=4)
        charon.sendto(request, (gateway, 4500))
        assert gateways_end.receive() == request
        gateways_end.send(answer, esp(100, 1), esp(100, 2))
        for wanted in (answer, esp(100, 1), esp(100, 2)):
            payload, source = charon.recvfrom(65536)
            assert (payload, source[:2]) == (wanted, (gateway, 4500))
        assert rig.event(EventKind.ACCEPTED, connection=connection).flow == gateway
        assert rig.event(EventKind.IDENTIFIED, connection=connection).protocol is Protocol.TPKT
        # A client's connection is good before charon has said anything: no deadline for IKE.
        gateways_end.close()
        assert rig.event(EventKind.CLOSED, connection=connection).reason is CloseReason.FIN


def test_charon_may_begin_on_port_500_and_float_to_4500(make: Maker) -> None:
    with make() as rig:
        charon500, charon = rig.charon(500), rig.charon()
        sock, gateways_end = rig.connected()
        rig.pump.adopt(sock, flow=GW)
        charon500.sendto(ike(300)[4:], (GW, 500))
        assert gateways_end.receive() == ike(300)  # the stream has the marker
        gateways_end.send(ike(310, spi_r=4), esp(60))
        assert charon500.recvfrom(400) == (ike(310, spi_r=4)[4:], (GW, 500))
        # ESP cannot go to a port where charon was never heard.
        assert rig.count("stream_to_link_no_peer") == 1
        charon.sendto(ike(320, spi_r=4), (GW, 4500))
        assert gateways_end.receive() == ike(320, spi_r=4)
        gateways_end.send(ike(330, spi_r=4), esp(61))
        assert charon.recvfrom(400)[0] == ike(330, spi_r=4)
        assert charon.recvfrom(400)[0] == esp(61)


def test_before_charon_was_heard_there_is_nowhere_to_send(make: Maker) -> None:
    with make() as rig:
        sock, gateways_end = rig.connected()
        connection = rig.pump.adopt(sock, flow=GW)
        gateways_end.send(esp(70), ike(80))
        assert rig.count("stream_to_link_no_peer", 2) == 2
        info = rig.pump.connection(connection)
        assert info is not None
        assert info.dropped == 2


def test_the_newest_connection_of_a_flow_gets_the_datagrams_and_the_older_may_still_be_heard(
    make: Maker,
) -> None:
    with make() as rig:
        charon = rig.charon()
        (first, first_end), (second, second_end) = rig.connected(), rig.connected()
        older = rig.pump.adopt(first, flow=GW)
        charon.sendto(ike(100), (GW, 4500))
        assert first_end.receive() == ike(100)
        rig.pump.adopt(second, flow=GW)
        charon.sendto(ike(101), (GW, 4500))
        assert second_end.receive() == ike(101)
        first_end.send(esp(50, 1))
        assert charon.recvfrom(100)[0] == esp(50, 1)
        # What was learnt of charon belongs to the flow: the new one may answer before charon speaks.
        second_end.send(esp(50, 2))
        assert charon.recvfrom(100)[0] == esp(50, 2)
        assert rig.pump.close_connection(older, CloseReason.REPLACED)
        assert rig.event(EventKind.CLOSED, connection=older).reason is CloseReason.REPLACED
        charon.sendto(esp(60), (GW, 4500))
        assert second_end.receive() == esp(60)


def test_charon_is_followed_to_another_address_and_port(make: Maker, network: Network) -> None:
    network.ue.ip("addr add 192.0.2.77/24 dev eth0")
    try:
        with make() as rig:
            sock, gateways_end = rig.connected()
            rig.pump.adopt(sock, flow=GW)
            for address, port in ((UE, 4500), (UE, 10_500), ("192.0.2.77", 4500)):
                charon = rig.charon(port, address)
                charon.sendto(ike(90), (GW, 4500))
                assert gateways_end.receive() == ike(90)
                gateways_end.send(esp(40))
                assert charon.recvfrom(100) == (esp(40), (GW, 4500))
    finally:
        network.ue.ip("addr del 192.0.2.77/24 dev eth0")


def test_bytes_behind_a_proxys_answer_belong_to_the_stream(make: Maker) -> None:
    with make() as rig:
        charon = rig.charon()
        (first, first_end), (second, second_end) = rig.connected(), rig.connected()
        rig.pump.adopt(first, flow=GW)
        charon.sendto(ike(100), (GW, 4500))
        first_end.receive()
        stream = encode(esp(200, 1)) + encode(esp(201, 2))
        rig.pump.adopt(second, flow=GW, leftover=stream[:250])
        assert charon.recvfrom(300)[0] == esp(200, 1)
        second_end.send_bytes(stream[250:])
        assert charon.recvfrom(300)[0] == esp(201, 2)


def test_rfc_9329_begins_with_its_prefix(make: Maker) -> None:
    with make() as rig:
        charon = rig.charon()
        sock, plain = rig.connected()
        rig.pump.adopt(sock, flow=GW, protocol=Protocol.RFC9329)
        assert plain.socket.recv(6) == b"IKETCP"
        gateways_end = Peer(plain.socket, Framing.RFC9329)
        charon.sendto(ike(120), (GW, 4500))
        assert gateways_end.receive() == ike(120)
        gateways_end.send(esp(130))
        assert charon.recvfrom(200)[0] == esp(130)


def test_a_gateway_that_answers_with_something_else_is_left(make: Maker) -> None:
    with make() as rig:
        sock, gateways_end = rig.connected()
        connection = rig.pump.adopt(sock, flow=GW)
        gateways_end.send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        assert rig.event(EventKind.CLOSED, connection=connection).reason is CloseReason.BAD_VERSION


def test_several_workers_each_have_their_gateways(make: Maker) -> None:
    with make(workers=2) as rig:
        charon, charon6 = rig.charon(), rig.charon(address=UE_V6)
        for gateway, one in ((GW, charon), (GW_V6, charon6)):
            sock, gateways_end = rig.connected()
            rig.pump.adopt(sock, flow=gateway)
            one.sendto(ike(100), (gateway, 4500))
            assert gateways_end.receive() == ike(100)
            gateways_end.send(esp(50))
            assert one.recvfrom(100)[0] == esp(50)


def test_a_socket_that_cannot_be_adopted_stays_the_callers(make: Maker) -> None:
    with make(connections=1) as rig:
        with rig.network.ue.socket() as unconnected:
            with pytest.raises(PumpError, match=r"not a connected TCP socket.*connect it"):
                rig.pump.adopt(unconnected, flow=GW)
            assert unconnected.fileno() != -1
        here, there = socket.socketpair()
        with here, there, pytest.raises(PumpError, match="not a connected TCP socket"):
            rig.pump.adopt(here, flow=GW)
        sock, _ = rig.connected()
        for flow, protocol, sentence in (
            (None, Protocol.TPKT, "must name its gateway's address"),
            ("gateway.example", Protocol.TPKT, "no IPv4 or IPv6 address"),
            (GW, Protocol.HTTP, "cannot take over a connection that speaks http"),
            (GW, Protocol.UNKNOWN, "cannot take over a connection that speaks unknown"),
        ):
            with pytest.raises(MisuseError, match=sentence):
                rig.pump.adopt(sock, flow=flow, protocol=protocol)
        with pytest.raises(PumpError, match="left over; at most"):
            rig.pump.adopt(sock, flow=GW, leftover=bytes(1 << 20))
        rig.pump.adopt(sock, flow=GW)
        another, another_end = rig.connected()
        with pytest.raises(PumpError, match="refused: limit_connections"):
            rig.pump.adopt(another, flow=GW)
        another.send(b"still mine")
        another_end.socket.settimeout(SECONDS)
        assert another_end.socket.recv(100) == b"still mine"


@pytest.mark.parametrize("timeout", [0, 10_000], ids=["none", "of its owner"])
def test_an_adopted_socket_gets_the_pumps_options_and_keeps_its_owners_timeout(
    make: Maker, timeout: int
) -> None:
    with make(congestion="reno") as rig:
        sock, _ = rig.connected()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout)
        with sock.dup() as same:
            rig.pump.adopt(sock, flow=GW)

            def option(name: int) -> int:
                return same.getsockopt(socket.IPPROTO_TCP, name)

            assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"reno"
            assert option(socket.TCP_NODELAY) == 1
            assert option(socket.TCP_NOTSENT_LOWAT) == rig.pump.config.notsent_lowat
            assert option(socket.TCP_USER_TIMEOUT) == (timeout or 180_000)
