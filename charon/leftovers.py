# SPDX-License-Identifier: Apache-2.0
"""Removes what a charon that was killed has left in the kernel, before the next one starts.

Userspace ESP goes with its TUN device. Kernel ESP stays: SAs until their hard lifetime, policies, routes and
inner addresses for ever; and a policy without its SA swallows traffic. What is removed is what only a charon
on our NAT-T port can have made: SAs in UDP of that port, the policies that use them (by reqid), the routes in
charon's own table, and the addresses its script has noted. To be called when nobody has that port.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from charon.probe import run

CHARON_TABLE: Final = 220  # strongSwan's default, which nobody else uses
_STATE: Final = re.compile(r"^src (\S+) dst (\S+)\s+proto esp spi (0x[0-9a-f]+)(?:\(\d+\))? reqid (\d+)")
_POLICY: Final = re.compile(r"^src (\S+) dst (\S+)")


@dataclass(frozen=True, slots=True)
class State:
    """An SA of the kernel."""

    source: str
    destination: str
    spi: str
    reqid: int


def remove_xfrm(nat_port: int, netns: Path | None) -> int:
    """Remove the SAs in UDP of `nat_port` and their policies; give how many SAs there were."""
    states = list(our_states(run(["ip", "xfrm", "state", "list"], netns).stdout, nat_port))
    reqids = {state.reqid for state in states}
    for policy in our_policies(run(["ip", "xfrm", "policy", "list"], netns).stdout, reqids):
        run(["ip", "xfrm", "policy", "delete", *policy.split()], netns)
    for state in states:
        what = f"src {state.source} dst {state.destination} proto esp spi {state.spi}"
        run(["ip", "xfrm", "state", "delete", *what.split()], netns)
    return len(states)


def remove_routes(netns: Path | None) -> None:
    """Empty charon's routing table."""
    for family in ("-4", "-6"):
        run(["ip", family, "route", "flush", "table", str(CHARON_TABLE)], netns)


def remove_addresses(addresses: tuple[str, ...], device: str, netns: Path | None) -> None:
    """Remove inner addresses from `device`; those that are not there are no matter."""
    for address in addresses:
        length = 128 if ":" in address else 32
        run(["ip", "address", "delete", f"{address}/{length}", "dev", device], netns)


def our_states(listing: str, nat_port: int) -> Iterator[State]:
    """Read `ip xfrm state`: the SAs whose local or remote encapsulation port is ours."""
    for block in _blocks(listing):
        match = _STATE.match(block)
        ports = re.search(r"encap type espinudp sport (\d+) dport (\d+)", block)
        if match and ports and str(nat_port) in ports.groups():
            yield State(match[1], match[2], match[3], int(match[4]))


def our_policies(listing: str, reqids: set[int]) -> Iterator[str]:
    """Read `ip xfrm policy`: the selectors and directions of the policies that use one of `reqids`."""
    for block in _blocks(listing):
        match = _POLICY.match(block)
        direction = re.search(r"^dir (in|out|fwd)", block, re.MULTILINE)
        used = {int(reqid) for reqid in re.findall(r"\breqid (\d+)", block)}
        if match and direction and used & reqids:
            yield f"src {match[1]} dst {match[2]} dir {direction[1]}"


def _blocks(listing: str) -> Iterator[str]:
    """Split a listing into its entries, which begin at the margin; the lines are stripped."""
    block: list[str] = []
    for line in listing.splitlines():
        if block and not line[:1].isspace():
            yield "\n".join(block)
            block = []
        block.append(line.strip())
    if block:
        yield "\n".join(block)
