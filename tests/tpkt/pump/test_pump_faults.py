# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around a pump, and that it ends under its own name and hurts nobody else."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Any

import pytest

from tests.lab.wait import until
from tests.tpkt.pump.rig import GW, SECONDS, Maker, Rig, esp, ike
from tpkt.errors import CloseReason
from tpkt.pump import ConnectionState, EventKind
from tpkt.wire import encode

pytestmark = pytest.mark.root


class Bystander:
    """A connection that is there before the trouble and must not notice it."""

    def __init__(self, rig: Rig, port: int) -> None:
        self.charon = rig.charon()
        self.peer = rig.connect(port)
        self.peer.send(ike(100))
        self.flow = self.charon.recvfrom(200)[1]
        self.charon.sendto(ike(100, spi_r=1), self.flow)
        self.peer.receive()

    def is_well(self) -> bool:
        self.peer.send(esp(500, 7))
        until(
            lambda: self.charon.recvfrom(65536) == (esp(500, 7), self.flow),
            SECONDS,
            "the bystander's datagram",
        )
        self.charon.sendto(esp(600, 8), self.flow)
        return self.peer.receive() == esp(600, 8)


HALF_A_FRAME = encode(esp(100))[:50]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", CloseReason.FIN),
        (encode(esp(20)), CloseReason.FIN),
        (HALF_A_FRAME, CloseReason.FIN_IN_FRAME),
        (b"\x01", CloseReason.FIN_IN_FRAME),
        (b"\x01\x00\x00", CloseReason.FIN_IN_FRAME),
    ],
)
def test_a_peer_that_hangs_up(make: Maker, sent: bytes, reason: CloseReason) -> None:
    with make() as rig:
        port = rig.listen()
        bystander = Bystander(rig, port)
        peer = rig.connect(port)
        peer.send_bytes(sent)
        peer.socket.shutdown(socket.SHUT_WR)
        assert rig.closed(peer) is reason
        assert peer.read_all() == b""
        assert rig.pump.counters()[f"closed_{reason}"] == 1
        assert bystander.is_well()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (bytes.fromhex("0300001611e00000"), CloseReason.UNKNOWN_PROTOCOL),  # RFC 983's version 3
        (bytes(64), CloseReason.UNKNOWN_PROTOCOL),
        (b"SSH-2.0-OpenSSH_9\r\n", CloseReason.UNKNOWN_PROTOCOL),
        (b"\xff" * 5000, CloseReason.UNKNOWN_PROTOCOL),
        (bytes.fromhex("01000003"), CloseReason.BAD_LENGTH),
        (encode(esp(20)) + b"\x02", CloseReason.BAD_VERSION),
        (encode(esp(20)) + b"\x01\x07", CloseReason.BAD_RESERVED),
        (b"IKETCP\x00\x01", CloseReason.BAD_LENGTH),
        (bytes.fromhex("16030102000100"), CloseReason.TLS_NOT_CONFIGURED),
        (encode(ike(100)[:-1]) * 17, CloseReason.BAD_IKE),
    ],
)
def test_a_peer_that_talks_nonsense(make: Maker, sent: bytes, reason: CloseReason) -> None:
    with make() as rig:
        port = rig.listen()
        bystander = Bystander(rig, port)
        peer = rig.connect(port)
        peer.send_bytes(sent)
        assert rig.closed(peer) is reason
        assert peer.read_all() == b""
        counters = rig.pump.counters()
        assert counters[f"closed_{reason}"] == 1
        if reason is CloseReason.UNKNOWN_PROTOCOL:
            assert counters[f"unknown_first_byte_{sent[0]:02x}"] == 1
        assert bystander.is_well()


def test_what_came_before_the_nonsense_is_still_delivered(make: Maker) -> None:
    with make() as rig:
        port, charon = rig.listen(), rig.charon()
        peer = rig.connect(port)
        peer.send_bytes(encode(esp(30, 1)) + encode(esp(30, 2)) + b"\x02")
        assert [charon.recvfrom(100)[0] for _ in range(2)] == [esp(30, 1), esp(30, 2)]
        assert rig.closed(peer) is CloseReason.BAD_VERSION


def test_an_http_client_is_answered_and_closed(make: Maker) -> None:
    with make() as rig:
        peer = rig.connect(rig.listen())
        # More than one read, so that closing at once would reset the connection over the answer.
        peer.send_bytes(
            b"POST /form HTTP/1.1\r\nHost: gateway\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000)
        )
        answer = peer.read_all()
        assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
        assert b"Connection: close\r\n" in answer
        assert rig.pump.connections()[0].state is ConnectionState.LINGERING
        peer.close()
        assert rig.closed(peer) is CloseReason.HTTP


def test_an_http_client_that_stays_is_closed_in_the_end(make: Maker) -> None:
    with make() as rig:
        peer = rig.connect(rig.listen())
        peer.send_bytes(b"GET / HTTP/1.1\r\n\r\n")
        assert rig.closed(peer) is CloseReason.HTTP


@pytest.mark.parametrize(
    ("sent", "limit", "reason"),
    [
        (b"", "first_bytes_seconds", CloseReason.FIRST_BYTES_TIMEOUT),
        (b"IKET", "first_bytes_seconds", CloseReason.FIRST_BYTES_TIMEOUT),
        (HALF_A_FRAME, "frame_seconds", CloseReason.FRAME_TIMEOUT),
        (encode(esp(20)) + b"\x01", "frame_seconds", CloseReason.FRAME_TIMEOUT),
        (encode(ike(100)), "ike_seconds", CloseReason.IKE_TIMEOUT),
        (encode(esp(20)), "ike_seconds", CloseReason.IKE_TIMEOUT),
    ],
)
def test_a_silent_peer(make: Maker, sent: bytes, limit: str, reason: CloseReason) -> None:
    with make(**{limit: 0.2}) as rig:
        port = rig.listen()
        bystander = Bystander(rig, port)
        peer = rig.connect(port)
        peer.send_bytes(sent)
        assert rig.closed(peer) is reason
        assert bystander.is_well()


def test_a_slow_peer_that_goes_on_in_time_is_served(make: Maker) -> None:
    with make(frame_seconds=0.3, ike_seconds=0) as rig:
        port, charon = rig.listen(), rig.charon()
        peer = rig.connect(port)
        for number in range(4):  # 0.4 s in all, 0.1 s a frame
            frame = encode(esp(30, number))
            peer.send_bytes(frame[:10])
            charon.settimeout(0.1)
            with pytest.raises(TimeoutError):
                charon.recvfrom(100)
            peer.send_bytes(frame[10:])
            charon.settimeout(SECONDS)
            assert charon.recvfrom(100)[0] == esp(30, number)


def fill(charon: socket.socket, rig: Rig, flow: tuple[str, int]) -> int:
    """Send numbered datagrams to a peer that does not read until its connection drops some; how many."""
    sent = 0
    for _ in range(500):
        for _ in range(100):
            charon.sendto(esp(1400, sent), flow)
            sent += 1
        if rig.pump.counters()["link_to_stream_queue_full"] > 200:
            return sent
    raise AssertionError(f"nothing was dropped: {rig.non_zero()}")


def test_a_peer_that_does_not_read_costs_its_cap_and_nothing_more(make: Maker) -> None:
    cap = 65_536
    with make(queue_bytes=cap) as rig:
        port = rig.listen()
        bystander = Bystander(rig, port)
        peer = rig.connect(port)
        peer.send(ike(100))
        flow = bystander.charon.recvfrom(200)[1]
        bystander.charon.sendto(ike(100, spi_r=2), flow)
        sent = fill(bystander.charon, rig, flow)
        bystander.charon.sendto(ike(120, spi_r=3), flow)
        info = next(one for one in rig.pump.connections() if one.flow == flow[0])
        assert 0 < info.queued_bytes <= cap
        rig.wait(lambda: 0 < rig.pump.counters()["queued_bytes"] <= cap, "the cap is kept")
        assert bystander.is_well()
        # It reads again: whole frames in order, the oldest queued ones are missing, IKE is not.
        assert peer.receive() == ike(100, spi_r=2)
        numbers: list[int] = []
        saw_ike = False
        while not numbers or numbers[-1] != sent - 1:
            payload = peer.receive()
            if payload == ike(120, spi_r=3):
                saw_ike = True
                continue
            number = int.from_bytes(payload[4:8], "big")
            assert payload == esp(1400, number)
            numbers.append(number)
        assert saw_ike
        assert numbers == sorted(numbers)
        counters = rig.pump.counters()
        assert len(numbers) == sent - counters["link_to_stream_queue_full"]
        assert numbers[0] == 0
        rig.wait(lambda: rig.pump.counters()["queued_bytes"] == 0, "the queue is empty")
        assert rig.pump.connections()[0].queued_bytes == 0


def test_the_cap_of_a_worker_holds_for_all_its_connections(make: Maker) -> None:
    with make(queue_bytes=65_536, worker_queue_bytes=100_000) as rig:
        port, charon = rig.listen(), rig.charon()
        flows = []
        for _ in range(3):
            rig.connect(port).send(esp())
            flows.append(charon.recvfrom(200)[1])
        for _ in range(60):
            for flow in flows:
                for _ in range(100):
                    charon.sendto(esp(1400), flow)
        rig.count("link_to_stream_queue_full", 100)
        assert rig.pump.counters()["queued_bytes"] <= 100_000


def test_what_was_queued_is_counted_when_its_connection_ends(make: Maker) -> None:
    with make() as rig:
        port, charon = rig.listen(), rig.charon()
        peer = rig.connect(port)
        peer.send(esp())
        flow = charon.recvfrom(200)[1]
        fill(charon, rig, flow)
        peer.reset()
        assert rig.closed(peer) in (CloseReason.RESET, CloseReason.IO_ERROR)
        assert rig.count("link_to_stream_closed") > 0
        rig.wait(lambda: rig.pump.counters()["queued_bytes"] == 0, "the memory is given back")


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """A limit at the lowest free number: this process cannot open anything more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open("/dev/null", "rb") as lowest:
        limit = lowest.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_connections_are_refused_and_those_there_are_go_on(make: Maker) -> None:
    with make() as rig:
        port = rig.listen()
        bystander = Bystander(rig, port)
        strangers = [network_socket(rig) for _ in range(3)]
        with no_descriptor_left():
            for stranger in strangers:
                with contextlib.suppress(ConnectionResetError):
                    stranger.connect((GW, port))
                    stranger.recv(1)
            assert rig.event(EventKind.LIMIT).reason is CloseReason.NO_DESCRIPTORS
            assert rig.count("closed_no_descriptors", 3) == 3
            assert bystander.is_well()
        for stranger in strangers:
            stranger.close()
        late = rig.connect(port)
        late.send(esp(40))
        assert bystander.charon.recvfrom(100)[0] == esp(40)


def network_socket(rig: Rig) -> socket.socket:
    sock = rig.network.ue.socket()
    sock.settimeout(SECONDS)
    return sock


@pytest.mark.parametrize(
    ("options", "allowed", "reason"),
    [
        ({"connections": 5}, 5, CloseReason.LIMIT_CONNECTIONS),
        ({"half_identified": 4}, 4, CloseReason.LIMIT_CONNECTIONS),
        ({"half_identified_per_source": 3}, 3, CloseReason.LIMIT_SOURCE),
        ({"accepts_per_second_per_source": 2}, 2, CloseReason.LIMIT_RATE),
        ({"pool4": IPv4Network("198.18.0.0/27")}, 15, CloseReason.NO_FLOW_ADDRESS),
    ],
)
def test_a_limit_refuses_the_next_one_by_its_name(
    make: Maker, options: dict[str, Any], allowed: int, reason: CloseReason
) -> None:
    with make(**options) as rig:
        port = rig.listen()
        peers = []
        for number in range(1, allowed + 1):
            peers.append(rig.connect(port))
            rig.count("accepted", number)
        refused = rig.knock(port)
        event = rig.event(EventKind.LIMIT)
        assert (event.reason, event.connection, event.remote) == (reason, 0, refused)
        assert rig.pump.counters()[f"closed_{reason}"] == 1
        assert rig.pump.counters()["connections_open"] == allowed
        # One goes, or tells what it speaks: there is room again. A rate wants time instead.
        if reason is CloseReason.LIMIT_SOURCE or "half_identified" in options:
            peers[0].send(esp())
            rig.event(EventKind.IDENTIFIED, of=peers[0])
        else:
            peers[0].close()
            assert rig.closed(peers[0]) is CloseReason.FIN
        before = rig.pump.counters()["accepted"]

        def taken() -> bool:
            with contextlib.suppress(ConnectionResetError):
                rig.connect(port)
            return rig.pump.counters()["accepted"] > before

        until(taken, SECONDS, "a connection is taken again")
