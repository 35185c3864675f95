# SPDX-License-Identifier: Apache-2.0
"""Conversations with one or two real charons: load, list, initiate, terminate, rekey, unload, events."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path

import pytest

from charon import (
    Charon,
    CharonGone,
    CharonRefused,
    CharonTimeout,
    ChildRekey,
    ChildUpDown,
    Event,
    IkeRekey,
    IkeSa,
    IkeUpDown,
    Pool,
    State,
    Subscription,
)
from charon.types import Connection
from tests.charon.conftest import PSK_CLIENT, PSK_GATEWAY, Ends, client_state, gateway_state
from tests.lab.wait import until, until_async

pytestmark = [pytest.mark.root, pytest.mark.charon]


async def following(events: Subscription, kind: type[Event], seconds: float = 8.0) -> Event:
    """Give the next event of `kind`."""
    async with asyncio.timeout(seconds):
        async for event in events:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"the stream ended before an {kind.__name__}")


async def test_a_tunnel_comes_up_carries_traffic_and_goes_down(ends: Ends) -> None:
    events = ends.gw.charon.events()
    sa = await ends.establish(client_state(), gateway_state())

    up = await following(events, IkeUpDown)
    assert isinstance(up, IkeUpDown)
    assert up.up
    assert up.sa.remote_id == "ue.example"
    assert (up.sa.spi_i, up.sa.spi_r) == (sa.spi_i, sa.spi_r)
    child_up = await following(events, ChildUpDown)
    assert isinstance(child_up, ChildUpDown)
    assert child_up.child.name == "net"
    assert child_up.child.encap

    assert await asyncio.to_thread(ends.pings)
    [there] = await ends.gw.charon.list_sas()
    assert sa.initiator
    assert not there.initiator
    assert sa.local_vips == there.remote_vips == ("10.66.0.1",)
    assert (there.remote_port, there.local_port) == (4500, 4500)
    [child] = there.children
    assert child.packets_in == child.packets_out == 3
    assert child.bytes_in == child.bytes_out == 3 * 84
    assert child.use_in is not None

    assert await ends.ue.charon.terminate(ike=sa.unique_id) == 1
    gone = await following(events, IkeUpDown)
    assert isinstance(gone, IkeUpDown)
    assert not gone.up
    assert await ends.gw.charon.list_sas() == []


async def test_rekeying_is_told_with_old_and_new(ends: Ends) -> None:
    sa = await ends.establish(client_state(), gateway_state())
    events = ends.ue.charon.events()

    assert await ends.ue.charon.rekey(child=sa.children[0].unique_id) == 1
    child = await following(events, ChildRekey)
    assert isinstance(child, ChildRekey)
    assert child.old.spi_in == sa.children[0].spi_in
    assert child.new.spi_in != child.old.spi_in

    assert await ends.ue.charon.rekey(ike="gateway") == 1
    ike = await following(events, IkeRekey)
    assert isinstance(ike, IkeRekey)
    assert ike.old.spi_i == sa.spi_i
    assert ike.new.spi_i != sa.spi_i
    moved: IkeSa = await until_async(ends.installed, 5, "the CHILD_SA has moved to the new IKE_SA")
    assert moved.spi_i == ike.new.spi_i


async def test_unload_removes_exactly_what_was_loaded(ends: Ends) -> None:
    charon = ends.gw.charon
    stays = State(pools=(Pool(name="stays", addrs="10.77.0.0/24"),))
    await charon.load(stays)
    goes = gateway_state()
    await charon.load(goes)
    assert {pool.name for pool in await charon.pools()} == {"stays", "inner"}

    await charon.unload(goes)

    assert [pool.name for pool in await charon.pools()] == ["stays"]
    assert charon.loaded == stays


async def test_apply_changes_only_the_difference_and_keeps_the_old_when_refused(ends: Ends) -> None:
    charon = ends.gw.charon
    first = gateway_state()
    await charon.apply(first)

    second = State(pools=(Pool(name="other", addrs="10.67.0.0/24"),), secrets=first.secrets)
    await charon.apply(second)
    assert [pool.name for pool in await charon.pools()] == ["other"]

    broken = Connection(name="broken", local=PSK_GATEWAY, remote=PSK_CLIENT, proposals=("no-such-cipher",))
    with pytest.raises(CharonRefused, match=r"connection 'broken'.*proposals"):
        await charon.apply(State(pools=(Pool(name="third", addrs="10.68.0.0/24"),), connections=(broken,)))
    assert [pool.name for pool in await charon.pools()] == ["other"]
    assert charon.loaded == second


async def test_a_pool_in_use_is_not_unloaded_and_the_error_says_what_to_do(ends: Ends) -> None:
    await ends.establish(client_state(), gateway_state())
    with pytest.raises(CharonRefused, match=r"pool 'inner'.*online leases.*Terminate"):
        await ends.gw.charon.unload(gateway_state())
    [pool] = await ends.gw.charon.pools()
    assert (pool.online, pool.size) == (1, 254)


async def test_charon_tells_who_it_is_and_how_it_does(ends: Ends) -> None:
    version = await ends.gw.charon.version()
    assert version.daemon == "charon-systemd"
    assert version.pid == ends.gw.pid
    stats = await ends.gw.charon.stats()
    assert stats.ike_sas == 0
    assert stats.workers == 16
    assert "vici" in stats.plugins
    await ends.establish(client_state(), gateway_state())
    assert (await ends.ue.charon.counters("gateway"))["ike-auth-out-req"] == 1
    assert (await ends.gw.charon.counters())["ike-auth-in-req"] == 1
    assert (await ends.gw.charon.stats()).ike_sas == 1


async def test_what_charon_does_not_know_is_refused_with_its_name(ends: Ends) -> None:
    with pytest.raises(CharonRefused, match="'nothing' not found"):
        await ends.ue.charon.initiate("nothing", "nowhere")
    with pytest.raises(CharonRefused, match="no matching SAs"):
        await ends.ue.charon.terminate(ike="nowhere")


async def test_a_hung_charon_is_a_timeout_and_leaves_no_thread_behind(ends: Ends) -> None:
    before = vici_threads()
    pid = ends.gw.pid
    assert pid is not None
    async with Charon(ends.gw.vici_path, timeout=0.5) as charon:
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(CharonTimeout, match=r"no answer to 'version' within 0\.5 s"):
                await charon.version()
            with pytest.raises(CharonTimeout):
                await charon.list_sas()  # on a new session, which hangs as well
        finally:
            os.kill(pid, signal.SIGCONT)
        assert (await charon.version()).pid == pid
    until(lambda: vici_threads() <= before, 5, "the threads of broken sessions end")


def vici_threads() -> set[str]:
    return {str(thread.ident) for thread in threading.enumerate() if thread.name.startswith("vici-")}


async def test_nobody_there_is_gone_and_names_the_socket(tmp_path: Path) -> None:
    charon = Charon(tmp_path / "charon.vici")
    with pytest.raises(CharonGone, match=r"charon\.vici: No such file"):
        await charon.connect()


async def test_after_a_restart_every_call_works_at_once(ends: Ends) -> None:
    charon = Charon(ends.gw.vici_path)
    async with charon:
        assert await charon.list_sas() == []
        await ends.gw.stop()
        await ends.gw.start()
        assert await charon.list_sas() == []
        assert (await charon.version()).pid == ends.gw.pid


async def test_events_go_on_after_a_reconnection_with_a_word_about_it(ends: Ends) -> None:
    charon = Charon(ends.gw.vici_path)
    await charon.connect()
    events = charon.events()
    await ends.gw.stop()
    first = await anext(events)
    assert "lost" in str(first)
    await ends.gw.start()
    await charon.connect()
    assert "connected again" in str(await anext(events))
    await ends.establish(client_state(), gateway_state())
    assert isinstance(await following(events, IkeUpDown), IkeUpDown)
    await charon.close()
    assert [event async for event in events if isinstance(event, IkeUpDown)] == []
