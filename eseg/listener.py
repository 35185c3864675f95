# SPDX-License-Identifier: Apache-2.0
"""Whether the configured addresses and ports can be listened on, and who has those that cannot.

The pump shares ports among its own workers (SO_REUSEPORT), so the system would let a second daemon of the
same user listen beside it without a word; asking first, without that option, finds it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from eseg.config import Listen
from eseg.ranges import Address, port_text
from tpkt.daemon.checks import Problem

LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp


def unusable(listeners: Iterable[Listen], held: Collection[tuple[str, int]] = ()) -> Iterator[Problem]:
    """Yield what is wrong with each listener that could not be opened now; `held` ones are open already."""
    for index, listen in enumerate(listeners):
        if (str(ip_address(listen.address)), listen.port) in held:
            continue
        try:
            _bind(ip_address(listen.address), listen.port)
        except OSError as error:
            yield _explain(f"listen[{index}]", listen, error)


def _bind(address: Address, port: int) -> None:
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the pump does: connections of a predecessor in TIME_WAIT keep nobody out.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.version == 6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind((str(address), port))


def _explain(key: str, listen: Listen, error: OSError) -> Problem:
    where = port_text(listen.address, listen.port)
    if error.errno == errno.EADDRINUSE:
        owner = holder(ip_address(listen.address), listen.port)
        by = f" by {owner}" if owner else ""
        return Problem(f"{key}.port", f"{where} is in use{by}", "stop it, or choose another port")
    if error.errno == errno.EADDRNOTAVAIL:
        cure = "add it to an interface, or write 0.0.0.0 or :: for all"
        return Problem(f"{key}.address", f"{listen.address} is not an address of this machine", cure)
    if error.errno in (errno.EACCES, errno.EPERM):
        return Problem(f"{key}.port", f"no right to listen on {where}", "run it as root")
    return Problem(key, f"cannot listen on {where} ({os.strerror(error.errno or 0)})", "see `eseg doctor`")


def holder(address: Address, port: int) -> str | None:
    """Name the process that listens on `port` where `address` would collide with it; None when unknown."""
    inodes = set(_listening(address, port))
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if any(os.readlink(descriptor) in wanted for descriptor in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                return f"{name} (pid {process.name})"
        except OSError:  # it ended meanwhile, or belongs to somebody else and we are not root
            continue
    return None


def _listening(address: Address, port: int) -> Iterator[str]:
    """Yield the inodes of sockets that listen on `port` and whose address collides with `address`."""
    for table in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            local, state, inode = fields[1], fields[3], fields[9]
            text, _, number = local.partition(":")
            if state != LISTENING or int(number, 16) != port:
                continue
            other = _address(text)
            if other == address or other.is_unspecified or address.is_unspecified:
                yield inode


def _address(text: str) -> Address:
    """Read an address of /proc/net/tcp: words of 32 bits, each in the byte order of the machine."""
    raw = bytes.fromhex(text)
    packed = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    found = ip_address(packed)
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
