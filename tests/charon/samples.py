# SPDX-License-Identifier: Apache-2.0
"""SAs as a gateway's charon reports them; fields that a test does not name are filled in."""

from __future__ import annotations

import dataclasses
from typing import Any

from charon import ChildSa, IkeSa

_CHILD = ChildSa(
    unique_id=1,
    name="core",
    state="INSTALLED",
    mode="TUNNEL",
    encap=True,
    reqid=1,
    spi_in="c0ffee01",
    spi_out="c0ffee02",
    bytes_in=0,
    bytes_out=0,
    packets_in=0,
    packets_out=0,
    use_in=None,
    use_out=None,
    install_seconds=5,
    local_ts=("10.9.0.0/24",),
    remote_ts=("10.66.0.1/32",),
)
_IKE = IkeSa(
    unique_id=1,
    name="ue",
    state="ESTABLISHED",
    spi_i="0011223344556677",
    spi_r="8899aabbccddeeff",
    local_host="198.51.100.2",
    local_port=4500,
    remote_host="198.18.0.20",
    remote_port=4500,
    local_id="gw.example.org",
    remote_id="ue@example.org",
    remote_eap_id="",
    initiator=False,
    established_seconds=5,
    local_vips=(),
    remote_vips=("10.66.0.1",),
    nat_local=True,
    nat_remote=True,
    nat_any=True,
    tasks_active=(),
    tasks_queued=(),
    tasks_passive=(),
)


def child(**fields: Any) -> ChildSa:
    """Give an installed CHILD_SA."""
    return dataclasses.replace(_CHILD, **fields)


def ike(**fields: Any) -> IkeSa:
    """Give an established IKE_SA with one CHILD_SA."""
    return dataclasses.replace(_IKE, **{"children": (child(),), **fields})
