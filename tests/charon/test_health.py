# SPDX-License-Identifier: Apache-2.0
"""A charon that is killed, stopped or restarted under our hands, and how soon we know: five seconds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from charon import HealthKind, ManagedCharon, State, Watch
from tests.charon.conftest import gateway_state
from tests.lab.topology import Topology

pytestmark = [pytest.mark.root, pytest.mark.charon]

NOTICED_SECONDS = 5.0


@pytest.fixture
async def gateway(lab: Topology, tmp_path: Path) -> AsyncIterator[ManagedCharon]:
    managed = ManagedCharon(tmp_path / "gw", "gateway", netns=lab.gw.path)
    try:
        await managed.start()
        yield managed
    finally:
        if managed.pid:
            os.kill(managed.pid, signal.SIGCONT)
        await managed.stop()


async def until_it_is(watch: AsyncIterator[object], kind: HealthKind) -> str:
    """Give the reason of the next change of health, which must be to `kind`, in time."""
    async with asyncio.timeout(NOTICED_SECONDS):
        health = await anext(watch)
    assert getattr(health, "kind", None) is kind, health
    return str(getattr(health, "reason", ""))


async def test_up_then_hung_then_up_again(gateway: ManagedCharon) -> None:
    async with contextlib.aclosing(aiter(Watch(gateway.charon))) as watch:
        await until_it_is(watch, HealthKind.UP)
        assert gateway.pid
        os.kill(gateway.pid, signal.SIGSTOP)
        assert "no answer" in await until_it_is(watch, HealthKind.HUNG)
        os.kill(gateway.pid, signal.SIGCONT)
        await until_it_is(watch, HealthKind.UP)
        assert (await gateway.charon.version()).pid == gateway.pid


async def test_killed_is_gone_and_what_comes_back_is_loaded_again(gateway: ManagedCharon) -> None:
    await gateway.charon.load(gateway_state())
    async with contextlib.aclosing(aiter(Watch(gateway.charon))) as watch:
        await until_it_is(watch, HealthKind.UP)
        assert gateway.pid
        os.kill(gateway.pid, signal.SIGKILL)
        assert "charon.vici" in await until_it_is(watch, HealthKind.GONE)

        await gateway.start()
        assert await gateway.charon.pools() == []
        assert str(gateway.pid) in await until_it_is(watch, HealthKind.RESTARTED)
        assert [pool.name for pool in await gateway.charon.pools()] == ["inner"]


async def test_a_charon_that_appears_later_is_given_what_it_is_to_hold(
    lab: Topology, tmp_path: Path, gateway: ManagedCharon
) -> None:
    await gateway.stop()
    async with contextlib.aclosing(aiter(Watch(gateway.charon, gateway_state))) as watch:
        await until_it_is(watch, HealthKind.GONE)
        await gateway.start()
        await until_it_is(watch, HealthKind.UP)
        assert gateway.charon.loaded == gateway_state()


async def test_what_a_restarted_charon_refuses_is_told(gateway: ManagedCharon, lab: Topology) -> None:
    wanted = [gateway_state()]
    async with contextlib.aclosing(aiter(Watch(gateway.charon, lambda: wanted[0]))) as watch:
        await until_it_is(watch, HealthKind.UP)
        [pool] = gateway_state().pools
        wanted[0] = State(pools=(type(pool)(name="broken", addrs="no addresses"),))
        assert gateway.pid
        os.kill(gateway.pid, signal.SIGKILL)
        await until_it_is(watch, HealthKind.GONE)
        await gateway.start()
        assert "pool 'broken'" in await until_it_is(watch, HealthKind.RESTARTED)
