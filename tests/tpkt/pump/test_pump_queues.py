# SPDX-License-Identifier: Apache-2.0
"""What waits in front of a stream: which datagram goes first, where segments end, who waits for whom."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.lab.wait import until
from tests.tpkt.pump.rig import GW, GW_V6, SECONDS, SO_RCVBUFFORCE, Maker, Network, Peer, Rig, esp, ike
from tpkt.link import GatewayLink
from tpkt.wire import encode

pytestmark = pytest.mark.root
ETH_P_ALL = 3
SO_ATTACH_FILTER = 26  # asm-generic/socket.h; not in the socket module
EF, LOWEST = 46, 8
VOICE = 240  # bytes of ESP: small
CALL = 60  # packets each way
PACE = 0.002  # seconds between packets of a sender that is not in a hurry
WINDOW = 100  # datagrams
BURST = 200  # more than the bottleneck takes until the next one
BOTTLENECK = ["rate", "20mbit", "burst", "4kb", "limit", "250kb"]


@pytest.fixture
def make(network: Network, gateway_link: GatewayLink) -> Maker:
    def made(**options: Any) -> Rig:
        return Rig(network, gateway_link.namespace, "gateway", **options)

    return made


@contextlib.contextmanager
def background(*works: Callable[[], None]) -> Iterator[None]:
    """Do `works` on threads of their own, which must end by themselves once the body has ended."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


def known(rig: Rig, port: int, charon: socket.socket, gateway: str = GW) -> tuple[Peer, Any]:
    """Connect a peer whose protocol the pump knows; charon's way to it."""
    peer = rig.connect(port, gateway)
    peer.send(esp(60, 7))
    return peer, charon.recvfrom(100)[1]


def only_small(sock: socket.socket) -> None:
    """Have the kernel throw away what is longer than a call's packets: it would fill the socket."""
    program = b"".join(
        struct.pack("=HBBI", *step)
        for step in (
            (0x80, 0, 0, 0),  # BPF_LD | BPF_W | BPF_LEN
            (0x25, 0, 1, 1000),  # BPF_JMP | BPF_JGT: longer: keep nothing
            (0x06, 0, 0, 0),
            (0x06, 0, 0, 0xFFFF),  # BPF_RET
        )
    )
    code = ctypes.create_string_buffer(program)
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 4, ctypes.addressof(code)))


def mark(sock: socket.socket, dscp: int) -> None:
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)


def fill(rig: Rig, charon: socket.socket, flow: Any, size: int = 1400) -> int:
    """Send bulk until some of it waits in the queue of the stream, whose peer does not read; how many."""
    for number in range(1, 10_000):
        charon.sendto(esp(size, number), flow)
        if number % 20 == 0 and rig.pump.counters()["link_to_stream_queued_bulk"] >= 10:
            return number
    raise AssertionError(f"nothing had to wait: {rig.non_zero()}")


@pytest.mark.parametrize("gateway", [GW, GW_V6], ids=["ipv4", "ipv6"])
def test_what_matters_overtakes_bulk_in_the_queue(make: Maker, gateway: str) -> None:
    with make(queue_bytes=65_536) as rig:
        port, charon = rig.listen(gateway), rig.charon(address=gateway)
        peer, flow = known(rig, port, charon, gateway)
        fill(rig, charon, flow)
        # One after the other; what goes first is told by class, not by arrival.
        charon.sendto(small := esp(VOICE, 10_001), flow)
        mark(charon, LOWEST)
        charon.sendto(scavenger := esp(VOICE, 10_002), flow)
        mark(charon, EF)
        charon.sendto(large := esp(1400, 10_003), flow)
        mark(charon, 0)
        charon.sendto(message := ike(300, spi_r=7), flow)
        rig.wait(lambda: rig.pump.counters()["link_to_stream_queued_ike"] == 1, "IKE waits too")
        assert rig.pump.counters()["link_to_stream_queued_expedited"] == 2
        got: list[bytes] = []
        while len({small, scavenger, large, message} & set(got)) < 4:
            got.append(peer.receive())
        last = len(got) - 1
        assert got[last] == scavenger
        urgent = [got.index(each) for each in (message, small, large)]
        assert urgent == [urgent[0] + n for n in range(3)]
        assert all(len(each) == 1400 for each in got[urgent[2] + 1 : last])
        assert last > urgent[2] + 5, "bulk that came earlier was overtaken"
        (info,) = rig.pump.connections()
        assert info.queued_expedited == 2
        assert info.queued_bulk == rig.pump.counters()["link_to_stream_queued_bulk"]
        assert info.unsent_limit > 0


@contextlib.contextmanager
def bottleneck(network: Network) -> Iterator[None]:
    """Let 20 Mbit/s from the gateway to the peers, behind a buffer of 100 ms."""
    network.gw.run(["tc", "qdisc", "add", "dev", "eth0", "root", "tbf", *BOTTLENECK])
    try:
        yield
    finally:
        network.gw.run(["tc", "qdisc", "del", "dev", "eth0", "root"])


def test_what_has_waited_too_long_is_dropped_and_counted(make: Maker, network: Network) -> None:
    with bottleneck(network), make() as rig:
        port, charon = rig.listen(), rig.charon()
        peer, flow = known(rig, port, charon)
        over = threading.Event()
        messages: list[bytes] = []

        def read() -> None:
            with contextlib.suppress(TimeoutError):
                while not over.is_set() or len(messages) < 20:
                    if len(datagram := peer.receive()) == 300:
                        messages.append(datagram)

        def late() -> bool:
            for _ in range(BURST):
                charon.sendto(esp(1400), flow)
            return rig.pump.counters()["link_to_stream_late"] > 0

        with background(read):
            try:
                until(late, SECONDS, "something has waited too long")
                for number in range(20):
                    charon.sendto(ike(300, spi_r=7, message_id=number), flow)
                    late()
            finally:
                over.set()
        assert messages == [ike(300, spi_r=7, message_id=number) for number in range(20)]
        rig.wait(lambda: rig.pump.counters()["queued_bytes"] == 0, "the queue is empty")
        (info,) = rig.pump.connections()
        assert info.dropped_late == rig.pump.counters()["link_to_stream_late"] > 0
        assert info.dropped == info.dropped_late + info.dropped_full


def test_the_socket_holds_some_milliseconds_of_what_the_path_carries(make: Maker, network: Network) -> None:
    with bottleneck(network), make() as rig:
        port, charon = rig.listen(), rig.charon()
        peer, flow = known(rig, port, charon)
        over = threading.Event()

        def read() -> None:
            with contextlib.suppress(TimeoutError):
                while not over.is_set():
                    peer.socket.recv(1 << 16)

        def small() -> bool:
            for _ in range(BURST):
                charon.sendto(esp(1400), flow)
            return 0 < rig.pump.connections()[0].unsent_limit < 50_000

        with background(read):
            try:
                # 20 Mbit/s are 2 500 bytes a millisecond; 4 to 16 of them, and what was allowed at first.
                until(small, SECONDS, "the limit follows the path")
            finally:
                over.set()


class Capture:
    """What the kernel hands to a device of a namespace: the TCP segments that come from a port."""

    def __init__(self, namespace: Any, device: str, port: int) -> None:
        self._port = port
        self.socket: socket.socket = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        self.socket.bind((device, ETH_P_ALL))
        self.socket.settimeout(SECONDS)

    def segment(self) -> bytes:
        """The payload of the next segment that has one."""
        while True:
            packet = self.socket.recv(65536)[14:]
            if packet[:1] != b"\x45" or packet[9] != socket.IPPROTO_TCP:
                continue
            (length,) = struct.unpack_from("!H", packet, 2)
            tcp = packet[20:length]
            payload: bytes = tcp[(tcp[12] >> 4) * 4 :]
            if payload and struct.unpack_from("!H", tcp)[0] == self._port:
                return payload


def test_few_frames_are_segments_of_their_own(make: Maker, network: Network) -> None:
    with make() as rig, contextlib.ExitStack() as stack:
        port, charon = rig.listen(), rig.charon()
        peer, flow = known(rig, port, charon)
        capture = Capture(network.ue, "eth0", port)
        stack.callback(capture.socket.close)
        for number in range(1, 60):
            time.sleep(PACE)
            # Two at a time, so that they could share a segment.
            sizes = (VOICE, 100 + number)
            datagrams = [esp(size, number) for size in sizes]
            segment = (socket.IPPROTO_UDP, 103, struct.pack("=H", max(sizes)))
            charon.sendmsg([b"".join(datagrams)], [segment], 0, flow)
            for datagram in datagrams:
                assert capture.segment() == encode(datagram)
                assert peer.receive() == datagram


def test_what_matters_is_a_segment_of_its_own_beside_bulk_that_waits(make: Maker, network: Network) -> None:
    with bottleneck(network), make() as rig, contextlib.ExitStack() as stack:
        port, charon = rig.listen(), rig.charon()
        peer, flow = known(rig, port, charon)
        capture = Capture(network.ue, "eth0", port)
        stack.callback(capture.socket.close)
        over = threading.Event()

        def read() -> None:
            with contextlib.suppress(TimeoutError):
                while not over.is_set():
                    peer.socket.recv(1 << 16)

        wanted = set()
        with background(read):
            for number in range(1, 100):
                time.sleep(PACE)
                for _ in range(20):
                    charon.sendto(esp(1000, number), flow)
                charon.sendto(voice := esp(VOICE, number), flow)
                wanted.add(encode(voice))
            charon.sendto(last := ike(300, spi_r=7), flow)
            segments = {b""}
            while not any(last in segment for segment in segments):
                segments.add(capture.segment())
            over.set()
        # Bulk was there all the time: without a border they would have shared its segments. Where more than
        # a handful come free at once, the rest share one.
        assert rig.pump.counters()["link_to_stream_queued_bulk"] > 500
        assert len(wanted & segments) > 80


def test_a_call_goes_on_beside_streams_at_full_speed(make: Maker) -> None:
    with make() as rig:
        port, charon = rig.listen(), rig.charon()
        caller, flow = known(rig, port, charon)
        uploader, _ = known(rig, port, charon)
        downloader, sink = known(rig, port, charon)
        only_small(charon)
        over = threading.Event()
        echoed: list[int] = []

        def upload() -> None:
            block = b"".join(encode(esp(1400, number)) for number in range(200))
            with contextlib.suppress(TimeoutError, OSError):
                while not over.is_set():
                    uploader.send_bytes(block)

        def download() -> None:
            # As TCP inside the tunnel would: no more under way than a window.
            datagram, sent = esp(1400, 1), 0
            while not over.is_set():
                info = rig.pump.connection(before[sink[0]].id)
                assert info is not None
                while sent < info.link_to_stream_frames + info.dropped + WINDOW:
                    charon.sendto(datagram, sink)
                    sent += 1

        def drink() -> None:
            with contextlib.suppress(TimeoutError, EOFError, OSError):
                while not over.is_set():
                    downloader.socket.recv(1 << 20)

        def echo() -> None:
            with contextlib.suppress(TimeoutError):
                while not over.is_set():
                    data, source = charon.recvfrom(65536)
                    if source == flow:
                        echoed.append(struct.unpack_from("!I", data, 4)[0])
                        charon.sendto(data, flow)

        before = {info.flow: info for info in rig.pump.connections()}
        with background(upload, download, drink, echo):
            try:
                rig.count("stream_to_link_frames", 2000)
                rig.count("link_to_stream_frames", 2000)
                for number in range(1, CALL + 1):
                    caller.send(esp(VOICE, number))
                    assert caller.receive() == esp(VOICE, number)
                    assert {info.flow: info for info in rig.pump.connections()}[flow[0]].queued_bytes == 0
            finally:
                over.set()
        after = {info.flow: info for info in rig.pump.connections()}
        assert echoed == list(range(1, CALL + 1))
        call = after[flow[0]]
        assert (call.dropped, call.queued_bulk, call.queued_expedited) == (0, 0, 0)
        assert call.stream_to_link_frames - before[flow[0]].stream_to_link_frames == CALL
        # The streams beside were really there all the time, and not held up by the call.
        assert rig.pump.counters()["stream_to_link_frames"] > 20 * CALL
        assert after[sink[0]].link_to_stream_frames > 20 * CALL
