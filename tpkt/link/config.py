# SPDX-License-Identifier: Apache-2.0
"""What a link is asked to be: frozen, and whole or refused. Looks at nothing outside the values given."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from tpkt.link.errors import LinkError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DEFAULT_POOL4 = IPv4Network("198.18.0.0/15")  # for benchmarks (RFC 2544): routed nowhere
LOWEST_MTU = 1280  # what IPv6 asks of every link (RFC 8200 5)
HIGHEST_MTU = 65535
SMALLEST_POOL = 32  # the pump keeps the first 16 addresses for the link's own use
_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,47}")
_DEVICE = re.compile(r"[A-Za-z0-9_.-]{1,15}")  # IFNAMSIZ, and safe as a path below /proc/sys


def _check_common(instance: str, device: str, mtu: int) -> None:
    if not _INSTANCE.fullmatch(instance):
        raise LinkError(f"instance {instance!r}: not a name; use up to 48 letters, digits, '-', '_' and '.'")
    if not _DEVICE.fullmatch(device) or device in {".", "..", "all", "default"}:
        raise LinkError(
            f"device {device!r}: not a device name; use up to 15 letters, digits, '-', '_' and '.'"
        )
    if not LOWEST_MTU <= mtu <= HIGHEST_MTU:
        raise LinkError(f"mtu {mtu}: out of range; choose {LOWEST_MTU} to {HIGHEST_MTU}")


def _usable(address: Address) -> bool:
    """Tell whether a packet may carry `address` as a peer's, seen from another host."""
    mapped = isinstance(address, IPv6Address) and address.ipv4_mapped is not None
    broadcast = address == IPv4Address("255.255.255.255")
    special = address.is_multicast or address.is_unspecified or address.is_loopback or address.is_link_local
    return not (mapped or broadcast or special)


@dataclass(frozen=True, kw_only=True)
class GatewayLinkConfig:
    """The gateway's link: each TCP connection gets an address of a pool and arrives on `device` under it."""

    instance: str = "default"
    device: str = "eseg0"
    pool4: IPv4Network = DEFAULT_POOL4
    pool6: IPv6Network | None = None
    mtu: int = 1500

    def __post_init__(self) -> None:
        """Refuse what cannot work anywhere. Raises LinkError."""
        _check_common(self.instance, self.device, self.mtu)
        for pool in self.pools:
            if pool.num_addresses < SMALLEST_POOL:
                raise LinkError(f"pool {pool}: too small; give it at least {SMALLEST_POOL} addresses")
            if not (_usable(pool[1]) and _usable(pool[-2])):
                raise LinkError(f"pool {pool}: not unicast addresses; choose a network that nobody routes")

    @property
    def pools(self) -> tuple[Network, ...]:
        """The pools there are."""
        return (self.pool4,) if self.pool6 is None else (self.pool4, self.pool6)


@dataclass(frozen=True, kw_only=True)
class ClientLinkConfig:
    """The client's link: IKE and ESP to `gateways` enters `device` while it is diverted there."""

    instance: str = "default"
    device: str = "tric0"
    gateways: tuple[Address, ...]
    table: int = 4500  # the first free routing table from here on is used
    mark: int = 0x4500  # of outgoing kernel ESP; mark + 1 is put on what arrives on the device
    mtu: int = 1500

    def __post_init__(self) -> None:
        """Refuse what cannot work anywhere. Raises LinkError."""
        _check_common(self.instance, self.device, self.mtu)
        if not self.gateways:
            raise LinkError("gateways: none given; name at least one address of the gateway")
        for gateway in self.gateways:
            if not _usable(gateway):
                raise LinkError(
                    f"gateway {gateway}: not a unicast address that a gateway can have; correct it"
                )
        if len(set(self.gateways)) != len(self.gateways):
            raise LinkError("gateways: an address is given twice; give each once")
        if not 256 <= self.table < 2**31:
            raise LinkError(f"table {self.table}: out of range; choose 256 or more (lower ones have owners)")
        if not 0 < self.mark < 2**32 - 1:
            raise LinkError(f"mark {self.mark:#x}: out of range; choose 1 to 0xfffffffe")
