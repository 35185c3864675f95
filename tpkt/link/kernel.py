# SPDX-License-Identifier: Apache-2.0
"""What the kernel is told and asked, as typed calls: the only importer of pyroute2 in this room.

A Kernel speaks to the network namespace of the thread that made it. Refusals are OSErrors. Routes and rules
made here carry PROTOCOL, so that what is ours can be told from what is not. Knows no roles.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any, Self

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from tpkt.link.config import Address, Network
from tpkt.link.sysctl import has_ipv6

PROTOCOL = 69  # of routes and rules; no routing daemon has it (iproute2's rt_protos)
MAIN_TABLE = 254
LOCAL_TABLE = 255
RTN_LOCAL = 2
FR_ACT_TO_TBL = 1
CLSACT_INGRESS = 0xFFFFFFF2
UDP = socket.IPPROTO_UDP


@dataclass(frozen=True, slots=True)
class Device:
    """A network device as the kernel describes it."""

    index: int
    name: str
    alias: str
    up: bool
    mtu: int


@dataclass(frozen=True, slots=True)
class Route:
    """A route as the kernel describes it."""

    destination: Network
    table: int
    index: int
    protocol: int
    local: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of ours: packets to `to`, of UDP `port` or with `mark`, look into `table`."""

    to: Address
    table: int
    priority: int
    port: int | None = None
    mark: int | None = None


@contextmanager
def _as_oserror() -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        raise OSError(error.code, os.strerror(error.code)) from error


class Kernel:
    """One conversation over netlink; a context manager."""

    def __init__(self) -> None:
        """Begin the conversation, in the namespace of the calling thread."""
        self._ip = IPRoute()

    def __enter__(self) -> Self:
        """Give the conversation."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._ip.close()

    # Devices

    def devices(self) -> list[Device]:
        """Give all devices."""
        with _as_oserror():
            return [
                Device(
                    link["index"],
                    link.get_attr("IFLA_IFNAME"),
                    link.get_attr("IFLA_IFALIAS") or "",
                    bool(link["flags"] & 1),  # IFF_UP
                    link.get_attr("IFLA_MTU"),
                )
                for link in self._ip.get_links()
            ]

    def device(self, name: str) -> Device | None:
        """Give the device called `name`, if there is one."""
        return next((device for device in self.devices() if device.name == name), None)

    def add_veth(
        self, name: str, mac: str, peer: str, peer_mac: str, *, peer_namespace: int, mtu: int
    ) -> int:
        """Make a cable from here to the namespace behind the descriptor; give the index of the near end."""
        far = {"ifname": peer, "net_ns_fd": peer_namespace, "mtu": mtu, "address": peer_mac}
        with _as_oserror():
            self._ip.link("add", ifname=name, kind="veth", mtu=mtu, address=mac, peer=far)
        return self.index(name)

    def index(self, name: str) -> int:
        """Give the index of a device that must be there. Raises OSError."""
        device = self.device(name)
        if device is None:
            raise OSError(errno.ENODEV, f"no device {name}")
        return device.index

    def change_device(self, index: int, *, alias: str | None = None, up: bool = False) -> None:
        """Give a device an alias, switch it on."""
        wanted: dict[str, Any] = {} if alias is None else {"ifalias": alias}
        with _as_oserror():
            self._ip.link("set", index=index, **wanted, **({"state": "up"} if up else {}))

    def transmits(self, index: int) -> bool:
        """Tell whether a device that is up takes packets yet, not only has its other end.

        Until the kernel's link watch has run, some milliseconds after the other end came up and much later on
        a busy machine, it drops them all. To ask for this one device makes newer kernels run it at once.
        """
        with _as_oserror():
            (link,) = self._ip.get_links(index)
            return bool(link.get_attr("IFLA_QDISC") != "noop")

    def delete_device(self, index: int) -> None:
        """Remove a device, and with it its other end, its routes, neighbours and filters."""
        with _as_oserror():
            self._ip.link("del", index=index)

    def mark_ingress(self, index: int, program: int, name: str) -> None:
        """Run the classifier behind the descriptor `program` on what arrives on a device."""
        with _as_oserror():
            self._ip.tc("add", "clsact", index=index)
            self._ip.tc(
                "add-filter",
                "bpf",
                index=index,
                fd=program,
                name=name,
                parent=CLSACT_INGRESS,
                classid=1,
                direct_action=True,
            )

    def has_ingress_filter(self, index: int) -> bool:
        """Tell whether a classifier looks at what arrives on a device."""
        with _as_oserror():
            return any(True for _ in self._ip.get_filters(index=index, parent=CLSACT_INGRESS))

    # Addresses of others

    def add_neighbour(self, address: Address, mac: str, index: int) -> None:
        """Tell for good where `address` is, so that nobody ever has to ask."""
        with _as_oserror():
            self._ip.neigh("replace", dst=str(address), lladdr=mac, ifindex=index, state="permanent")

    # Routes

    def add_route(
        self,
        destination: Network,
        index: int,
        *,
        via: Address | None = None,
        table: int = MAIN_TABLE,
        onlink: bool = False,
        scope: str = "universe",
    ) -> None:
        """Add a unicast route; EEXIST when there is one to this destination already."""
        wanted: dict[str, Any] = {"dst": str(destination), "oif": index, "table": table, "proto": PROTOCOL}
        wanted["family"] = _family(destination)
        if via is not None:
            wanted["gateway"] = str(via)
        if onlink:
            wanted["flags"] = ["onlink"]
        if destination.version == 4:  # IPv6 has no scopes of routes
            wanted["scope"] = scope
        with _as_oserror():
            self._ip.route("add", **wanted)

    def add_local(self, destination: Network, index: int) -> None:
        """Make every address of a network one of this machine (AnyIP)."""
        with _as_oserror():
            self._ip.route(
                "add",
                dst=str(destination),
                family=_family(destination),
                oif=index,
                table=LOCAL_TABLE,
                proto=PROTOCOL,
                type="local",
                **({"scope": "host"} if destination.version == 4 else {}),
            )

    def routes(self) -> list[Route]:
        """Give all routes of all tables, in both families."""
        return [route for family in families() for route in self._routes(family)]

    def _routes(self, family: socket.AddressFamily) -> Iterator[Route]:
        with _as_oserror():
            for route in self._ip.get_routes(family=family):
                anywhere = "0.0.0.0" if family == socket.AF_INET else "::"  # noqa: S104 - a destination
                destination = f"{route.get_attr('RTA_DST') or anywhere}/{route['dst_len']}"
                yield Route(
                    ip_network(destination, strict=False),
                    route.get_attr("RTA_TABLE") or route["table"],
                    route.get_attr("RTA_OIF") or 0,
                    route["proto"],
                    route["type"] == RTN_LOCAL,
                )

    # Rules

    def change_rule(self, command: str, rule: Rule) -> None:
        """Do `command` ("add", "del") with a rule; EEXIST and ENOENT tell that there was nothing to do."""
        wanted: dict[str, Any] = {
            "family": _family(rule.to),
            "dst": str(rule.to),
            "dst_len": rule.to.max_prefixlen,
            "table": rule.table,
            "priority": rule.priority,
            "protocol": PROTOCOL,
        }
        if rule.port is not None:
            wanted |= {"ip_proto": UDP, "dport_range": f"{rule.port}:{rule.port}"}
        if rule.mark is not None:
            wanted |= {"fwmark": rule.mark, "fwmask": 0xFFFFFFFF}
        with _as_oserror():
            self._ip.rule(command, **wanted)

    def rules(self) -> list[Rule]:
        """Give all rules of ours, whichever instance made them."""
        found = []
        for rule in self._rules():
            to = rule.get_attr("FRA_DST")
            if rule.get_attr("FRA_PROTOCOL") != PROTOCOL or rule["action"] != FR_ACT_TO_TBL or to is None:
                continue
            ports = rule.get_attr("FRA_DPORT_RANGE")
            found.append(
                Rule(
                    ip_address(to),
                    rule.get_attr("FRA_TABLE"),
                    rule.get_attr("FRA_PRIORITY") or 0,
                    int(ports.partition(":")[0]) if ports else None,
                    rule.get_attr("FRA_FWMARK"),
                )
            )
        return found

    def tables_in_use(self) -> set[int]:
        """Give the tables that a route is in or a rule leads to."""
        led_to = {rule.get_attr("FRA_TABLE") or rule["table"] for rule in self._rules()}
        return led_to | {route.table for route in self.routes()}

    def _rules(self) -> list[Any]:
        with _as_oserror():
            return [
                rule
                for family in families()
                for rule in self._ip.get_rules(family=family)
                if rule["family"] == family  # multicast rules are listed with the rest
            ]


def _family(what: Address | Network) -> socket.AddressFamily:
    return socket.AF_INET if what.version == 4 else socket.AF_INET6


def families() -> tuple[socket.AddressFamily, ...]:
    """Give the families this kernel has."""
    return (socket.AF_INET, socket.AF_INET6) if has_ipv6() else (socket.AF_INET,)
