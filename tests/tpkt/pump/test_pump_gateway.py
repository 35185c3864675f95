# SPDX-License-Identifier: Apache-2.0
"""A gateway's pump: what peers put into frames reaches charon under their flow address, and back again."""

from __future__ import annotations

import random
import socket
import struct
from ipaddress import ip_address
from typing import Any

import pytest

from tests.tpkt.pump.rig import GW, GW_V6, POOL4, POOL6, UE, UE_V6, Maker, esp, ike
from tpkt.errors import CloseReason
from tpkt.pump import ConnectionState, EventKind
from tpkt.sniff import Protocol
from tpkt.wire import Framing, encode

pytestmark = pytest.mark.root
UDP_SEGMENT = 103  # linux/udp.h; not in the socket module


@pytest.mark.parametrize(
    ("gateway", "ue", "pool"), [(GW, UE, POOL4), (GW_V6, UE_V6, POOL6)], ids=["ipv4", "ipv6"]
)
def test_a_conversation(make: Maker, gateway: str, ue: str, pool: Any) -> None:
    with make() as rig:
        port = rig.listen(gateway)
        charon = rig.charon(address=gateway)
        peer = rig.connect(port, gateway)
        request, answer = ike(300), ike(400, spi_r=7)
        peer.send(request)
        datagram, source = charon.recvfrom(65536)
        flow = source[:2]
        assert datagram == request
        assert ip_address(flow[0]) in pool
        assert flow[1] == 4500
        charon.sendto(answer, flow)
        assert peer.receive() == answer
        for number in range(1, 6):
            peer.send(esp(1400, number))
            assert charon.recvfrom(65536)[0] == esp(1400, number)
            charon.sendto(esp(84, number), flow)
            assert peer.receive() == esp(84, number)
        accepted = rig.event(EventKind.ACCEPTED)
        assert accepted.remote == peer.address
        assert accepted.remote[0] == ue
        assert accepted.local == (gateway, port)
        assert accepted.flow == flow[0]
        assert rig.event(EventKind.IDENTIFIED).protocol is Protocol.TPKT
        assert rig.event(EventKind.FIRST_IKE).spi_i == "1122334455667788"
        # What has arrived is counted a moment after it was sent.
        rig.count("link_to_stream_frames", 6)
        rig.count("stream_to_link_frames", 6)
        (info,) = rig.pump.connections()
        assert info == rig.pump.connection(accepted.connection)
        assert (info.state, info.protocol, info.flow) == (ConnectionState.OPEN, Protocol.TPKT, flow[0])
        assert (info.stream_to_link_frames, info.stream_to_link_esp_frames) == (6, 5)
        assert (info.link_to_stream_frames, info.link_to_stream_esp_frames) == (6, 5)
        assert info.stream_to_link_bytes == 300 + 5 * 1400
        assert info.link_to_stream_bytes == 400 + 5 * 84
        assert (info.dropped, info.queued_bytes) == (0, 0)
        assert accepted.at == info.since <= info.last_active
        peer.close()
        assert rig.closed(peer) is CloseReason.FIN
        assert rig.pump.connections() == []
        assert rig.pump.connection(info.id) is None


def test_each_connection_has_an_address_of_its_own_and_gets_only_its_own(make: Maker) -> None:
    with make() as rig:
        port, charon = rig.listen(), rig.charon()
        flows = {}
        for number in range(20):
            peer = rig.connect(port)
            peer.send(esp(60, number))
            flows[charon.recvfrom(100)[1]] = (peer, number)
        assert len(flows) == 20
        for flow, (_, number) in flows.items():
            charon.sendto(esp(70, number), flow)
        for peer, number in flows.values():
            assert peer.receive() == esp(70, number)


def test_datagrams_keep_their_order_and_their_borders_whatever_their_sizes(make: Maker) -> None:
    chance = random.Random(4500)
    sizes = [
        size
        for _ in range(60)
        for size in [chance.choice([60, 84, 700, 1400, 1472, 1473, 3000])] * chance.randint(1, 100)
    ][:1200]
    with make() as rig:
        port, charon = rig.listen(), rig.charon()
        peer = rig.connect(port)
        # As many at a time as charon's socket holds: it would drop more, as charon's own does.
        for first in range(0, len(sizes), 400):
            batch = [esp(size, first + index) for index, size in enumerate(sizes[first : first + 400])]
            peer.send(*batch)
            for wanted in batch:
                got, flow = charon.recvfrom(65536)
                assert got == wanted
        # And as many as wait for a client that does not read meanwhile: of more the oldest would be dropped.
        for first in range(0, len(sizes), 40):
            batch = [esp(size, first + index) for index, size in enumerate(sizes[first : first + 40])]
            for datagram in batch:
                charon.sendto(datagram, flow)
            for wanted in batch:
                assert peer.receive() == wanted
        assert rig.count("stream_to_link_frames", len(sizes)) == len(sizes)
        assert rig.count("link_to_stream_frames", len(sizes)) == len(sizes)
        counters = rig.pump.counters()
        # Equal sizes travel together, but for those longer than the link's MTU.
        assert counters["stream_to_link_sends"] < len(sizes) / 2


def test_a_train_of_datagrams_from_the_link_arrives_as_frames(make: Maker) -> None:
    with make() as rig:
        port, charon = rig.listen(), rig.charon()
        peer = rig.connect(port)
        peer.send(esp())
        flow = charon.recvfrom(200)[1]
        train = [esp(1000, number) for number in range(40)] + [esp(500, 40)]
        segment = (socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", 1000))
        charon.sendmsg([b"".join(train)], [segment], 0, flow)
        for wanted in train:
            assert peer.receive() == wanted


def test_rfc_9329_is_served_on_the_same_port(make: Maker) -> None:
    with make() as rig:
        port, charon = rig.listen(), rig.charon()
        peer = rig.connect(port, framing=Framing.RFC9329)
        peer.send_bytes(b"IKE")
        peer.send_bytes(b"TCP")
        peer.send(ike(200), esp(90))
        assert charon.recvfrom(300)[0] == ike(200)
        payload, flow = charon.recvfrom(300)
        assert payload == esp(90)
        charon.sendto(ike(250, spi_r=9), flow)
        charon.sendto(esp(91), flow)
        assert peer.receive() == ike(250, spi_r=9)
        assert peer.receive() == esp(91)
        assert rig.pump.connections()[0].protocol is Protocol.RFC9329


def test_ike_goes_to_the_port_charon_last_used_and_esp_to_4500(make: Maker) -> None:
    with make() as rig:
        port, charon, charon500 = rig.listen(), rig.charon(), rig.charon(500)
        peer = rig.connect(port)
        peer.send(ike(200))
        flow = charon.recvfrom(300)[1]
        answer = ike(220, spi_r=5)
        charon500.sendto(answer[4:], (flow[0], 500))  # no marker on port 500
        assert peer.receive() == answer
        peer.send(esp(80), ike(230, spi_r=5), esp(81))
        assert charon500.recvfrom(300) == (ike(230, spi_r=5)[4:], (flow[0], 500))
        assert charon.recvfrom(300)[0] == esp(80)
        assert charon.recvfrom(300)[0] == esp(81)
        charon.sendto(ike(240, spi_r=5), flow)
        assert peer.receive() == ike(240, spi_r=5)
        peer.send(ike(250, spi_r=5))
        assert charon.recvfrom(300)[0] == ike(250, spi_r=5)


def test_keep_alives_and_empty_frames_go_nowhere(make: Maker) -> None:
    with make() as rig:
        port, charon = rig.listen(), rig.charon()
        peer = rig.connect(port)
        peer.send_bytes(bytes.fromhex("01000004 01000005ff"))
        peer.send(esp(50))
        payload, flow = charon.recvfrom(300)
        assert payload == esp(50)
        charon.sendto(b"\xff", flow)
        charon.sendto(b"", flow)
        charon.sendto(b"\0\0\0\0short", flow)
        charon.sendto(esp(51), flow)
        assert peer.receive() == esp(51)
        counters = rig.pump.counters()
        assert counters["stream_to_link_keepalives"] == counters["stream_to_link_empty"] == 1
        assert counters["link_to_stream_keepalives"] == 1
        assert counters["link_to_stream_malformed"] == 2


def test_the_longest_datagrams_of_udp_pass_and_longer_frames_are_dropped_by_name(make: Maker) -> None:
    with make() as rig:
        port, charon = rig.listen(), rig.charon()
        peer = rig.connect(port)
        peer.send(esp(65531), esp(65507), esp(20))
        assert charon.recvfrom(65536)[0] == esp(65507)
        payload, flow = charon.recvfrom(65536)
        assert payload == esp(20)
        charon.sendto(esp(65507), flow)
        assert peer.receive() == esp(65507)
        assert rig.pump.counters()["stream_to_link_too_big"] == 1
        assert rig.pump.connections()[0].dropped == 1


def test_a_stream_of_single_bytes(make: Maker) -> None:
    with make() as rig:
        port, charon = rig.listen(), rig.charon()
        peer = rig.connect(port)
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in bytes.fromhex("0100000c c0ffee01 00000001 0100000c c0ffee01 00000002"):
            peer.send_bytes(bytes([byte]))
        assert charon.recvfrom(300)[0] == bytes.fromhex("c0ffee01 00000001")
        assert charon.recvfrom(300)[0] == bytes.fromhex("c0ffee01 00000002")


def test_three_workers_share_connections_and_each_gets_its_own_datagrams(make: Maker) -> None:
    with make(workers=3) as rig:
        port, port6 = rig.listen(), rig.listen(GW_V6)
        charons = {4: rig.charon(), 6: rig.charon(address=GW_V6)}
        workers = set()
        for number in range(40):
            version = 6 if number % 4 == 3 else 4
            gateway = GW_V6 if version == 6 else GW
            peer = rig.connect(port6 if version == 6 else port, gateway)
            peer.send(esp(60, number))
            _, flow = charons[version].recvfrom(100)
            charons[version].sendto(esp(61, number), flow[:2])
            assert peer.receive() == esp(61, number)
            info = next(one for one in rig.pump.connections() if one.flow == flow[0])
            assert (int(ip_address(info.flow)) & 0xFFFFFFFF) % 3 == info.worker
            workers.add(info.worker)
        assert workers == {0, 1, 2}
        assert rig.pump.counters()["link_to_stream_no_connection"] == 0


def test_listening_on_all_addresses_still_names_the_one_that_was_called(make: Maker) -> None:
    with make() as rig:
        port, charon = rig.listen("0.0.0.0"), rig.charon()
        peer = rig.connect(port)
        peer.send(ike())
        assert charon.recvfrom(300)[0] == ike()
        assert rig.event(EventKind.ACCEPTED).local == (GW, port)


def test_datagrams_for_nobody_are_counted(make: Maker) -> None:
    with make() as rig:
        charon = rig.charon()
        charon.sendto(esp(), (str(POOL4[99]), 4500))
        assert rig.count("link_to_stream_no_connection") == 1
        port = rig.listen()
        rig.connect(port)
        charon.sendto(esp(), (rig.event(EventKind.ACCEPTED).flow, 4500))
        assert rig.count("link_to_stream_not_open") == 1


def test_an_adopted_connection_gets_an_address_of_the_pool(make: Maker) -> None:
    with make() as rig, rig.network.gw.socket() as server:
        charon = rig.charon()
        server.bind((GW, 0))
        server.listen()
        for protocol, first in (
            (Protocol.TPKT, bytes.fromhex("0100000c c0ffee01 00000001")),
            (Protocol.UNKNOWN, b"IKETCP" + bytes.fromhex("000a c0ffee01 00000001")),
            (Protocol.RFC9329, bytes.fromhex("000a c0ffee01 00000001")),
        ):
            peer = rig.connect(server.getsockname()[1])
            accepted, _ = server.accept()
            connection = rig.pump.adopt(accepted, leftover=first, protocol=protocol)
            assert accepted.fileno() == -1
            payload, flow = charon.recvfrom(100)
            assert payload == bytes.fromhex("c0ffee01 00000001")
            info = rig.pump.connection(connection)
            assert info is not None
            assert (info.flow, info.remote) == (flow[0], peer.address)
            assert rig.pump.close_connection(connection)
            assert not rig.pump.close_connection(connection)
            assert rig.closed(peer) is CloseReason.CONTROL


def test_an_idle_connection_costs_less_than_two_kilobytes(make: Maker) -> None:
    many = 256
    with make(half_identified_per_source=many, ike_half_open=0, accepts_per_second_per_source=0) as rig:
        port, charon = rig.listen(), rig.charon()
        for number in range(many):
            peer = rig.connect(port)
            # Half a frame at first, then the rest: nothing of it is kept.
            peer.send_bytes(encode(esp(50, number))[:30])
            rig.count("identified_tpkt", number + 1)
            peer.send_bytes(encode(esp(50, number))[30:])
            assert charon.recvfrom(100)[0] == esp(50, number)
        rig.wait(lambda: rig.pump.counters()["queued_bytes"] == 0, "nothing is borrowed")
        assert rig.pump.counters()["memory_bytes"] < many * 2048
