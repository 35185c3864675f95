# SPDX-License-Identifier: Apache-2.0
"""Cases `tunnel` and `peers`: the whole product through the lab's firewall, and what else a user could take.

Everybody's UE is behind the same firewall, everybody's gateway is `gw`, everybody goes to the same host
in the core network; all tunnels stand at the same time, and one of them is used at a time.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench import ocserv, openvpn, tunnel
from tests.bench.case import Case, Settings, Variant
from tests.bench.tunnel import Tunnel
from tests.lab.lab import Lab
from tests.lab.wait import until

CONGESTION = "cubic"
UP_SECONDS = 30.0
OURS, UDP = "TrIKESec over TCP 80", "ESP in UDP"


@contextlib.contextmanager
def _lab() -> Iterator[Lab]:
    lab = Lab()
    lab.topology.congestion(CONGESTION)
    with lab:
        yield lab


def _product(lab: Lab, *, udp: bool) -> Tunnel:
    """Start a client of ours in a UE of its own; both rungs end in the same charon."""
    ue = lab.neighbour()
    ue.congestion(CONGESTION)
    client = lab.client(namespace=ue, udp=udp)
    client.start()
    client.until_up("udp" if udp else "tcp")
    return Tunnel(UDP if udp else OURS, ue, client.inner_address())


def _variants(lab: Lab, settings: Settings, tunnels: Sequence[Tunnel]) -> Sequence[Variant]:
    for each in tunnels:
        until(functools.partial(tunnel.answers, each), UP_SECONDS, f"a ping comes back through {each.name}")
    core = lab.topology.core
    return [Variant(each.name, functools.partial(tunnel.measure, each, core, settings)) for each in tunnels]


@contextlib.contextmanager
def _both_rungs(settings: Settings) -> Iterator[Sequence[Variant]]:
    with _lab() as lab:
        yield _variants(lab, settings, [_product(lab, udp=False), _product(lab, udp=True)])


@contextlib.contextmanager
def _peers(settings: Settings) -> Iterator[Sequence[Variant]]:
    with _lab() as lab, contextlib.ExitStack() as peers:
        tunnels = [_product(lab, udp=False)]
        for name, bring_up in (("openvpn", openvpn.openvpn), ("ocserv", ocserv.ocserv)):
            ue = lab.neighbour()
            ue.congestion(CONGESTION)
            directory = Path(lab.directory) / name
            tunnels.append(peers.enter_context(bring_up(lab.topology.gw, ue, directory, lab.authority)))
        yield _variants(lab, settings, tunnels)


TUNNEL = Case(
    name="tunnel",
    title="(b) the same charon over TCP 80 and over UDP",
    lab=_both_rungs,
    comparisons=tunnel.comparisons(OURS, UDP),
)
PEERS = Case(
    name="peers",
    title="(c) against other tunnels over TCP",
    lab=_peers,
    comparisons=[*tunnel.comparisons(OURS, openvpn.NAME), *tunnel.comparisons(OURS, ocserv.NAME)],
)
