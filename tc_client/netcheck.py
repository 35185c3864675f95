# SPDX-License-Identifier: Apache-2.0
"""Asks every way to a gateway at the same time, without an account there and without root here.

Sends what `tc_client.probes` sends and nothing else; connections that IKE answered on are closed again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

import msgspec

from tc_client import networks
from tc_client.probes import open_tcp, probe_stream, probe_udp
from tc_client.rungs import Failure, RungError, Why
from tc_client.verdict import Check, Verdict, judge

Address = IPv4Address | IPv6Address

UDP_PORTS = (4500, 500)
SECONDS = 3.0
LOOPBACK = "lo"


class Netcheck(msgspec.Struct, frozen=True, kw_only=True):
    """One gateway address: its checks and the verdict."""

    gateway: str
    address: str
    way: str | None
    checks: tuple[Check, ...]
    verdict: Verdict


async def examine(gateway: str, tcp_ports: Sequence[int], seconds: float = SECONDS) -> list[Netcheck]:
    """Check each address of `gateway`. Raises RungError when it has none."""
    try:
        addresses = await networks.resolve(gateway)
    except OSError as error:
        sentence = (
            f"{gateway}: the name has no address ({error.strerror}); check it, and the DNS of this network"
        )
        raise RungError(Failure(Why.NO_ADDRESS, sentence)) from None
    return [await _examine(gateway, address, tcp_ports, seconds) for address in addresses]


async def _examine(gateway: str, address: Address, tcp_ports: Sequence[int], seconds: float) -> Netcheck:
    way = await asyncio.to_thread(networks.way_to, address)
    # A running client may have led UDP into its link: the device is where the network begins.
    device = way.device if way is not None and way.device != LOOPBACK else None
    checks = tuple(
        await asyncio.gather(
            *(_ask_udp(address, port, seconds, device) for port in UDP_PORTS),
            *(_ask_tcp(address, port, seconds) for port in tcp_ports),
        )
    )
    return Netcheck(
        gateway=gateway,
        address=str(address),
        way=str(way) if way else None,
        checks=checks,
        verdict=judge(checks),
    )


async def _ask_udp(address: Address, port: int, seconds: float, device: str | None) -> Check:
    try:
        answer = await probe_udp(address, port, seconds=seconds, device=device)
    except RungError as error:
        return Check(f"UDP {port}", "udp", port, failure=error.failure)
    return Check(f"UDP {port}", "udp", port, rtt=answer.rtt, answer=answer.meaning)


async def _ask_tcp(address: Address, port: int, seconds: float) -> Check:
    name, connects, loop = f"TCP {port}", False, asyncio.get_running_loop()
    end = loop.time() + seconds
    try:
        sock = await open_tcp(address, port, seconds=seconds)
        connects = True
        stream = await probe_stream(sock, name, seconds=max(0.1, end - loop.time()))
    except RungError as error:
        return Check(name, "tcp", port, failure=error.failure, connects=connects)
    stream.sock.close()
    answer = stream.answer
    return Check(name, "tcp", port, rtt=answer.rtt, answer=answer.meaning, connects=True)
