# SPDX-License-Identifier: Apache-2.0
"""Does what the ladder says: turns actions into calls of carrier and charon, and outcomes into events.

The ladder has one effort at a time; here each is a task, and all that touches link or SA happens in the order
in which the ladder said it. Only probes in the background run beside. Decides nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from charon import CharonError
from tc_client import networks
from tc_client.carrier import Carrier
from tc_client.esp import Esp
from tc_client.ladder import IllegalMove, Ladder
from tc_client.moves import (
    Abandon,
    Action,
    Attempt,
    Cancel,
    Clear,
    Event,
    Failed,
    GiveUp,
    Leave,
    Move,
    NetworkChanged,
    PathLost,
    Probe,
    Repair,
    Resolve,
    SaLost,
    Stand,
    StreamLost,
    Succeeded,
    Tick,
    Verify,
    Wait,
)
from tc_client.networks import Way
from tc_client.rounds import State
from tc_client.rungs import Failure, Rung, RungError, Why
from tc_client.strongswan import Strongswan
from tpkt.daemon import tasks
from tpkt.link import LinkError

T = TypeVar("T")
logger = logging.getLogger(__name__)
Address = IPv4Address | IPv6Address

NUDGE_SECONDS = 1.5  # for the gateway to follow; ESP is verified afterwards in any case


class Climber:
    """A ladder in the real world."""

    def __init__(self, ladder: Ladder, carrier: Carrier, strongswan: Strongswan, esp: Esp, name: str) -> None:
        """`name` is the gateway as configured: an address, or a name to resolve."""
        self.ladder = ladder
        self._carrier, self._strongswan, self._esp, self._name = carrier, strongswan, esp, name
        carrier.on_stream_lost, strongswan.on_lost = self._stream_lost, self._sa_lost
        self._efforts: dict[int, asyncio.Task[None]] = {}
        self._chores: set[asyncio.Task[None]] = set()
        self._in_order = asyncio.Lock()  # first come, first served
        self._timer: asyncio.TimerHandle | None = None
        self._monitor: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._network = networks.Watch(lambda: carrier.gateway_or_none)
        self._turn = 0  # which of the gateway's addresses

    # Events

    def tell(self, event: Event) -> None:
        """Tell the ladder what happened, and begin what it answers."""
        before = self.ladder.state
        try:
            actions = self.ladder.handle(event, time.monotonic())
        except IllegalMove as error:
            logger.error("%s", error)
            return
        if not isinstance(event, Tick):
            logger.debug("%s: %s → %s", before, event, self.ladder.state)
        if self.ladder.state is not State.UP and self._monitor is not None:
            self._monitor.cancel()
            self._monitor = None
        for action in actions:
            self._do(action)
        self._set_timer()

    def _sa_lost(self, reason: str) -> None:
        """Charon reports that the IKE_SA is gone."""
        logger.info("%s", reason)
        if self.ladder.sa:
            self.tell(SaLost(reason))

    def _stream_lost(self, rung: str, failure: Failure) -> None:
        """The carrier reports that a connection broke."""
        logger.warning("%s", failure)
        self.tell(StreamLost(rung, failure))

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.ladder.deadline is not None:
            delay = max(0.0, self.ladder.deadline - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self.tell, Tick())

    # Actions

    def _do(self, action: Action) -> None:  # noqa: PLR0912 - one case for each kind of action
        match action:
            case Resolve(effort, seconds):
                self._effort(effort, lambda: self._resolve(seconds))
            case Probe(effort, rung, background):
                self._effort(effort, lambda: self._probe(rung), beside=background)
            case Attempt(effort, rung):
                self._effort(effort, lambda: self._attempt(rung))
            case Move(effort, rung):
                self._effort(effort, lambda: self._move(rung))
            case Verify(effort, rung):
                self._effort(effort, lambda: self._esp.verify(rung, rung.verify_seconds))
            case Repair(effort, rung):
                self._effort(effort, lambda: self._repair(rung))
            case Cancel(effort):
                if effort in self._efforts:
                    self._efforts.pop(effort).cancel()
            case Leave(rung):
                self._chore(lambda: self._carrier.leave(rung), f"leave {rung.name}")
            case Abandon(reason):
                logger.warning("the IKE_SA is given up: %s", reason)
                self._chore(self._strongswan.abandon, "abandon")
            case Clear():
                self._chore(self._clear, "clear")
            case Stand(rung):
                logger.info("%s carries the tunnel: %s", rung.title, self.ladder.record.why)
                self._monitor = tasks.create_task(self._watch_path(rung), name="path-monitor")
            case GiveUp(reason):
                self._turn += 1
                logger.warning("%s", reason)
            case Wait(seconds):
                logger.info("the next try comes in %.0f s, or when the network changes", seconds)

    def _effort(self, number: int, work: Callable[[], Awaitable[str]], *, beside: bool = False) -> None:
        async def run() -> None:
            try:
                note = await (work() if beside else self._ordered(work))
            except RungError as error:
                outcome: Event = Failed(number, error.failure)
            except (CharonError, LinkError, OSError) as error:
                outcome = Failed(number, Failure(Why.LOCAL, str(error)))
            else:
                outcome = Succeeded(number, note)
            self._efforts.pop(number, None)
            if isinstance(outcome, Failed):
                logger.info("%s", outcome.failure)
            self.tell(outcome)
            # It may have been lost between charon's word that it is up and the ladder's knowing of it.
            if self.ladder.sa and not self._strongswan.established:
                self.tell(SaLost("the IKE_SA was gone as soon as it was made"))

        self._efforts[number] = tasks.create_task(run(), name=f"effort-{number}")

    def _chore(self, work: Callable[[], Awaitable[None]], what: str) -> None:
        async def run() -> None:
            try:
                await self._ordered(work)
            except (CharonError, LinkError, RungError, OSError) as error:
                logger.warning("%s: %s", what, error)

        task = tasks.create_task(run(), name=what)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def _ordered(self, work: Callable[[], Awaitable[T]]) -> T:
        async with self._in_order:
            return await work()

    async def _resolve(self, seconds: float) -> str:
        """Find the gateway's addresses and use the next one that has not had its turn."""
        try:
            async with asyncio.timeout(seconds):
                addresses = await networks.resolve(self._name)
        except TimeoutError:
            sentence = f"{self._name}: no answer from the DNS in {seconds:g} s; is it reachable?"
            raise RungError(Failure(Why.NO_ADDRESS, sentence)) from None
        except OSError as error:
            sentence = f"{self._name}: the name has no address ({error.strerror}); is the DNS reachable?"
            raise RungError(Failure(Why.NO_ADDRESS, sentence)) from None
        if not addresses:
            raise RungError(Failure(Why.NO_ADDRESS, f"{self._name}: the name has no address"))
        chosen = addresses[self._turn % len(addresses)]
        await self._carrier.prepare(addresses, chosen)
        await self._network.begin()
        await self._strongswan.hold(chosen, self._carrier.mark)
        return str(chosen)

    async def _probe(self, rung: Rung) -> str:
        answer = await self._carrier.probe(rung)
        return f"{answer.meaning} in {answer.rtt * 1000:.0f} ms"

    async def _attempt(self, rung: Rung) -> str:
        await self._carrier.open(rung)
        await self._strongswan.establish(rung.title, rung.attempt_seconds)
        return "IKE_SA and CHILD_SA are up"

    async def _move(self, rung: Rung) -> str:
        await self._carrier.open(rung)
        return await self._follow()

    async def _repair(self, rung: Rung) -> str:
        await self._carrier.reopen(rung)
        return await self._follow()

    async def _follow(self) -> str:
        nudge = await self._strongswan.nudge(NUDGE_SECONDS)
        return f"the gateway {'follows' if nudge.answered else 'was told'} ({nudge.method})"

    async def _clear(self) -> None:
        await self._strongswan.end()
        for rung in self.ladder.rungs:
            await self._carrier.leave(rung)

    async def _watch_path(self, rung: Rung) -> None:
        """Report when the rung that stands has died without a sound."""
        while True:
            with contextlib.suppress(CharonError):  # a charon that is gone is reported by others
                failure = await self._esp.watch(rung)
                logger.warning("%s", failure)
                self._monitor = None
                self.tell(PathLost(failure))
                return

    # Life

    def begin(self) -> None:
        """Watch the network from now on."""
        self._watcher = tasks.create_task(self._watch_network(), name="network-watch")

    async def _watch_network(self) -> None:
        async for way in self._network:
            self.tell(NetworkChanged(_sentence(way)))

    async def settle(self) -> None:
        """Wait until all that was said to be left or cleared is."""
        while self._chores:
            await asyncio.wait(set(self._chores))

    async def end(self) -> None:
        """Stop everything that runs here; link and SA stay as they are."""
        if self._timer is not None:
            self._timer.cancel()
        running = [task for task in (self._monitor, self._watcher) if task is not None]
        await tasks.cancel(*running, *self._efforts.values(), *self._chores)


def _sentence(way: Way | None) -> str:
    return (
        f"the network changed: to the gateway by {way}"
        if way
        else "the network changed: no way to the gateway"
    )
