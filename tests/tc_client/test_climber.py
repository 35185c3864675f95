# SPDX-License-Identifier: Apache-2.0
"""How actions become calls and outcomes become events; carrier and charon note what they are asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from typing import Any, cast

import pytest

from charon import CharonGone, Method
from charon.nudge import Nudge
from tc_client.carrier import Carrier
from tc_client.climber import Climber
from tc_client.esp import Esp
from tc_client.moves import Start, Stop
from tc_client.probes import Answer
from tc_client.record import What
from tc_client.rounds import State
from tc_client.rungs import Failure, Rung, RungError, Why
from tc_client.strongswan import Strongswan
from tests.lab.wait import until_async
from tests.tc_client.play import TCP, UDP, Play

BLOCKED = RungError(Failure(Why.SILENT, "no answer"))


class World:
    """Carrier, charon and ESP in one; `trouble` says what fails, `held` what does not end by itself."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.trouble: dict[str, Exception] = {}
        self.held: dict[str, asyncio.Event] = {}
        self.established = False
        self.on_lost: Callable[[str], None] | None = None
        self.on_stream_lost: Callable[[str, Failure], None] | None = None
        self.gateway_or_none = None
        self.mark = 1

    async def _do(self, what: str) -> None:
        self.asked.append(what)
        if what in self.held:
            await self.held[what].wait()
        if what in self.trouble:
            raise self.trouble[what]

    async def prepare(self, addresses: tuple[Any, ...], chosen: object) -> None:
        assert chosen in addresses == (ip_address("198.51.100.2"),)
        await self._do("prepare")

    async def hold(self, *_: object) -> None:
        await self._do("hold")

    async def probe(self, rung: Rung) -> Answer:
        await self._do(f"probe {rung.name}")
        return Answer(0.01, "COOKIE")

    async def open(self, rung: Rung) -> None:
        await self._do(f"open {rung.name}")

    async def reopen(self, rung: Rung) -> None:
        await self._do(f"reopen {rung.name}")

    async def leave(self, rung: Rung) -> None:
        await self._do(f"leave {rung.name}")

    async def establish(self, *_: object) -> None:
        self.established = True
        await self._do("establish")

    async def nudge(self, _: float) -> Nudge:
        await self._do("nudge")
        return Nudge(Method.CHECK, answered=True)

    async def abandon(self) -> None:
        self.established = False
        await self._do("abandon")

    async def end(self) -> None:
        self.established = False
        await self._do("end")

    async def verify(self, rung: Rung, _: float) -> str:
        await self._do(f"verify {rung.name}")
        return "ESP seen both ways"

    async def watch(self, rung: Rung) -> Failure:
        await self._do(f"watch {rung.name}")
        await asyncio.sleep(3600)
        raise AssertionError


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def climber(world: World) -> AsyncIterator[Climber]:
    parts = cast(Carrier, world), cast(Strongswan, world), cast(Esp, world)
    climber = Climber(Play(UDP, TCP).ladder, *parts, "198.51.100.2")
    yield climber
    await climber.settle()
    await climber.end()


async def until_state(climber: Climber, state: State) -> None:
    await until_async(lambda: climber.ladder.state is state, 5, f"the ladder is {state}")


async def test_the_way_up_is_asked_for_in_order(climber: Climber, world: World) -> None:
    climber.tell(Start())
    await until_state(climber, State.UP)
    await until_async(lambda: "watch udp" in world.asked, 5, "the path is watched")
    assert world.asked == ["prepare", "hold", "probe udp", "open udp", "establish", "verify udp", "watch udp"]


async def test_a_rung_that_fails_is_left_before_the_next_is_touched(climber: Climber, world: World) -> None:
    world.trouble = {"verify udp": BLOCKED}
    climber.tell(Start())
    await until_state(climber, State.UP)
    after = world.asked[world.asked.index("verify udp") + 1 :]
    assert after[:5] == ["leave udp", "probe tcp-80", "open tcp-80", "nudge", "verify tcp-80"]


async def test_a_connection_that_breaks_is_opened_again(climber: Climber, world: World) -> None:
    world.trouble = {"probe udp": BLOCKED}
    climber.tell(Start())
    await until_state(climber, State.UP)
    assert world.on_stream_lost is not None
    world.on_stream_lost("tcp-80", Failure(Why.RESET, "it was reset"))
    await until_state(climber, State.UP)
    await until_async(lambda: climber.ladder.record.changes[-1].what is What.REPAIRED, 5, "it is repaired")
    assert [asked for asked in world.asked if asked in ("reopen tcp-80", "nudge")] == [
        "reopen tcp-80",
        "nudge",
    ]


@pytest.mark.parametrize(
    "trouble", [CharonGone("nobody there"), OSError(28, "No space left on device"), PermissionError(1, "no")]
)
async def test_trouble_of_this_machine_ends_the_round_with_its_own_words(
    climber: Climber, world: World, trouble: Exception
) -> None:
    world.trouble = {"establish": trouble}
    climber.tell(Start())
    await until_state(climber, State.WAITING)
    assert climber.ladder.record.why == str(trouble)
    failure = climber.ladder.record.rungs["udp"].failure
    assert failure is not None
    assert failure.why is Why.LOCAL


async def test_going_down_in_the_middle_of_a_step_ends_it_and_then_clears(
    climber: Climber, world: World
) -> None:
    world.held = {"establish": asyncio.Event()}
    climber.tell(Start())
    await until_async(lambda: "establish" in world.asked, 5, "it is being established")
    climber.tell(Stop())
    await climber.settle()
    assert world.asked[-3:] == ["end", "leave udp", "leave tcp-80"]
    assert not world.established


async def test_an_sa_that_is_gone_before_the_ladder_knew_is_noticed(climber: Climber, world: World) -> None:
    world.held = {"establish": asyncio.Event()}
    climber.tell(Start())
    await until_async(lambda: "establish" in world.asked, 5, "it is being established")
    world.established = False
    assert world.on_lost is not None
    world.on_lost("the gateway deleted it")  # the ladder has none yet, and is not told
    world.held["establish"].set()
    await until_state(climber, State.WAITING)
    assert not climber.ladder.sa


async def test_an_sa_that_is_lost_is_reported_once(climber: Climber, world: World) -> None:
    climber.tell(Start())
    await until_state(climber, State.UP)
    assert world.on_lost is not None
    world.established = False
    world.on_lost("the gateway deleted it")
    world.on_lost("the gateway deleted it")
    await until_state(climber, State.WAITING)
    assert [one.what for one in climber.ladder.record.changes].count(What.LOST) == 1
