# SPDX-License-Identifier: Apache-2.0
"""The gateway's link carries datagrams of any flow address both ways, and says what stands in its way."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network

import pytest

from tests.lab.netns import Namespace, command
from tests.lab.topology import GW, GW_V6, Topology
from tests.tpkt.pump_socket import SECONDS, PumpSocket
from tpkt.link import GatewayLink, GatewayLinkConfig, LinkError

pytestmark = pytest.mark.root
POOL6 = IPv6Network("2001:2::/64")
FAMILIES = [
    pytest.param(socket.AF_INET, GW, "198.19.255.254", id="ipv4"),
    pytest.param(socket.AF_INET6, GW_V6, "2001:2::ffff:1", id="ipv6"),
]


@pytest.fixture
def gw(network: Topology) -> Iterator[Namespace]:
    """The gateway's namespace, with the calling thread inside."""
    with network.gw.enter():
        yield network.gw


@pytest.fixture
def link(network: Topology, gw: Namespace) -> Iterator[GatewayLink]:
    with GatewayLink(GatewayLinkConfig(instance=network.prefix, pool6=POOL6)) as made:
        yield made


@pytest.mark.parametrize("rp_filter", [0, 1, 2])
@pytest.mark.parametrize("port", [500, 4500])
@pytest.mark.parametrize(("family", "gateway", "flow"), FAMILIES)
def test_a_datagram_comes_from_its_flow_address_and_the_answer_goes_back_to_it(
    network: Topology,
    link: GatewayLink,
    family: socket.AddressFamily,
    gateway: str,
    flow: str,
    *,
    port: int,
    rp_filter: int,
) -> None:
    network.gw.sysctl("net.ipv4.conf.all.rp_filter", rp_filter)
    try:
        with (
            PumpSocket(link.namespace, port, family) as pump,
            socket.socket(family, socket.SOCK_DGRAM) as charon,
        ):
            charon.bind((gateway, port))
            charon.settimeout(SECONDS)
            pump.send(b"up", source=flow, to=(gateway, port))
            payload, source = charon.recvfrom(64)
            assert (payload, source[0], source[1]) == (b"up", flow, port)
            charon.sendto(b"down", (flow, port))
            assert pump.receive() == (b"down", gateway, port, flow)
    finally:
        network.gw.sysctl("net.ipv4.conf.all.rp_filter", 0)


def test_no_number_of_clients_fills_the_neighbour_table(link: GatewayLink, gw: Namespace) -> None:
    with (
        PumpSocket(link.namespace, 4500, socket.AF_INET) as pump,
        gw.socket(kind=socket.SOCK_DGRAM) as charon,
    ):
        for number in range(2000):
            charon.sendto(b"x", (str(link.config.pool4[number * 50 + 16]), 4500))
        assert pump.receive().payload == b"x"
    neighbours = gw.run(["ip", "neigh", "show", "dev", link.device]).stdout.splitlines()
    assert [line.split()[0] for line in neighbours] == ["198.18.0.2", "2001:2::2"]


def test_the_link_has_no_addresses_and_nobody_on_it_asks_for_neighbours_or_routers(
    link: GatewayLink, gw: Namespace
) -> None:
    addresses = gw.run(["ip", "-br", "address", "show", "dev", link.device]).stdout.split()
    assert addresses[2:] == []
    with PumpSocket(link.namespace, 4500, socket.AF_INET6) as pump:
        pump.send(b"x", source="2001:2::77", to=(GW_V6, 4500))
    counted = command(["nsenter", f"--net={link.namespace}", "cat", "/proc/net/snmp6"]).stdout.split()
    icmp = dict(zip(counted[::2], map(int, counted[1::2]), strict=True))
    for way in ("In", "Out"):
        for kind in ("RouterSolicits", "RouterAdvertisements", "NeighborSolicits", "NeighborAdvertisements"):
            assert icmp[f"Icmp6{way}{kind}"] == 0


def test_a_link_without_ipv6_has_none_at_all(network: Topology, gw: Namespace) -> None:
    with GatewayLink(GatewayLinkConfig(instance=network.prefix)) as link:
        assert gw.sysctl(f"net.ipv6.conf.{link.device}.disable_ipv6") == "1"


def test_the_mtu_is_the_one_asked_for_on_both_ends(network: Topology, gw: Namespace) -> None:
    with GatewayLink(GatewayLinkConfig(instance=network.prefix, mtu=9000)) as link:
        assert "mtu 9000" in gw.run(["ip", "link", "show", "dev", link.device]).stdout
        assert "mtu 9000" in command(["ip", "-n", link.name, "link", "show", "dev", "s0"]).stdout


def test_a_second_instance_lives_beside_the_first(
    network: Topology, link: GatewayLink, gw: Namespace
) -> None:
    other = GatewayLinkConfig(
        instance=f"{network.prefix}-b", device="eseg1", pool4=IPv4Network("198.51.101.0/24")
    )
    with (
        GatewayLink(other) as second,
        PumpSocket(link.namespace, 4500, socket.AF_INET) as one,
        PumpSocket(second.namespace, 4500, socket.AF_INET) as two,
        gw.socket(kind=socket.SOCK_DGRAM) as charon,
    ):
        charon.bind((GW, 4500))
        charon.sendto(b"one", ("198.18.3.4", 4500))
        charon.sendto(b"two", ("198.51.101.99", 4500))
        assert one.receive().payload == b"one"
        assert two.receive().payload == b"two"


def refusal(config: GatewayLinkConfig) -> str:
    """What `up` says, after making sure that `check` says the same and that nothing is left."""
    link = GatewayLink(config)
    told = link.check()
    with pytest.raises(LinkError) as caught:
        link.up()
    assert told == [str(caught.value)]
    assert "\n" not in told[0]
    assert not link.is_up
    return told[0]


@pytest.mark.parametrize(
    ("route", "pool"),
    [
        ("198.18.7.0/24 via 198.51.100.1", "198.18.0.0/15"),
        ("198.0.0.0/8 dev eth0", "198.18.0.0/15"),
        ("blackhole 198.18.0.0/15", "198.18.0.0/15"),
        ("2001:2::/48 dev eth0", "2001:2::/64"),
    ],
)
def test_a_pool_that_somebody_routes_is_refused_and_the_route_named(
    network: Topology, gw: Namespace, route: str, pool: str
) -> None:
    gw.ip(f"route add {route}")
    try:
        message = refusal(GatewayLinkConfig(instance=network.prefix, pool6=POOL6))
    finally:
        gw.ip(f"route del {route}")
    named = next(word for word in route.split() if "/" in word)
    assert message.startswith(f"pool {pool}: overlaps the route to {named}")


def test_a_pool_around_an_address_of_this_machine_is_refused(network: Topology, gw: Namespace) -> None:
    pool = IPv4Network("198.51.100.0/24")
    assert "overlaps the route to 198.51.100.0/24 through device eth0" in refusal(
        GatewayLinkConfig(instance=network.prefix, pool4=pool)
    )


def test_a_route_to_half_the_world_is_no_claim_on_the_pool(network: Topology, gw: Namespace) -> None:
    gw.ip("route add 128.0.0.0/1 via 198.51.100.1")
    try:
        with GatewayLink(GatewayLinkConfig(instance=network.prefix)):
            pass
    finally:
        gw.ip("route del 128.0.0.0/1")


def test_a_device_name_that_is_taken_is_refused_with_the_one_that_has_it(
    network: Topology, link: GatewayLink, gw: Namespace
) -> None:
    other = GatewayLinkConfig(
        instance=f"{network.prefix}-b", pool4=IPv4Network("198.51.101.0/24"), device=link.device
    )
    assert refusal(other).startswith(f"device eseg0: exists (trikesec {link.name}")
    assert "device eth0: exists;" in refusal(
        GatewayLinkConfig(instance=f"{network.prefix}-b", pool4=other.pool4, device="eth0")
    )


def test_check_finds_what_somebody_broke_afterwards(link: GatewayLink, gw: Namespace) -> None:
    assert link.check() == []
    gw.ip("route del 198.18.0.0/15")
    gw.sysctl("net.ipv4.conf.eseg0.forwarding", 0)
    told = link.check()
    assert [line.partition(";")[0] for line in told] == [
        "pool 198.18.0.0/15: no route through eseg0 (somebody removed it)",
        "device eseg0: forwards no IPv4: clients reach only this machine",
    ]
    gw.ip("link set eseg0 down")
    assert "is down" in link.check()[0]
