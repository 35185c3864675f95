# SPDX-License-Identifier: Apache-2.0
"""A live SA moves between UDP and TCP, and the kernel's SAs at both ends go with it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from tests.e2e import expect
from tests.lab.client import Client
from tests.lab.lab import Lab
from tests.lab.topology import GW, UE
from tests.lab.wait import until
from tests.vm import xfrm

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
FLOWS = ip_network("198.18.0.0/15")
FOLLOWS_SECONDS = 10.0


def gateway_sends_to(lab: Lab) -> str:
    """Give the one outer address to which the gateway's kernel sends."""
    (sa,) = xfrm.outbound(lab.topology.gw, GW)
    assert sa.in_udp
    return sa.dst


def expect_kernel_esp(lab: Lab, client: Client, *, over_tcp: bool) -> None:
    """Expect traffic to flow, and the gateway to send to where it came from: a flow address, or the UE."""
    before = client.esp_frames()
    expect.traffic(client)
    until(
        lambda: (ip_address(gateway_sends_to(lab)) in FLOWS) == over_tcp,
        FOLLOWS_SECONDS,
        "the gateway's SA points to where the client is",
    )
    (mine,) = xfrm.outbound(client.namespace, UE)
    assert (mine.dst, mine.in_udp) == (GW, True)
    assert mine.output_mark is not None
    assert mine.packets > 0
    if over_tcp:
        up, down = client.esp_frames()
        assert (up > before[0], down > before[1]) == (True, True)
    else:
        assert gateway_sends_to(lab) == UE


def test_the_kernels_sas_follow_from_udp_to_tcp_and_back(lab: Lab) -> None:
    client = lab.client(**expect.QUICK)
    client.start()
    client.until_up("udp")
    expect_kernel_esp(lab, client, over_tcp=False)
    before = client.spis()
    lab.firewall.drop_udp()
    client.until_up("tcp")
    expect_kernel_esp(lab, client, over_tcp=True)
    lab.firewall.allow_udp()
    client.until_up("udp")
    expect_kernel_esp(lab, client, over_tcp=False)
    assert client.spis() == before
