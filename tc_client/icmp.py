# SPDX-License-Identifier: Apache-2.0
"""Turns the errors of a socket into sentences: who refused, and how (ICMP, RFC 792, 4443, 1812 5.2.7.1).

A UDP socket that `listen`s hears of every ICMP error about what it has sent, with the address of the box
that sent it; without that the kernel passes on only some of them. Knows no protocol above UDP and TCP.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address

from tc_client.rungs import Failure, Why

Address = IPv4Address | IPv6Address

# linux/in.h, linux/in6.h, linux/errqueue.h; Python's socket module has no names for them.
IP_RECVERR, IPV6_RECVERR = 11, 25
ORIGIN_ICMP, ORIGIN_ICMP6 = 2, 3
_EXTENDED_ERROR = struct.Struct("=IBBBxII")  # struct sock_extended_err; the offender's sockaddr follows

REFUSALS = {  # origin, type, code
    (ORIGIN_ICMP, 3, 0): (Why.UNREACHABLE, "network unreachable"),
    (ORIGIN_ICMP, 3, 1): (Why.UNREACHABLE, "host unreachable"),
    (ORIGIN_ICMP, 3, 2): (Why.REFUSED, "protocol unreachable"),
    (ORIGIN_ICMP, 3, 3): (Why.REFUSED, "port unreachable"),
    (ORIGIN_ICMP, 3, 9): (Why.REFUSED, "network administratively prohibited"),
    (ORIGIN_ICMP, 3, 10): (Why.REFUSED, "host administratively prohibited"),
    (ORIGIN_ICMP, 3, 13): (Why.REFUSED, "communication administratively prohibited"),
    (ORIGIN_ICMP6, 1, 0): (Why.UNREACHABLE, "no route"),
    (ORIGIN_ICMP6, 1, 1): (Why.REFUSED, "communication administratively prohibited"),
    (ORIGIN_ICMP6, 1, 3): (Why.UNREACHABLE, "address unreachable"),
    (ORIGIN_ICMP6, 1, 4): (Why.REFUSED, "port unreachable"),
    (ORIGIN_ICMP6, 1, 5): (Why.REFUSED, "source address failed policy"),
    (ORIGIN_ICMP6, 1, 6): (Why.REFUSED, "route is one that rejects"),
}
LOCAL_ERRORS = {
    errno.ENETUNREACH: (Why.UNREACHABLE, "this machine has no route to {address}"),
    errno.EHOSTUNREACH: (Why.UNREACHABLE, "{address} is unreachable"),
    errno.EADDRNOTAVAIL: (Why.UNREACHABLE, "this machine has no address to reach {address} from"),
    errno.ENODEV: (Why.UNREACHABLE, "the network device is gone"),
    errno.ENETDOWN: (Why.UNREACHABLE, "the network device is down"),
    errno.ECONNREFUSED: (Why.REFUSED, "{address} refuses it"),
    errno.ECONNRESET: (Why.RESET, "{address} resets it"),
    errno.EPERM: (Why.REFUSED, "a firewall on this machine refuses it"),
    errno.EACCES: (Why.REFUSED, "administratively prohibited"),
    errno.ETIMEDOUT: (Why.SILENT, "no answer"),
}


def listen(sock: socket.socket, address: Address, *, wanted: bool = True) -> None:
    """Ask the kernel to report, or no longer, every ICMP error about what `sock` sends."""
    if address.version == 4:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, wanted)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, wanted)


def explain(sock: socket.socket, error: OSError, name: str, address: Address) -> Failure:
    """Say why `sock`, which `name`s what was tried towards `address`, failed with `error`."""
    refusal = _from_queue(sock)
    if refusal is not None:
        return Failure(refusal[0], f"{name}: {refusal[1]}")
    number = error.errno or 0
    why, sentence = LOCAL_ERRORS.get(number, (Why.UNREACHABLE, os.strerror(number)))
    return Failure(why, f"{name}: {sentence.format(address=address)}")


def _from_queue(sock: socket.socket) -> tuple[Why, str] | None:
    """Read the queue of errors empty; give the first that an ICMP message brought."""
    found = None
    with contextlib.suppress(OSError):  # it ends with "nothing there", or the socket is closed
        while True:
            _, ancillary, _, _ = sock.recvmsg(0, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
            for _, _, data in ancillary:
                found = found or _read(data)
    return found


def _read(data: bytes) -> tuple[Why, str] | None:
    if len(data) < _EXTENDED_ERROR.size:
        return None
    number, origin, kind, code, _, _ = _EXTENDED_ERROR.unpack_from(data)
    if origin not in (ORIGIN_ICMP, ORIGIN_ICMP6):
        return None
    default = (Why.UNREACHABLE, os.strerror(number))
    why, words = REFUSALS.get((origin, kind, code), default)
    offender = _offender(data[_EXTENDED_ERROR.size :])
    verb = "refuses it" if why is Why.REFUSED else "reports it"
    return why, f"{offender or 'a box on the way'} {verb} (ICMP {words})"


def _offender(sockaddr: bytes) -> str | None:
    if len(sockaddr) < 8:
        return None
    family = int.from_bytes(sockaddr[:2], sys.byteorder)
    if family == socket.AF_INET:
        return str(ip_address(sockaddr[4:8]))
    if family == socket.AF_INET6 and len(sockaddr) >= 24:
        return str(ip_address(sockaddr[8:24]))
    return None
