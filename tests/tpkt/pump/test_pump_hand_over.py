# SPDX-License-Identifier: Apache-2.0
"""One pump takes over from another: streams go on to the byte, whatever was on its way in that moment."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from tests.lab.wait import until
from tests.tpkt.pump.rig import GW, GW_V6, SECONDS, UE, Maker, Network, Peer, Rig, esp, ike
from tpkt.errors import CloseReason, MisuseError
from tpkt.link import GatewayLink
from tpkt.pump import ConnectionState, EventKind, HandOverError, Limits, Pump, PumpError
from tpkt.pump.config import PumpConfig
from tpkt.wire import Framing, encode, encode_rfc9329

pytestmark = pytest.mark.root
FLOOD = 4000


@pytest.fixture
def make(network: Network, gateway_link: GatewayLink) -> Maker:
    def made(**options: Any) -> Rig:
        return Rig(network, gateway_link.namespace, "gateway", **options)

    return made


@contextlib.contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for one in (ours, theirs):
            one.settimeout(SECONDS)
        yield ours, theirs


def move(rig: Rig, config: PumpConfig | None = None) -> None:
    """Have another pump take over, which `rig` goes on with."""
    old, new = rig.pump, Pump(config or rig.pump.config)
    rig._closing.callback(new.close)
    new.prepare()
    with pair() as (ours, theirs):
        giving = threading.Thread(target=old.hand_over, args=(ours,))
        giving.start()
        new.take_over(theirs)
        giving.join()
    rig.events += old.poll_events()
    old.close()
    new.thaw()
    rig.pump = new


def beyond(measure: Callable[[], float], more: float) -> Callable[[], bool]:
    """Tell, when called, whether `measure` gives so much more than now."""
    mark = measure()
    return lambda: measure() > mark + more


def opened(rig: Rig, charon: socket.socket, port: int, framing: Framing = Framing.TPKT) -> tuple[Peer, Any]:
    """A peer whose first message has reached charon, and its flow address."""
    peer = rig.connect(port, framing=framing)
    if framing is Framing.RFC9329:
        peer.send_bytes(b"IKETCP")
    peer.send(ike(100))
    return peer, charon.recvfrom(65536)[1][:2]


def test_connections_go_on_with_their_names_addresses_and_counts(make: Maker) -> None:
    with make(workers=2) as rig:
        port = rig.listen()
        charon = rig.charon()
        peers = [opened(rig, charon, port) for _ in range(20)]
        gone = peers.pop(7)[0]
        gone.close()
        rig.closed(gone)
        before = {info.id: info for info in rig.pump.connections()}
        counters = rig.pump.counters()
        for _ in range(2):  # a successor has one too
            move(rig)
            assert {info.id: info for info in rig.pump.connections()} == before
            after = rig.pump.counters()
            for name in ("accepted", "identified_tpkt", "closed_fin", "connections_open"):
                assert after[name] == counters[name], name
        for number, (peer, flow) in enumerate(peers):
            peer.send(esp(200, number))
            datagram, source = charon.recvfrom(65536)
            assert (datagram, source[:2]) == (esp(200, number), flow)
            charon.sendto(esp(300, number), flow)
            assert peer.receive() == esp(300, number)
        newcomer, flow = opened(rig, charon, port)
        assert flow not in [flow for _, flow in peers]
        (fresh,) = {info.id for info in rig.pump.connections()} - before.keys()
        assert fresh not in before
        newcomer.close()
        assert rig.closed(newcomer) is CloseReason.FIN


@pytest.mark.parametrize("framing", [Framing.TPKT, Framing.RFC9329])
@pytest.mark.parametrize("size", [40, 1400, 60_000])
@pytest.mark.parametrize("where", ["1", "3", "5", "half", "-1"])
def test_a_frame_cut_by_the_hand_over_arrives_whole(
    make: Maker, framing: Framing, size: int, where: str
) -> None:
    with make() as rig:
        port = rig.listen()
        charon = rig.charon()
        peer, _ = opened(rig, charon, port, framing)
        frame = (encode if framing is Framing.TPKT else encode_rfc9329)(esp(size))
        cut = size // 2 if where == "half" else int(where)
        peer.send_bytes(frame[:cut])
        # The pump has read all that the kernel held for it.
        rig.wait(lambda: all_read(rig, peer), "the first part is read")
        move(rig)
        peer.send_bytes(frame[cut:] + frame)
        assert charon.recvfrom(65536)[0] == esp(size)
        assert charon.recvfrom(65536)[0] == esp(size)


def all_read(rig: Rig, peer: Peer) -> bool:
    """Tell whether nothing of what `peer` sent waits in a socket of the gateway."""
    lines = rig.home.run(["ss", "-Htn", "state", "established", f"dport = :{peer.address[1]}"]).stdout.split()
    return bool(lines) and lines[0] == "0"


def test_first_bytes_that_tell_too_little_are_kept(make: Maker) -> None:
    with make() as rig:
        port = rig.listen()
        charon = rig.charon()
        peer = rig.connect(port, framing=Framing.RFC9329)
        peer.send_bytes(b"IKE")
        rig.event(EventKind.ACCEPTED, of=peer)
        rig.wait(lambda: all_read(rig, peer), "they are read")
        move(rig)
        assert rig.pump.connections()[0].state is ConnectionState.NEW
        assert rig.pump.counters()["connections_half_identified"] == 1
        peer.send_bytes(b"TCP")
        peer.send(ike(100))
        assert charon.recvfrom(65536)[0] == ike(100)
        assert rig.pump.counters()["connections_half_identified"] == 0


def test_what_waits_for_a_slow_reader_is_written_by_the_successor_to_the_byte(make: Maker) -> None:
    with make() as rig:
        port = rig.listen()
        charon = rig.charon()
        peer, flow = opened(rig, charon, port)
        number = 0

        def waits() -> bool:
            nonlocal number
            for _ in range(20):
                number += 1
                charon.sendto(esp(1000, number), flow)
            return rig.pump.connections()[0].queued_bytes > 50_000

        rig.wait(waits, "something waits in the queue")
        rig.wait(lambda: counted(rig) == number, "all of it was seen")
        (info,) = rig.pump.connections()
        assert info.dropped == 0
        move(rig)
        assert rig.pump.connections()[0].queued_bytes == info.queued_bytes
        for wanted in range(1, number + 1):
            assert peer.receive() == esp(1000, wanted)
        charon.sendto(ike(200, spi_r=1), flow)
        assert peer.receive() == ike(200, spi_r=1)
        rig.wait(lambda: rig.pump.counters()["queued_bytes"] == 0, "the memory is given back")


def counted(rig: Rig) -> int:
    """Datagrams from charon that are on the stream, in the queue (a block of 2048 for each) or lost."""
    (info,) = rig.pump.connections()
    return info.link_to_stream_frames + -(-info.queued_bytes // 2048) + info.dropped


def test_traffic_in_both_directions_loses_no_byte_through_many_hand_overs(make: Maker) -> None:
    """Streams of numbered frames of all sizes: each arrives once, in order, whoever pumps."""
    with make(workers=2) as rig:
        port = rig.listen()
        charon = rig.charon()
        peers = [opened(rig, charon, port) for _ in range(6)]
        flows = {flow: index for index, (_, flow) in enumerate(peers)}
        over = threading.Event()
        sent = [0] * len(peers)

        def talk(index: int) -> None:
            peer = peers[index][0]
            while not over.is_set() and sent[index] < FLOOD:
                sent[index] += 1
                data = encode(esp(40 + sent[index] * 7 % 1300, sent[index]))
                cut = sent[index] % len(data)
                peer.send_bytes(data[:cut])
                peer.send_bytes(data[cut:])
                time.sleep(0.0005)  # the pace of the peer, not a wait for something

        got: list[list[int]] = [[] for _ in peers]

        def listen() -> None:
            with contextlib.suppress(TimeoutError):
                while not (over.is_set() and all(len(g) == s for g, s in zip(got, sent, strict=True))):
                    datagram, source = charon.recvfrom(65536)
                    number = struct.unpack_from("!I", datagram, 4)[0]
                    assert datagram == esp(40 + number * 7 % 1300, number)
                    got[flows[source[:2]]].append(number)
                    charon.sendto(datagram, source)

        back: list[list[int]] = [[] for _ in peers]

        def hear(index: int) -> None:
            with contextlib.suppress(TimeoutError):
                while not over.is_set() or len(back[index]) < sent[index]:
                    datagram = peers[index][0].receive()
                    number = struct.unpack_from("!I", datagram, 4)[0]
                    assert datagram == esp(40 + number * 7 % 1300, number)
                    back[index].append(number)

        run = [threading.Thread(target=listen)]
        run += [threading.Thread(target=f, args=(i,)) for f in (talk, hear) for i in range(len(peers))]
        for thread in run:
            thread.start()
        try:
            for _ in range(5):
                until(beyond(lambda: sum(sent), 50), SECONDS, "traffic flows")
                move(rig)
        finally:
            over.set()
            for thread in run:
                thread.join(2 * SECONDS)
        for index in range(len(peers)):
            assert got[index] == list(range(1, sent[index] + 1)), rig.non_zero()
            assert back[index] == list(range(1, sent[index] + 1)), rig.non_zero()


def test_nobody_who_connects_meanwhile_is_refused(make: Maker) -> None:
    with make(workers=2, accepts_per_second_per_source=0) as rig:
        port = rig.listen()
        charon = rig.charon()
        over = threading.Event()
        served: list[int] = []
        failures: list[BaseException] = []

        def knock() -> None:
            try:
                while not over.is_set():
                    with contextlib.closing(rig.connect(port)) as peer:
                        peer.send(ike(100))
                        charon.recvfrom(65536)
                        served.append(1)
            except BaseException as error:  # noqa: BLE001 - told below, on the thread of the test
                failures.append(error)

        thread = threading.Thread(target=knock)
        thread.start()
        try:
            for _ in range(5):
                until(beyond(lambda: len(served) + 9 * len(failures), 3), SECONDS, "somebody is served")
                move(rig)
        finally:
            over.set()
            thread.join(2 * SECONDS)
        assert not failures
        assert rig.pump.counters()["accepted"] == len(served)


def test_deadlines_go_on_and_do_not_begin_again(make: Maker) -> None:
    with make(first_bytes_seconds=1.5, ike_seconds=0.0) as rig:
        port = rig.listen()
        began = time.monotonic()
        silent = rig.connect(port)
        rig.event(EventKind.ACCEPTED, of=silent)
        for _ in range(4):
            until(beyond(time.monotonic, 0.25), SECONDS, "some of the time has passed")
            move(rig)
        assert rig.closed(silent) is CloseReason.FIRST_BYTES_TIMEOUT
        assert time.monotonic() - began < 1.5 + 1.0, "four of them would have taken longer"


def test_a_hand_over_that_fails_is_as_if_it_had_not_been(make: Maker) -> None:
    """The other process ends in the middle, says nonsense, or cannot understand what it is given."""
    with make() as rig:
        port = rig.listen()
        charon = rig.charon()
        peer, flow = opened(rig, charon, port)

        def gone() -> None:
            with pair() as (ours, theirs):
                theirs.close()
                with pytest.raises(HandOverError):
                    rig.pump.hand_over(ours)

        def other_workers() -> None:
            with pytest.raises(PumpError, match="workers"):
                move(rig, dataclasses.replace(rig.pump.config, workers=2))

        def fewer_connections() -> None:
            opened(rig, charon, port)
            with pytest.raises(PumpError, match=r"limits\.connections"):
                move(rig, dataclasses.replace(rig.pump.config, limits=Limits(connections=1)))

        breaks: tuple[Callable[[], None], ...] = (gone, other_workers, fewer_connections)
        for number, broken in enumerate(breaks):
            before = rig.pump.connections()
            broken()
            assert rig.pump.close_connection(before[0].id) is False, "a frozen pump changes nothing"
            peer.send(esp(100, number))
            rig.pump.thaw()
            assert charon.recvfrom(65536)[0] == esp(100, number)
            charon.sendto(esp(100, number), flow)
            assert peer.receive() == esp(100, number)
        peer.close()
        assert rig.closed(peer) is CloseReason.FIN


@pytest.mark.parametrize("data", [b"hello", struct.pack("=QI", 1 << 40, 3), struct.pack("=QI", 0, 0)])
@pytest.mark.parametrize("with_memory", [False, True])
def test_what_is_no_pump_cannot_be_taken_over(make: Maker, data: bytes, with_memory: bool) -> None:
    with make() as rig, pair() as (ours, theirs), contextlib.closing(Pump(rig.pump.config)) as other:
        other.prepare()
        memory = os.memfd_create("test")
        os.truncate(memory, 64)
        socket.send_fds(ours, [data], [memory] if with_memory else [])
        os.close(memory)
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(HandOverError):
            other.take_over(theirs)
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_successor_listens_where_it_wants_to(make: Maker) -> None:
    with make(workers=2) as rig:
        port = rig.listen()
        move(rig)
        assert rig.pump.listeners() == [(GW, port)]
        another = rig.listen(GW_V6)
        assert rig.pump.unlisten(GW, port)
        assert not rig.pump.unlisten(GW, port)
        assert rig.pump.listeners() == [(GW_V6, another)]
        charon = rig.charon(address=GW_V6)
        peer = rig.connect(another, GW_V6)
        peer.send(ike(100))
        assert charon.recvfrom(65536)[0] == ike(100)
        with pytest.raises(ConnectionRefusedError):
            rig.connect(port)


def test_a_load_balancer_goes_on_with_the_header_it_had_begun(make: Maker) -> None:
    with make() as rig:
        balancers = [ip_network(f"{UE}/32")]
        port = rig.home.call(lambda: rig.pump.listen(GW, 0, balancers=balancers))
        charon = rig.charon()
        header = b"PROXY TCP4 203.0.113.9 192.0.2.1 1234 80\r\n"
        begun, fresh = rig.connect(port), rig.connect(port)
        begun.send_bytes(header[:11])
        rig.event(EventKind.ACCEPTED, of=fresh)
        rig.wait(lambda: all_read(rig, begun), "the beginning is read")
        move(rig)
        assert not rig.pump.relisten(GW, port + 1, balancers=balancers)
        assert rig.pump.relisten(GW, port, balancers=balancers)
        begun.send_bytes(header[11:])
        fresh.send_bytes(header)
        later = rig.connect(port)
        later.send_bytes(header)
        for peer in (begun, fresh, later):
            peer.send(ike(100))
            assert charon.recvfrom(65536)[0] == ike(100)
        assert {info.remote[0] for info in rig.pump.connections()} == {"203.0.113.9"}
        assert rig.pump.counters()["connections_half_identified"] == 0


def test_who_is_banned_stays_banned(make: Maker) -> None:
    with make() as rig:
        port = rig.listen()
        rig.pump.door.ban(ip_network(f"{UE}/32"), 60.0)
        rig.knock(port)
        before = rig.pump.door.bans()
        assert before
        move(rig)
        after = rig.pump.door.bans()
        assert [(ban.prefix, ban.until) for ban in after] == [(ban.prefix, ban.until) for ban in before]
        refused = rig.pump.counters()["closed_banned"]
        rig.knock(port)
        rig.count("closed_banned", refused + 1)


def test_nothing_is_left_of_a_pump_that_was_handed_over(make: Maker) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    with make(workers=2) as rig:
        port = rig.listen()
        charon = rig.charon()
        peers = [opened(rig, charon, port)[0] for _ in range(10)]
        before = descriptors()
        for _ in range(3):
            move(rig)
            rig._closing.callback(rig.pump.close)
        assert descriptors() == before
        for peer in peers:
            peer.close()
        rig.wait(lambda: not rig.pump.connections(), "all have gone")
        assert descriptors() == before - 2 * len(peers)


def test_taking_over_wants_to_be_prepared_for() -> None:
    pump = Pump(PumpConfig(role="client", namespace="/run/netns/none"))
    with pair() as (_, theirs), pytest.raises(MisuseError):
        pump.take_over(theirs)
    pump.close()
