# SPDX-License-Identifier: Apache-2.0
"""Kernel ESP and the client's link: which way ESP-in-UDP takes is decided by the mark on its SA.

    ue ──eth0──── gw      tric0 ──── the pump's namespace, where nobody listens

The lookup for an SA's outer packet always knows addresses and marks; ports only since Linux 6.12, and
since the late releases of the stable series before it. So the link diverts what carries its mark, and the SA
sets it (`set_mark_out` of the child): kernels of both kinds agree.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from charon import probe
from tests.lab.netns import Namespace, veth
from tpkt.link import ClientLink, ClientLinkConfig

UE, GW, INNER, BEHIND_GW = "192.0.2.2", "192.0.2.1", "10.66.0.1", "10.9.0.2"
KEY = "0x" + "11" * 20
PACKETS = 3


@pytest.fixture
def ue() -> Iterator[Namespace]:
    name = f"tkvm{os.getpid()}"
    ue, gw = Namespace(f"{name}-ue"), Namespace(f"{name}-gw")
    try:
        veth(ue, "eth0", gw, "eth0")
        ue.ip(f"addr add {UE}/24 dev eth0", f"route add default via {GW}", f"addr add {INNER}/32 dev lo")
        gw.ip(f"addr add {GW}/24 dev eth0")
        yield ue
    finally:
        ue.delete()
        gw.delete()


@pytest.fixture
def link(ue: Namespace) -> Iterator[ClientLink]:
    config = ClientLinkConfig(instance=ue.name, gateways=(IPv4Address(GW),))
    link = ue.call(ClientLink, config)
    ue.call(link.up)
    try:
        yield link
    finally:
        ue.call(link.down)


def install_outbound_sa(ue: Namespace, *, mark: int | None) -> None:
    """Do what charon does when a CHILD_SA comes up."""
    output_mark = "" if mark is None else f"output-mark {mark:#x}"
    ue.ip(
        f"xfrm state add src {UE} dst {GW} proto esp spi 0x1234 reqid 1 mode tunnel "
        f"aead rfc4106(gcm(aes)) {KEY} 128 encap espinudp 4500 4500 0.0.0.0 {output_mark}",
        f"xfrm policy add src {INNER}/32 dst {BEHIND_GW}/32 dir out "
        f"tmpl src {UE} dst {GW} proto esp reqid 1 mode tunnel",
    )


def way_of_esp(ue: Namespace) -> str:
    """Send packets through the SA; give the device on which they left."""

    def sent() -> dict[str, int]:
        listed = json.loads(ue.run(["ip", "-s", "-j", "link"]).stdout)
        return {each["ifname"]: each["stats64"]["tx"]["packets"] for each in listed}

    before = sent()
    ue.run(["ping", "-q", "-c", str(PACKETS), "-i", "0.2", "-W", "1", "-I", INNER, BEHIND_GW], check=False)
    after = sent()
    left_on = [name for name in ("eth0", "tric0") if after[name] - before[name] >= PACKETS]
    assert len(left_on) == 1, (before, after)
    return left_on[0]


def test_the_probe_finds_kernel_esp(ue: Namespace) -> None:
    found = probe.kernel_esp(ue.path)
    assert found.available, found.reason


def test_a_marked_sa_goes_into_the_link_while_it_is_diverted(ue: Namespace, link: ClientLink) -> None:
    install_outbound_sa(ue, mark=link.config.mark)
    assert way_of_esp(ue) == "eth0"
    ue.call(link.divert, IPv4Address(GW))
    assert way_of_esp(ue) == "tric0"
    ue.call(link.release, IPv4Address(GW))
    assert way_of_esp(ue) == "eth0"


def test_where_the_lookup_knows_no_ports_the_mark_alone_decides(ue: Namespace, link: ClientLink) -> None:
    ue.call(link.divert, IPv4Address(GW))
    ue.ip(*(f"rule del to {GW} ipproto udp dport {port} lookup {link.table}" for port in (4500, 500)))
    install_outbound_sa(ue, mark=None)
    assert way_of_esp(ue) == "eth0"
    ue.ip("xfrm state flush", "xfrm policy flush")
    install_outbound_sa(ue, mark=link.config.mark)
    assert way_of_esp(ue) == "tric0"
