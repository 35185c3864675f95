# SPDX-License-Identifier: Apache-2.0
"""What can only be seen from outside of a pump's process: descriptors that run out, calls, memory."""

from __future__ import annotations

import contextlib
import itertools
import re
import select
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.wait import until
from tests.tpkt.pump.company import Strangers, in_company, is_over, reachable_strangers, source
from tests.tpkt.pump.host import Host
from tests.tpkt.pump.rig import SECONDS, Network, esp
from tpkt.link import GatewayLink
from tpkt.wire import encode

pytestmark = pytest.mark.root
LONG = 30.0


def until_counted(host: Host, wanted: int, *names: str) -> None:
    def sums() -> bool:
        counters = host.counters()
        return sum(counters[name] for name in names) == wanted

    until(sums, LONG, f"{' + '.join(names)} come to {wanted}; counters {host.non_zero()}")


def test_with_256_descriptors_a_thousand_that_knock_are_refused_or_served_and_nobody_else_notices(
    network: Network, gateway_link: GatewayLink
) -> None:
    reachable_strangers(network)
    limit, many = 256, 1000
    with Host(network, gateway_link.namespace, descriptors=limit) as host, in_company(host) as company:
        _, _, good, strangers = company
        strangers.knock([source(number) for number in range(many)])
        until_counted(host, many + 1, "accepted", "closed_no_descriptors")
        counters = host.counters()
        assert 0 < counters["connections_open"] < limit
        assert counters["closed_no_descriptors"] > many - limit
        assert counters["accept_errors"] == 0
        good.goes_on()
        for sock in strangers.sockets:
            if not is_over(sock):
                sock.close()
        until_counted(host, 1, "connections_open")
        late = strangers.connect(source(7))
        late.send(esp(40))
        until_counted(host, 2, "identified_tpkt")


@contextlib.contextmanager
def traced(thread: int, report: Path) -> Iterator[None]:
    """The calls of one thread, written down while it goes on."""
    argv = ["strace", "-qq", "-e", "signal=none", "-p", str(thread), "-o", str(report)]
    with subprocess.Popen(argv) as strace:
        until(lambda: tracer_of(thread) == strace.pid, SECONDS, "strace is attached")
        try:
            yield
        finally:
            strace.send_signal(signal.SIGINT)
            strace.wait(SECONDS)


def is_settled(sock: socket.socket) -> bool:
    """Whether it was refused, or has waited so long that it was let in."""
    return is_over(sock) or bool(select.select([], [sock], [], 0)[1])


def tracer_of(thread: int) -> int:
    status = Path(f"/proc/{thread}/status").read_text()
    return int(status.partition("TracerPid:")[2].split()[0])


def test_a_refused_peer_costs_one_call_after_its_accept(
    network: Network, gateway_link: GatewayLink, tmp_path: Path
) -> None:
    """Refused by rate; by ban and by rule it is the same way out."""
    reachable_strangers(network)
    many, report = 300, tmp_path / "calls"
    limits = {"accepts_per_second_per_source": 1}
    with (
        Host(network, gateway_link.namespace, **limits) as host,
        Strangers(host, host.listen()) as strangers,
    ):
        with traced(host.thread("pump-0"), report):
            for _ in range(10):
                strangers.knock([source(1)] * (many // 10))
                until(lambda: all(map(is_settled, strangers.sockets)), LONG, "each is refused or let in")
            until_counted(host, many, "accepted", "closed_limit_rate")
        refused, let_in = host.counters()["closed_limit_rate"], host.counters()["accepted"]
    assert refused > many / 2
    lines = report.read_text().splitlines()
    calls = Counter(match[1] for line in lines if (match := re.match(r"(\w+)\(", line)))
    # In the order they were made: nothing between an accept that gave a descriptor and the closing of that.
    pairs = [
        (line, after)
        for line, after in itertools.pairwise(lines)
        if (made := re.match(r"accept4\(.*= (\d+)$", line)) and after.startswith(f"close({made[1]})")
    ]
    assert len(pairs) >= refused
    others = {name: count for name, count in calls.items() if name not in ("accept4", "close", "epoll_wait")}
    # What is left belongs to those few that were let in, to their ends, and to being asked for counters.
    assert sum(others.values()) <= 12 * let_in + 10, others


def test_sixty_four_that_stop_reading_cost_their_caps_and_no_more(
    network: Network, gateway_link: GatewayLink
) -> None:
    reachable_strangers(network)
    many, cap = 64, 131_072
    with Host(network, gateway_link.namespace, queue_bytes=cap) as host, in_company(host) as company:
        _, charon, good, strangers = company
        peers = [strangers.connect(source(number)) for number in range(many)]
        for peer in peers:
            peer.send_bytes(encode(esp(100)))
        until(lambda: len(charon.esp) == many + 1, SECONDS, "charon knows all their flows")
        flows = [flow for flow in charon.esp if flow != good.flow[0]]
        before = host.private_bytes()
        for _ in range(40):
            for flow in flows:
                for _ in range(10):
                    charon.send(esp(1400), (flow, 4500))
            good.goes_on(1)  # behind all that was sent: the link's socket need not hold it
        counters = host.counters()
        assert 0 < counters["queued_bytes"] <= many * cap
        # A connection's cap, and for each worker what it keeps of blocks for the next one: their cap again.
        assert host.private_bytes() - before <= many * cap + (8 << 20)
        good.goes_on()
        for sock in strangers.sockets:
            sock.close()
        until_counted(host, 1, "connections_open")
        until_counted(host, 0, "queued_bytes")
