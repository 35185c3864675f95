# SPDX-License-Identifier: Apache-2.0
"""Hours of coming and going: nothing of a pump may grow with what it has been through.

    SOAK_SECONDS=3600 python -m tests.tpkt.pump.soak        (`make soak`; a test runs it for some seconds)

Rounds of peers of every sort come, do what they do and are gone, while one client's datagrams flow all the
time. After each round there is one connection again, and then the pump's own memory, its descriptors, and the
links, addresses, routes, neighbours and sockets of its network are written down. They must be what they were
after the warm-up.
"""

from __future__ import annotations

import dataclasses
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from tests.lab.wait import until
from tests.tpkt.pump.company import GoodClient, PlayedCharon, Strangers, reachable_strangers, source
from tests.tpkt.pump.host import Host
from tests.tpkt.pump.rig import SECONDS, Network, esp, ike
from tpkt.link import GatewayLink
from tpkt.wire import encode

WARM_UP = 0.25  # of the time: tables and pools take their memory once
MAY_GROW = 3 << 20  # of the pump's memory from the first to the last quarter behind it: allocators breathe
PEERS = 60  # of one round
SOURCES = 1000
LIMITS = {
    "workers": 2,
    "first_bytes_seconds": 0.3,
    "frame_seconds": 0.3,
    "ike_seconds": 0.3,
    "queue_bytes": 65_536,
}
# What a peer says, and whether it waits for the pump to end it.
SORTS = {
    "a client": encode(ike(100)) + encode(esp(1400)) * 20,
    "a client of RFC 9329": b"IKETCP" + (102).to_bytes(2, "big") + ike(100),
    "cut in a frame": encode(ike(100)) + encode(esp(1400))[:700],
    "a browser": b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n",
    "noise": b"\x80\x81\x82\x83",
    "a lost stream": encode(esp(100)) + b"\x07",
    "silent": b"",
    "half of the first bytes": b"IKE",
}


class Sample(NamedTuple):
    """What is there after a round."""

    memory: int
    descriptors: int
    objects: tuple[int, ...]


@dataclasses.dataclass
class Outcome:
    """What a soak has seen."""

    rounds: int = 0
    connections: int = 0
    datagrams: int = 0
    samples: list[Sample] = dataclasses.field(default_factory=list)

    def check(self) -> None:
        """Raise AssertionError unless everything is flat."""
        flat = self.samples[int(len(self.samples) * WARM_UP) :]
        assert len(flat) >= 8, f"only {len(self.samples)} rounds: give it more seconds"
        assert len({(one.descriptors, one.objects) for one in flat}) == 1, flat
        quarter = len(flat) // 4
        first, last = (
            statistics.median(one.memory for one in part) for part in (flat[:quarter], flat[-quarter:])
        )
        assert last - first <= MAY_GROW, f"memory grew from {first} to {last} bytes"

    def __str__(self) -> str:
        memory, descriptors, counts = self.samples[-1]
        return (
            f"{self.rounds} rounds, {self.connections} connections, {self.datagrams} datagrams each way of "
            f"the good client; {memory >> 10} KiB, {descriptors} descriptors, objects {counts}"
        )


def objects(network: Network, link: GatewayLink) -> tuple[int, ...]:
    """How many links, addresses, routes, neighbours and UDP sockets there are, in gateway and link."""
    counts = []
    for name in (network.gw.name, link.namespace.rpartition("/")[2]):
        for what in ("link", "addr", "route show table all", "neigh"):
            argv = ["ip", "-n", name, "-o", *what.split()]
            counts.append(len(network.gw.run(argv).stdout.splitlines()))
        argv = ["ip", "netns", "exec", name, "ss", "-Huan"]
        counts.append(len(network.gw.run(argv).stdout.splitlines()))
    return tuple(counts)


def one_round(host: Host, strangers: Strangers, chance: random.Random) -> None:
    """Peers of every sort; each ends itself in one of two ways, or waits to be ended."""
    peers = []
    for _ in range(PEERS):
        peer = strangers.connect(source(chance.randrange(SOURCES)))
        peer.socket.setblocking(False)
        peer.socket.send(chance.choice(list(SORTS.values())))
        peers.append(peer)
        if len(peers) > PEERS // 2:
            other = peers.pop(chance.randrange(len(peers)))
            chance.choice((other.close, other.reset))()
    until(lambda: host.counters()["connections_open"] <= PEERS // 2 + 1, SECONDS, "those that ended are gone")
    for peer in peers[: PEERS // 4]:
        peer.close()
    # A client that charon has answered stays: nobody here plays the control plane's deadline.
    until(lambda: host.counters()["connections_half_identified"] == 0, SECONDS, "deadlines have passed")
    strangers.close_all()
    until(lambda: host.counters()["connections_open"] == 1, SECONDS, "all are gone but one")
    until(lambda: host.counters()["queued_bytes"] == 0, SECONDS, "and what they held")


def soak(seconds: float, tell: Callable[[str], object] = lambda _: None) -> Outcome:
    """Do it for so long; the caller checks."""
    outcome, chance, told = Outcome(), random.Random(1), time.monotonic()
    with Network() as network, network.gateway_link() as link:
        reachable_strangers(network)
        with Host(network, link.namespace, **LIMITS) as host, PlayedCharon(host) as charon:
            port = host.listen()
            with GoodClient(host, port, charon) as good, Strangers(host, port) as strangers:
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    one_round(host, strangers, chance)
                    good.goes_on(5)
                    charon.forget_all_but(good.flow[0])
                    outcome.rounds += 1
                    outcome.connections = host.counters()["accepted"]
                    outcome.datagrams = good.sent_down
                    outcome.samples.append(
                        Sample(host.private_bytes(), host.descriptors(), objects(network, link))
                    )
                    if time.monotonic() - told > 60:
                        told = time.monotonic()
                        tell(str(outcome))
    tell(str(outcome))
    return outcome


def main() -> None:
    """Soak for SOAK_SECONDS and say what came of it."""
    seconds = float(os.environ.get("SOAK_SECONDS", "3600"))
    outcome = soak(seconds, lambda text: print(text, flush=True))
    try:
        outcome.check()
    except AssertionError as error:
        sys.exit(f"not flat: {error}")
    print(f"flat for {seconds:g} s")


if __name__ == "__main__":
    main()
