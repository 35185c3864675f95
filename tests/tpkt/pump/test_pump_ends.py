# SPDX-License-Identifier: Apache-2.0
"""A peer that goes, in every state of its connection, and streams cut in every way TCP can cut them."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable

import pytest

from tests.lab.wait import until
from tests.tpkt.pump.company import PlayedCharon, in_company, reachable_strangers, source
from tests.tpkt.pump.rig import SECONDS, Maker, Network, Peer, Rig, esp
from tpkt.errors import CloseReason
from tpkt.pump import ConnectionState
from tpkt.wire import encode, encode_rfc9329

pytestmark = pytest.mark.root
WHOLE = encode(esp(100))
# What is sent first, the state that brings about, and the reason when the peer then ends in order.
STATES = {
    "new": (b"", ConnectionState.NEW, CloseReason.FIN),
    "new, with a byte": (b"\x01", ConnectionState.NEW, CloseReason.FIN_IN_FRAME),
    "open and idle": (WHOLE, ConnectionState.OPEN, CloseReason.FIN),
    "in a header": (WHOLE + b"\x01\x00\x05", ConnectionState.OPEN, CloseReason.FIN_IN_FRAME),
    "in a frame": (WHOLE + WHOLE[:50], ConnectionState.OPEN, CloseReason.FIN_IN_FRAME),
    "in a long frame": (encode(esp(60_000))[:30_000], ConnectionState.OPEN, CloseReason.FIN_IN_FRAME),
    "lingering": (b"GET / HTTP/1.1\r\n\r\n", ConnectionState.LINGERING, CloseReason.HTTP),
    "with datagrams queued": (WHOLE, ConnectionState.OPEN, CloseReason.FIN),
}


def state_of(rig: Rig, peer: Peer) -> ConnectionState | None:
    found = [one.state for one in rig.pump.connections() if one.remote == peer.address]
    return found[0] if found else None


def fill(rig: Rig, charon: PlayedCharon, peer: Peer) -> None:
    """Send to a peer that does not read until its queue holds something."""
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # or the kernel holds megabytes
    flow = next(one.flow for one in rig.pump.connections() if one.remote == peer.address)

    def queued() -> bool:
        for _ in range(50):
            charon.send(esp(1400), (flow, 4500))
        return any(one.queued_bytes > 50_000 for one in rig.pump.connections() if one.flow == flow)

    until(queued, SECONDS, "something waits for it")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("how", ["in order", "by a reset"])
def test_a_peer_that_goes_is_let_go(network: Network, make: Maker, state: str, how: str) -> None:
    sent, stands, in_order = STATES[state]
    reachable_strangers(network)
    with make() as rig, in_company(rig) as (_, charon, good, strangers):
        peer = strangers.connect(source(1))
        peer.send_bytes(sent)
        until(lambda: state_of(rig, peer) is stands, SECONDS, f"it is {stands}")
        if state == "lingering":
            assert peer.read_all().startswith(b"HTTP/1.1 404")
        good.goes_on(10)
        if state == "with datagrams queued":
            fill(rig, charon, peer)  # at last: what waits too long is dropped
        before = rig.pump.counters()
        if how == "in order":
            peer.socket.shutdown(socket.SHUT_WR)
            wanted = {in_order}
        else:
            peer.reset()
            wanted = {CloseReason.HTTP} if stands is ConnectionState.LINGERING else {CloseReason.RESET}
        reason = rig.closed(peer)
        assert reason in wanted
        after = rig.pump.counters()
        assert after[f"closed_{reason}"] == before[f"closed_{reason}"] + 1
        assert after["connections_open"] == 1
        assert after["connections_half_identified"] == after["connections_ike_half_open"] == 0
        if state == "with datagrams queued":
            assert after["link_to_stream_closed"] > before["link_to_stream_closed"]
        rig.wait(lambda: rig.pump.counters()["queued_bytes"] == 0, "all memory is given back")


PIECES: dict[str, Callable[[random.Random], int]] = {
    "single bytes": lambda _: 1,
    "two bytes, inside headers": lambda _: 2,
    "three bytes": lambda _: 3,
    "a byte less than a frame": lambda _: 103,
    "a frame and a byte": lambda _: 105,
    "segments": lambda _: 1448,
    "by chance": lambda chance: chance.choice((1, 2, 4, 50, 104, 700, 5000)),
    "all at once": lambda _: 1 << 30,
}


@pytest.mark.parametrize("framing", ["tpkt", "rfc9329"])
@pytest.mark.parametrize("pieces", PIECES)
def test_a_stream_means_the_same_however_it_is_cut(
    network: Network, make: Maker, pieces: str, framing: str
) -> None:
    frames, chance = 40 if pieces == "single bytes" else 300, random.Random(7)
    reachable_strangers(network)
    with make() as rig, in_company(rig) as (_, charon, good, strangers):
        sizes = [100, 100, chance.choice((8, 40, 100, 1400, 9000))] * (frames // 3)
        encoder = encode if framing == "tpkt" else encode_rfc9329
        stream = b"" if framing == "tpkt" else b"IKETCP"
        stream += b"".join(encoder(esp(size, number)) for number, size in enumerate(sizes))
        peer = strangers.connect(source(1))
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        at = 0
        while at < len(stream):
            size = PIECES[pieces](chance)
            peer.send_bytes(stream[at : at + size])
            at += size

        def arrived() -> list[int]:
            return next((got for flow, got in charon.esp.items() if flow != good.flow[0]), [])

        until(lambda: len(arrived()) == len(sizes), 2 * SECONDS, "all frames")
        assert arrived() == list(range(len(sizes)))
        assert rig.pump.counters()["stream_to_link_malformed"] == 0
        assert rig.pump.counters()["queued_bytes"] == 0
