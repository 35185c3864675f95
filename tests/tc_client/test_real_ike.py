# SPDX-License-Identifier: Apache-2.0
"""The probe against a real charon: answered on every way, and nothing of it is remembered."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from charon import Auth, Child, Connection, ManagedCharon, State
from tc_client.netcheck import examine
from tc_client.probes import Answer, probe_udp
from tests.lab.netns import Namespace, unique_prefix, veth
from tests.lab.wait import until_async

pytestmark = [pytest.mark.root, pytest.mark.charon]
UE, GW = "192.0.2.2", ip_address("192.0.2.1")
SOMEBODY = Auth(kind="psk", id="somebody")
CONNECTION = Connection(name="c", local=SOMEBODY, remote=SOMEBODY, children=(Child(name="c"),))


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[tuple[Namespace, ManagedCharon]]:
    """The UE's namespace, and a charon at the other end of its cable."""
    prefix = unique_prefix()
    ue, gw = Namespace(f"{prefix}-ue"), Namespace(f"{prefix}-gw")
    charon = ManagedCharon(tmp_path / "charon", "gateway", netns=gw.path)
    try:
        veth(ue, "eth0", gw, "eth0")
        ue.ip(f"addr add {UE}/24 dev eth0")
        gw.ip(f"addr add {GW}/24 dev eth0")
        await charon.start()
        yield ue, charon
    finally:
        await charon.stop()
        ue.delete()
        gw.delete()


@pytest.mark.parametrize("state", [State(), State(connections=(CONNECTION,))], ids=["knows nobody", "serves"])
async def test_a_charon_answers_on_both_ports_and_remembers_nothing(
    gateway: tuple[Namespace, ManagedCharon], state: State
) -> None:
    ue, charon = gateway
    await charon.load(state)
    for port in (4500, 500):
        ask = functools.partial(probe_udp, GW, port, seconds=5)
        answer: Answer = await asyncio.to_thread(ue.call, lambda ask=ask: asyncio.run(ask()))
        assert answer.meaning == "NO_PROPOSAL_CHOSEN"

    # The answer leaves before charon has put the refused IKE_SA away.
    async def forgotten() -> bool | None:
        stats = await charon.charon.stats()
        return (stats.ike_sas, stats.half_open) == (0, 0)

    gone: bool = await until_async(forgotten, 2, "charon has forgotten who asked")
    assert gone


async def test_netcheck_sees_udp_pass_and_a_gateway_without_tcp(
    gateway: tuple[Namespace, ManagedCharon],
) -> None:
    ue, _ = gateway
    [found] = await asyncio.to_thread(ue.call, lambda: asyncio.run(examine(str(GW), [80], 2.0)))
    assert found.way == f"eth0 from {UE}"
    assert [check.passes for check in found.checks] == [True, True, False]
    assert found.verdict.usable
