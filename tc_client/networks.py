# SPDX-License-Identifier: Apache-2.0
"""The way to the gateway: which device and source address, and when that changes.

The kernel's notices of addresses, routes and rules only say that something changed; what it means is asked
of the kernel. Routing rules of ours for IKE and ESP do not count: the question names no ports.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
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


async def changes(address: Callable[[], Address | None]) -> AsyncIterator[Way | None]:
    """Give the way to `address` (asked anew each time) whenever it has become another one, for ever."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as notices:
        notices.setblocking(False)
        notices.bind((0, GROUPS))
        known: tuple[Address | None, Way | None] = (None, None)
        while True:
            target = address()
            now = (target, await asyncio.to_thread(way_to, target) if target else None)
            changed = now[0] == known[0] and now[1] != known[1]
            known = now
            if changed:
                yield now[1]
            await _wait(loop, notices)


async def _wait(loop: asyncio.AbstractEventLoop, notices: socket.socket) -> None:
    # When there were more notices than the socket holds (ENOBUFS) that is a notice, too.
    with contextlib.suppress(OSError):
        await loop.sock_recv(notices, MAX_NOTICE)
    await asyncio.sleep(SETTLE_SECONDS)
    with contextlib.suppress(OSError):
        while True:
            notices.recv(MAX_NOTICE)


@contextlib.asynccontextmanager
async def bypass(address: Address, device: str, port: int) -> AsyncIterator[None]:
    """Let answers to a UDP probe from our `port` pass `device`'s reverse-path filter, while we divert.

    A strict filter asks how a reply would leave, and the link's rules would say: through the link. Where the
    filter is not strict nothing is done.
    """
    if address.version == 6 or _strictness(device) != STRICT:
        yield
        return
    await asyncio.to_thread(_rule, "add", str(address), f"{port}:{port}")
    try:
        yield
    finally:
        await asyncio.shield(asyncio.to_thread(_rule, "del", str(address), f"{port}:{port}"))


def sweep() -> None:
    """Remove what `bypass` left when its process was killed."""
    with IPRoute() as kernel:
        rules = list(kernel.get_rules(family=socket.AF_INET))
    for rule in rules:
        ours = rule.get_attr("FRA_PROTOCOL") == OUR_PROTOCOL
        if ours and rule.get_attr("FRA_PRIORITY") == BYPASS_PRIORITY:
            _rule("del", rule.get_attr("FRA_DST"), rule.get_attr("FRA_SPORT_RANGE"))


def _rule(command: str, address: str, ports: str) -> None:
    """Add or delete one rule; that it is there, or gone, already is no failure."""
    with IPRoute() as kernel, contextlib.suppress(NetlinkError):
        kernel.rule(
            command,
            family=socket.AF_INET,
            dst=address,
            dst_len=32,
            ip_proto=socket.IPPROTO_UDP,
            sport_range=ports,
            table=MAIN_TABLE,
            priority=BYPASS_PRIORITY,
            protocol=OUR_PROTOCOL,
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
