# SPDX-License-Identifier: Apache-2.0
"""A client whose packets come from another address from one moment to the next, and a gateway that follows.

Each test ends with traffic through the tunnel that was there before: same IKE_SA, no new IKE_SA_INIT.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from charon import CharonRefused, IkeSa, Method
from tests.charon.conftest import (
    FIRST_ADDRESS,
    SECOND_ADDRESS,
    Ends,
    appear_as,
    client_state,
    cut,
    eventually,
    gateway_state,
    running,
)
from tests.lab.topology import Topology

pytestmark = [pytest.mark.root, pytest.mark.charon]


@pytest.fixture
async def careless_ends(lab: Topology, tmp_path: Path) -> AsyncIterator[Ends]:
    """A client's charon that does not check its path, as an operator's own may be configured."""
    # The later of two settings of one name wins.
    async with running(lab, tmp_path, client_settings="check_current_path = no") as both:
        yield both


async def established(ends: Ends, *, mobike: bool = False) -> IkeSa:
    appear_as(ends.lab, FIRST_ADDRESS)
    sa = await ends.establish(client_state(mobike=mobike), gateway_state(mobike=mobike))
    assert await ends.gateway_sees() == FIRST_ADDRESS
    return sa


async def it_has_moved(ends: Ends, before: IkeSa) -> None:
    async def followed() -> bool:
        return await ends.gateway_sees() == SECOND_ADDRESS

    await eventually(followed, 5, "the gateway has followed")

    async def flows() -> bool:
        return await asyncio.to_thread(ends.pings, 1)

    await eventually(flows, 5, "traffic flows again")
    [sa] = await ends.ue.charon.list_sas()
    assert (sa.spi_i, sa.spi_r) == (before.spi_i, before.spi_r)
    assert (await ends.ue.charon.counters("gateway"))["ike-init-out-req"] == 1


async def test_without_a_message_only_kernel_esp_follows(ends: Ends) -> None:
    await established(ends)
    appear_as(ends.lab, SECOND_ADDRESS)
    assert not await asyncio.to_thread(ends.pings, 1)
    # The kernel tells charon that authentic ESP came from elsewhere; userspace ESP does not look.
    follows = ends.gw.esp == "kernel"
    assert await ends.gateway_sees() == (SECOND_ADDRESS if follows else FIRST_ADDRESS)


async def test_an_empty_message_moves_the_sa(ends: Ends) -> None:
    sa = await established(ends)
    appear_as(ends.lab, SECOND_ADDRESS)
    nudge = await ends.ue.charon.nudge(sa.unique_id)
    assert nudge.method is Method.CHECK
    assert nudge.answered
    await it_has_moved(ends, sa)


async def test_a_rekey_moves_the_sa_of_a_charon_that_does_not_check_its_path(careless_ends: Ends) -> None:
    sa = await established(careless_ends)
    appear_as(careless_ends.lab, SECOND_ADDRESS)
    nudge = await careless_ends.ue.charon.nudge("gateway")
    assert nudge.method is Method.REKEY
    assert nudge.answered
    await it_has_moved(careless_ends, sa)


async def test_with_mobike_a_nudge_before_the_move_makes_the_one_after_it_work(ends: Ends) -> None:
    sa = await established(ends, mobike=True)
    assert (await ends.ue.charon.nudge(sa.unique_id)).answered
    appear_as(ends.lab, SECOND_ADDRESS)
    assert (await ends.ue.charon.nudge(sa.unique_id)).answered
    await it_has_moved(ends, sa)


async def test_there_and_back_several_times(ends: Ends) -> None:
    sa = await established(ends)
    for address in (SECOND_ADDRESS, FIRST_ADDRESS, SECOND_ADDRESS):
        appear_as(ends.lab, address)
        assert (await ends.ue.charon.nudge(sa.unique_id)).answered
        assert await ends.gateway_sees() == address
    await it_has_moved(ends, sa)


async def test_an_unanswered_nudge_says_so_and_the_sa_recovers_by_itself(ends: Ends) -> None:
    sa = await established(ends)
    cut(ends.lab)
    assert not (await ends.ue.charon.nudge(sa.unique_id, 1.0)).answered
    waiting = await ends.ue.charon.nudge(sa.unique_id, 0.5)
    assert waiting.method is Method.WAITING
    appear_as(ends.lab, SECOND_ADDRESS)
    assert (await ends.ue.charon.nudge(sa.unique_id, 5.0)).answered
    await it_has_moved(ends, sa)


async def test_there_is_nothing_to_nudge_without_an_sa(ends: Ends) -> None:
    with pytest.raises(CharonRefused, match="no IKE_SA 'gateway'"):
        await ends.ue.charon.nudge("gateway")
