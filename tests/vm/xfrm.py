# SPDX-License-Identifier: Apache-2.0
"""What the kernel of a namespace knows of ESP, out of `ip xfrm state`, which speaks to people only."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.lab.netns import Namespace


@dataclass(frozen=True, slots=True)
class Sa:
    """One SA of the kernel: its outer addresses, how it is wrapped, and the mark of what it sends."""

    src: str
    dst: str
    spi: int
    in_udp: bool
    output_mark: int | None
    packets: int


def sas(namespace: Namespace) -> list[Sa]:
    """Give every SA of `namespace`."""
    listed = namespace.run(["ip", "-s", "xfrm", "state", "list"]).stdout
    return [_sa(entry) for entry in re.split(r"^(?=src )", listed, flags=re.MULTILINE) if entry]


def outbound(namespace: Namespace, src: str) -> list[Sa]:
    """Give the SAs by which `namespace` sends from its address `src`."""
    return [sa for sa in sas(namespace) if sa.src == src]


def _sa(entry: str) -> Sa:
    head = re.match(r"src (\S+) dst (\S+)", entry)
    spi = re.search(r"spi 0x([0-9a-f]+)", entry)
    packets = re.search(r"lifetime current:\s+\d+\(bytes\), (\d+)\(packets\)", entry)
    assert head, entry
    assert spi, entry
    assert packets, entry
    mark = re.search(r"output-mark 0x([0-9a-f]+)", entry)
    return Sa(
        src=head[1],
        dst=head[2],
        spi=int(spi[1], 16),
        in_udp="espinudp" in entry,
        output_mark=int(mark[1], 16) if mark else None,
        packets=int(packets[1]),
    )
