# SPDX-License-Identifier: Apache-2.0
"""The client's link takes IKE and ESP, and nothing else, while told to; what it brings is always heard."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address
from typing import NamedTuple

import pytest

from tests.lab.netns import Namespace
from tests.lab.topology import GW, GW_V6, UE, UE_V6, Topology
from tests.tpkt.pump_socket import LOST_SECONDS, SECONDS, PumpSocket
from tpkt.link import ClientLink, ClientLinkConfig, LinkError

pytestmark = pytest.mark.root
GATEWAYS = (ip_address(GW), ip_address(GW_V6))


class Path(NamedTuple):
    family: socket.AddressFamily
    gateway: str
    own: str


PATHS = [
    pytest.param(Path(socket.AF_INET, GW, UE), id="ipv4"),
    pytest.param(Path(socket.AF_INET6, GW_V6, UE_V6), id="ipv6"),
]
every_family = pytest.mark.parametrize("path", PATHS)


@pytest.fixture
def ue(network: Topology) -> Iterator[Namespace]:
    """The client's namespace, with the calling thread inside."""
    with network.ue.enter():
        yield network.ue


@pytest.fixture
def link(network: Topology, ue: Namespace) -> Iterator[ClientLink]:
    with ClientLink(ClientLinkConfig(instance=network.prefix, gateways=GATEWAYS)) as made:
        yield made


@pytest.fixture(params=[0, 1, 2], ids=lambda value: f"rp_filter={value}")
def rp_filter(request: pytest.FixtureRequest, network: Topology) -> Iterator[None]:
    network.ue.sysctl("net.ipv4.conf.all.rp_filter", request.param)
    yield
    network.ue.sysctl("net.ipv4.conf.all.rp_filter", 0)


def charon_on(ue: Namespace, family: socket.AddressFamily, own: str, port: int) -> socket.socket:
    charon = ue.socket(family, socket.SOCK_DGRAM)
    charon.bind((own, port))
    charon.settimeout(SECONDS)
    return charon


@pytest.mark.usefixtures("rp_filter")
@pytest.mark.parametrize("port", [500, 4500])
@every_family
def test_diverted_packets_reach_the_pump_and_its_answers_come_from_the_gateways_address(
    link: ClientLink, ue: Namespace, path: Path, port: int
) -> None:
    family, gateway, own = path
    with charon_on(ue, family, own, port) as charon, PumpSocket(link.namespace, port, family) as pump:
        link.divert(ip_address(gateway))
        charon.sendto(b"up", (gateway, port))
        assert pump.receive() == (b"up", own, port, gateway)
        pump.send(b"down", source=gateway, to=(own, port))
        payload, source = charon.recvfrom(64)
        assert (payload, source[0], source[1]) == (b"down", gateway, port)


@pytest.mark.usefixtures("rp_filter")
@every_family
def test_after_a_move_to_udp_packets_leave_by_udp_and_what_tcp_still_brings_is_heard(
    network: Topology, link: ClientLink, ue: Namespace, path: Path
) -> None:
    family, gateway, own = path
    with (
        charon_on(ue, family, own, 4500) as charon,
        PumpSocket(link.namespace, 4500, family) as pump,
        network.gw.socket(family, socket.SOCK_DGRAM) as server,
    ):
        server.bind((gateway, 4500))
        server.settimeout(SECONDS)
        link.divert(ip_address(gateway))
        link.release(ip_address(gateway))
        charon.sendto(b"by udp", (gateway, 4500))
        assert server.recv(64) == b"by udp"
        assert pump.hears_nothing()
        pump.send(b"late", source=gateway, to=(own, 4500))
        assert charon.recv(64) == b"late"
        server.sendto(b"answer", (own, 4500))
        assert charon.recv(64) == b"answer"


@pytest.mark.usefixtures("rp_filter")
def test_an_answer_to_another_port_than_ikes_is_heard(link: ClientLink, ue: Namespace) -> None:
    link.divert(ip_address(GW))
    with (
        charon_on(ue, socket.AF_INET, UE, 0) as charon,
        PumpSocket(link.namespace, 4500, socket.AF_INET) as pump,
    ):
        charon.sendto(b"up", (GW, 4500))
        pump.send(b"down", source=GW, to=(UE, pump.receive().port))
        assert charon.recv(64) == b"down"


@every_family
def test_tcp_and_other_udp_to_the_gateway_go_their_normal_way(
    network: Topology, link: ClientLink, ue: Namespace, path: Path
) -> None:
    family, gateway, own = path
    link.divert(ip_address(gateway))
    with network.gw.socket(family) as listener, ue.socket(family) as client:
        listener.bind((gateway, 80))
        listener.listen()
        client.settimeout(SECONDS)
        client.connect((gateway, 80))
    with network.gw.socket(family, socket.SOCK_DGRAM) as server, charon_on(ue, family, own, 0) as client:
        server.bind((gateway, 53))
        server.settimeout(SECONDS)
        client.sendto(b"other", (gateway, 53))
        assert server.recv(64) == b"other"


@every_family
def test_marked_packets_are_diverted_whatever_their_ports_as_those_of_kernel_esp_are(
    link: ClientLink, ue: Namespace, path: Path
) -> None:
    family, gateway, own = path
    link.divert(ip_address(gateway))
    with charon_on(ue, family, own, 0) as sender, PumpSocket(link.namespace, 4501, family) as pump:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, link.config.mark)
        sender.sendto(b"esp", (gateway, 4501))
        assert pump.receive().payload == b"esp"
        link.release(ip_address(gateway))
        sender.sendto(b"esp", (gateway, 4501))
        assert pump.hears_nothing()


def test_each_gateway_is_diverted_on_its_own_and_doing_it_twice_is_harmless(link: ClientLink) -> None:
    four, six = GATEWAYS
    assert not link.diverted(four)
    link.divert(four)
    link.divert(four)
    assert (link.diverted(four), link.diverted(six)) == (True, False)
    link.divert(six)
    link.release(four)
    link.release(four)
    assert (link.diverted(four), link.diverted(six)) == (False, True)
    with pytest.raises(LinkError, match=r"gateway 192\.0\.2\.99: the link was not made for it"):
        link.divert(ip_address("192.0.2.99"))


def test_two_instances_divert_two_gateways_each_by_a_table_of_its_own(
    network: Topology, link: ClientLink, ue: Namespace
) -> None:
    other = ip_address("203.0.113.77")
    config = ClientLinkConfig(instance=f"{network.prefix}-b", device="tric1", gateways=(other,))
    with (
        ClientLink(config) as second,
        charon_on(ue, socket.AF_INET, UE, 4500) as charon,
        PumpSocket(link.namespace, 4500, socket.AF_INET) as one,
        PumpSocket(second.namespace, 4500, socket.AF_INET) as two,
    ):
        assert (link.table, second.table) == (4500, 4501)
        link.divert(ip_address(GW))
        second.divert(other)
        charon.sendto(b"one", (GW, 4500))
        charon.sendto(b"two", (str(other), 4500))
        assert one.receive().payload == b"one"
        assert two.receive().payload == b"two"
    assert link.diverted(ip_address(GW))


def test_a_table_that_somebody_uses_is_passed_over(network: Topology, ue: Namespace) -> None:
    ue.ip("route add 10.1.0.0/16 dev eth0 table 4500", "rule add from 10.1.0.9 lookup 4501")
    try:
        with ClientLink(ClientLinkConfig(instance=network.prefix, gateways=GATEWAYS)) as link:
            assert link.table == 4502
        assert "10.1.0.0/16" in ue.run(["ip", "route", "show", "table", "4500"]).stdout
    finally:
        ue.ip("route flush table 4500", "rule del from 10.1.0.9 lookup 4501")


def test_a_gateway_that_is_this_machine_is_refused(network: Topology, ue: Namespace) -> None:
    link = ClientLink(ClientLinkConfig(instance=network.prefix, gateways=(ip_address(UE),)))
    with pytest.raises(LinkError, match=r"gateway 192\.0\.2\.2: is an address of this machine"):
        link.up()


def test_check_finds_rules_that_somebody_removed(link: ClientLink, ue: Namespace) -> None:
    link.divert(ip_address(GW))
    assert link.check() == []
    ue.ip(f"rule del to {GW} ipproto udp dport 4500")
    assert not link.diverted(ip_address(GW))
    (told,) = link.check()
    assert told.startswith(f"gateway {GW}: rules are missing (systemd-networkd")
    link.divert(ip_address(GW))
    assert link.check() == []


def test_check_names_a_reverse_path_filter_that_marks_cannot_pass(link: ClientLink, ue: Namespace) -> None:
    ue.sysctl("net.ipv4.conf.tric0.src_valid_mark", 0)
    assert link.check() == []
    ue.sysctl("net.ipv4.conf.all.rp_filter", 1)
    try:
        (told,) = link.check()
        with (
            charon_on(ue, socket.AF_INET, UE, 4500) as charon,
            PumpSocket(link.namespace, 4500, socket.AF_INET) as pump,
        ):
            pump.send(b"late", source=GW, to=(UE, 4500))
            charon.settimeout(LOST_SECONDS)
            with pytest.raises(TimeoutError):
                charon.recv(64)
    finally:
        ue.sysctl("net.ipv4.conf.all.rp_filter", 0)
    assert told.startswith("net.ipv4.conf.all.rp_filter is 1 and arriving packets are not marked")
