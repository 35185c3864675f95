# SPDX-License-Identifier: Apache-2.0
"""The way to the gateway in a real network namespace: found, followed, and kept open for a probe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from ipaddress import ip_address
from typing import Any, TypeVar

import pytest

from tc_client import networks
from tc_client.echo import checksum, ping
from tc_client.networks import Way
from tc_client.probes import probe_udp
from tc_client.rungs import RungError, Why
from tests.lab.netns import Namespace, unique_prefix, veth
from tests.lab.wait import until_async

T = TypeVar("T")
pytestmark = pytest.mark.root
GATEWAY, GATEWAY_V6 = ip_address("198.51.100.2"), ip_address("2001:db8:2::2")
FIRST, SECOND = "192.0.2.2", "192.0.2.3"


@pytest.fixture
def here() -> Iterator[Namespace]:
    """A machine with one access network, whose router is nobody."""
    prefix = unique_prefix()
    here, router = Namespace(f"{prefix}-ue"), Namespace(f"{prefix}-fw")
    try:
        veth(here, "eth0", router, "ue0")
        here.ip(f"addr add {FIRST}/24 dev eth0", "route add default via 192.0.2.1")
        router.ip("addr add 192.0.2.1/24 dev ue0")
        yield here
    finally:
        here.delete()
        router.delete()


def inside(here: Namespace, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on a loop whose threads live in the namespace."""
    return here.call(lambda: asyncio.run(work()))


def test_the_way_names_device_router_and_source(here: Namespace) -> None:
    way = here.call(networks.way_to, GATEWAY)
    assert way == Way("eth0", FIRST, "192.0.2.1")
    assert str(way) == f"eth0 via 192.0.2.1 from {FIRST}"


def test_where_there_is_no_way_there_is_none(here: Namespace) -> None:
    assert here.call(networks.way_to, GATEWAY_V6) is None


def test_a_rule_that_diverts_ike_is_not_the_way(here: Namespace) -> None:
    here.ip(
        "link add tric0 type veth peer name far",
        "link set tric0 up",
        f"route add {GATEWAY} dev tric0 table 4500",
        f"rule add to {GATEWAY} ipproto udp dport 4500 lookup 4500",
    )
    way = here.call(networks.way_to, GATEWAY)
    assert way is not None
    assert way.device == "eth0"


def test_a_change_of_the_way_is_told_and_other_changes_are_not(here: Namespace) -> None:
    told: list[Way | None] = []

    async def story() -> None:
        watch = networks.Watch(lambda: GATEWAY)
        await watch.begin()

        async def listen() -> None:
            async for way in watch:
                told.append(way)

        async def step(count: int, *lines: str) -> None:
            await asyncio.to_thread(here.ip, *lines)
            await until_async(lambda: len(told) == count, 5, f"{count} changes were told")

        listener = asyncio.get_running_loop().create_task(listen())
        await asyncio.sleep(0)
        await step(0, "addr add 10.1.1.1/32 dev lo", "route add 10.2.0.0/16 via 192.0.2.1")
        change = f"route replace default via 192.0.2.1 src {SECOND}"
        await step(1, f"addr add {SECOND}/24 dev eth0", change)
        await step(2, "route del default")
        await step(3, "route add default via 192.0.2.1")
        listener.cancel()

    inside(here, story)
    assert told == [Way("eth0", SECOND, "192.0.2.1"), None, Way("eth0", FIRST, "192.0.2.1")]


def test_another_gateway_address_is_no_change_of_the_network(here: Namespace) -> None:
    addresses = [GATEWAY]

    async def story() -> list[Way | None]:
        told: list[Way | None] = []
        watch = networks.Watch(lambda: addresses[0])
        await watch.begin()

        async def listen() -> None:
            async for way in watch:
                told.append(way)

        listener = asyncio.get_running_loop().create_task(listen())
        addresses[0] = GATEWAY_V6  # to which there is no way at all
        await asyncio.to_thread(here.ip, "addr add 10.1.1.1/32 dev lo")
        await asyncio.sleep(3 * networks.SETTLE_SECONDS)  # for nothing to be told
        listener.cancel()
        return told

    assert inside(here, story) == []


def rules(here: Namespace) -> str:
    return here.run(["ip", "rule"]).stdout + here.run(["ip", "-6", "rule"]).stdout


@pytest.mark.parametrize(("strictness", "needed"), [(0, False), (1, True), (2, False)])
def test_answers_to_a_probe_pass_a_strict_filter(here: Namespace, strictness: int, needed: bool) -> None:
    here.sysctl("net.ipv4.conf.all.rp_filter", 0)
    here.sysctl("net.ipv4.conf.eth0.rp_filter", strictness)

    async def story() -> str:
        async with networks.bypass(GATEWAY, "eth0", 5555):
            return await asyncio.to_thread(rules, here)

    before = rules(here)
    assert ("sport 5555 lookup main" in inside(here, story)) == needed
    assert rules(here) == before


def test_what_a_killed_client_has_left_is_swept_and_nothing_else(here: Namespace) -> None:
    before = rules(here)
    here.ip("rule add pref 199 to 203.0.113.9 lookup main")  # somebody else's
    others = rules(here)
    here.call(networks.keep_outside, [GATEWAY, GATEWAY_V6])
    here.call(lambda: networks._rule("add", str(GATEWAY), networks.BYPASS_PRIORITY, "5555:5555"))
    assert f"to {GATEWAY} lookup main" in rules(here)
    here.call(networks.sweep)
    assert rules(here) == others != before


def test_a_gateway_inside_its_own_tunnel_is_kept_outside(here: Namespace) -> None:
    # What charon does for a tunnel for everything, with kernel ESP.
    here.ip(
        "addr add 10.66.0.1/32 dev lo",
        "route add default via 192.0.2.1 dev eth0 src 10.66.0.1 table 220",
        "rule add pref 220 lookup 220",
    )
    tunnelled, other = here.call(networks.way_to, GATEWAY), ip_address("203.0.113.9")
    assert tunnelled is not None
    assert tunnelled.source == "10.66.0.1"
    here.call(networks.keep_outside, [GATEWAY])
    outside, inner = here.call(networks.way_to, GATEWAY), here.call(networks.way_to, other)
    assert outside is not None
    assert inner is not None
    assert (outside.source, inner.source) == (FIRST, "10.66.0.1")
    here.call(lambda: networks.keep_outside([GATEWAY], wanted=False))
    assert here.call(networks.way_to, GATEWAY) == tunnelled


def test_a_machine_without_a_route_is_said_to_have_none(here: Namespace) -> None:
    async def story() -> RungError:
        with pytest.raises(RungError) as caught:
            await probe_udp(GATEWAY_V6, 4500, seconds=5)
        return caught.value

    failure = inside(here, story).failure
    assert failure.why is Why.UNREACHABLE
    assert failure.sentence == f"UDP 4500: this machine has no route to {GATEWAY_V6}"


async def test_names_are_resolved_to_every_address_once() -> None:
    found = await networks.resolve("localhost")
    assert ip_address("127.0.0.1") in found or ip_address("::1") in found
    assert len(found) == len(set(found))
    assert await networks.resolve("2001:db8::7") == (ip_address("2001:db8::7"),)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_ping_is_answered_in_both_families(address: str) -> None:
    rtt = await ping(ip_address(address), ip_address(address), 2)
    assert rtt is not None
    assert 0 <= rtt < 2


def test_a_ping_that_nobody_answers_gives_up(here: Namespace) -> None:
    async def story() -> float | None:
        return await ping(ip_address(FIRST), GATEWAY, 0.5)

    assert inside(here, story) is None


@pytest.mark.parametrize(
    ("data", "expected"), [(b"\x00\x01\xf2\x03\xf4\xf5\xf6\xf7", 0x220D), (b"", 0xFFFF), (b"\x01", 0xFEFF)]
)
def test_the_checksum_is_that_of_rfc_1071(data: bytes, expected: int) -> None:
    assert checksum(data) == expected
