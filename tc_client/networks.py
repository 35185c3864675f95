# SPDX-License-Identifier: Apache-2.0
"""The way to the gateway: which device and source address, and when that changes.

The kernel's notices of addresses, routes and rules only say that something changed; what it means is asked
of the kernel. Routing rules of ours for IKE and ESP do not count: the question names no ports.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

Address = IPv4Address | IPv6Address

# linux/rtnetlink.h: RTMGRP_LINK | IPV4_IFADDR | IPV4_ROUTE | IPV6_IFADDR | IPV6_ROUTE
GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
# A device that comes up brings a dozen notices: look once they have settled.
SETTLE_SECONDS = 0.2
MAX_NOTICE = 65_536

OUR_PROTOCOL = 69  # of routing rules; the link's are marked by it too
BYPASS_PRIORITY = 199  # before the link's rules
OUTSIDE_PRIORITY = 201  # behind them, and before charon's (220)
MAIN_TABLE = 254
STRICT = 1


@dataclass(frozen=True, slots=True)
class Way:
    """How packets leave for the gateway."""

    device: str
    source: str
    via: str | None

    def __str__(self) -> str:
        """Give it as a person says it."""
        through = f" via {self.via}" if self.via else ""
        return f"{self.device}{through} from {self.source}"


def way_to(address: Address) -> Way | None:
    """Ask the kernel how packets to `address` leave; None when they cannot."""
    with IPRoute() as kernel:
        try:
            found = kernel.route("get", dst=str(address), family=_family(address))
        except NetlinkError:
            return None
        for route in found:
            index = route.get_attr("RTA_OIF")
            source = route.get_attr("RTA_PREFSRC")
            if index and source:
                [link] = kernel.get_links(index)
                return Way(link.get_attr("IFLA_IFNAME"), source, route.get_attr("RTA_GATEWAY"))
    return None


class Watch:
    """An endless `async for` over changes of the way to an address that may itself become another one."""

    def __init__(self, address: Callable[[], Address | None]) -> None:
        """Watch the way to what `address` gives, asked anew each time."""
        self._address = address
        self._known: tuple[Address | None, Way | None] = (None, None)

    async def begin(self) -> None:
        """Take the way as it is now for granted: the address has been chosen on this network."""
        self._known = await self._look()

    async def _look(self) -> tuple[Address | None, Way | None]:
        address = self._address()
        return address, await asyncio.to_thread(way_to, address) if address else None

    async def __aiter__(self) -> AsyncIterator[Way | None]:
        """Give the way whenever it has become another one."""
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as notices:
            notices.setblocking(False)
            notices.bind((0, GROUPS))
            loop.add_reader(notices, news.set)
            try:
                while True:
                    await news.wait()
                    await asyncio.sleep(SETTLE_SECONDS)
                    news.clear()
                    _drain(notices)
                    now = await self._look()
                    self._known, before = now, self._known
                    if now[0] == before[0] and now[1] != before[1]:
                        yield now[1]
            finally:
                loop.remove_reader(notices)


def _drain(notices: socket.socket) -> None:
    """Throw notices away until there are none; that some were lost (ENOBUFS) is one of them."""
    while True:
        try:
            notices.recv(MAX_NOTICE)
        except BlockingIOError:
            return
        except OSError:
            continue


@contextlib.asynccontextmanager
async def bypass(address: Address, device: str, port: int) -> AsyncIterator[None]:
    """Let answers to a UDP probe from our `port` pass `device`'s reverse-path filter, while we divert.

    A strict filter asks how a reply would leave, and the link's rules would say: through the link. Where the
    filter is not strict nothing is done.
    """
    if address.version == 6 or _strictness(device) != STRICT:
        yield
        return
    await asyncio.to_thread(_rule, "add", str(address), BYPASS_PRIORITY, f"{port}:{port}")
    try:
        yield
    finally:
        delete = asyncio.to_thread(_rule, "del", str(address), BYPASS_PRIORITY, f"{port}:{port}")
        await asyncio.shield(delete)


def keep_outside(addresses: Iterable[Address], *, wanted: bool = True) -> None:
    """Have everything to `addresses` that we do not divert leave by the main table, or no longer.

    For a tunnel whose selectors cover the gateway itself: charon's table 220 would give a connection to the
    gateway an inner source address, and with it a place inside the tunnel that it is meant to carry.
    """
    for address in addresses:
        _rule("add" if wanted else "del", str(address), OUTSIDE_PRIORITY)


def sweep() -> None:
    """Remove what a process that was killed has left."""
    with IPRoute() as kernel:
        rules = [*kernel.get_rules(family=socket.AF_INET), *kernel.get_rules(family=socket.AF_INET6)]
    for rule in rules:
        priority = rule.get_attr("FRA_PRIORITY")
        ours = rule.get_attr("FRA_PROTOCOL") == OUR_PROTOCOL
        if ours and priority in (BYPASS_PRIORITY, OUTSIDE_PRIORITY):
            _rule("del", rule.get_attr("FRA_DST"), priority, rule.get_attr("FRA_SPORT_RANGE"))


def _rule(command: str, address: str, priority: int, ports: str | None = None) -> None:
    """Add or delete one rule; that it is there, or gone, already is no failure."""
    version = ip_address(address).version
    narrower = {"ip_proto": socket.IPPROTO_UDP, "sport_range": ports} if ports else {}
    with IPRoute() as kernel, contextlib.suppress(NetlinkError):
        kernel.rule(
            command,
            family=socket.AF_INET if version == 4 else socket.AF_INET6,
            dst=address,
            dst_len=32 if version == 4 else 128,
            table=MAIN_TABLE,
            priority=priority,
            protocol=OUR_PROTOCOL,
            **narrower,
        )


def _strictness(device: str) -> int:
    """The reverse-path filter that holds for `device`: the larger of its own and the one for all."""
    values = [0]
    for name in ("all", device):
        with contextlib.suppress(OSError, ValueError):
            values.append(int(Path(f"/proc/sys/net/ipv4/conf/{name}/rp_filter").read_text()))
    return max(values)


def _family(address: Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


async def resolve(name: str) -> tuple[Address, ...]:
    """Give the addresses of `name`, in the order in which the resolver prefers them. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    addresses: dict[Address, None] = {}
    for family, _, _, _, sockaddr in found:
        if family == socket.AF_INET:
            addresses[IPv4Address(sockaddr[0])] = None
        elif family == socket.AF_INET6:
            addresses[IPv6Address(str(sockaddr[0]).partition("%")[0])] = None
    return tuple(addresses)
