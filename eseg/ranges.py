# SPDX-License-Identifier: Apache-2.0
"""Addresses, networks and ranges as operators write them. What is wrong comes back as a sentence."""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import NamedTuple

Address = IPv4Address | IPv6Address


class Range(NamedTuple):
    """The addresses from `first` to `last`, written as `text` under `key` of the configuration."""

    key: str
    text: str
    first: Address
    last: Address

    def overlaps(self, other: Range) -> bool:
        """Whether any address is in both."""
        if self.first.version != other.first.version:
            return False
        return int(self.first) <= int(other.last) and int(other.first) <= int(self.last)

    def contains(self, address: str) -> bool:
        """Whether `address` is in it; what is no address is not."""
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return self.overlaps(Range("", address, found, found))


def network(text: str) -> IPv4Network | IPv6Network | str:
    """Read a network, or say what is wrong with it."""
    try:
        return ip_network(text)
    except ValueError as error:
        return str(error)


def pool_range(key: str, text: str) -> Range | str:
    """Read "10.66.0.0/16" or "10.66.0.10-10.66.0.200" as charon does, or say what is wrong with it."""
    first, dash, last = text.partition("-")
    if not dash:
        found = network(text)
        return found if isinstance(found, str) else Range(key, text, found[0], found[-1])
    try:
        low, high = ip_address(first.strip()), ip_address(last.strip())
    except ValueError as error:
        return str(error)
    if low.version != high.version or int(low) > int(high):
        return f"{text} does not run from a lower to a higher address"
    return Range(key, text, low, high)


def endpoint(text: str) -> tuple[str, int] | None:
    """Read "127.0.0.1:9464" or "[::1]:9464"; None when it is neither."""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host.strip("[]") if bracketed else host)
    except ValueError:
        return None
    if (address.version == 6) != bracketed or not port.isascii() or not port.isdigit():
        return None
    return (str(address), int(port)) if 1 <= int(port) <= 65535 else None


def port_text(address: str, port: int) -> str:
    """Write address and port as operators read them: 198.51.100.2:80, [2001:db8::1]:80."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
