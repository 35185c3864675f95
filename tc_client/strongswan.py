# SPDX-License-Identifier: Apache-2.0
"""The client's charon and its one IKE_SA: made, followed, moved, ended. Knows nothing of rungs but a name.

The charon is ours (`managed`: started afresh, restarted when it dies) or the system's, which is only spoken
to. To it the gateway is one UDP peer, whatever carries the packets.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from charon import Charon, CharonError, ChildSa, ChildUpDown, IkeSa, IkeUpDown, Log, Missed, State
from charon.attributes import Attributes
from charon.health import HealthKind, Watch
from charon.managed import ManagedCharon
from charon.nudge import Nudge
from tc_client.config import Config
from tc_client.credentials import Material
from tc_client.diagnosis import diagnose, end_of
from tc_client.rungs import Failure, RungError, Why
from tc_client.state import names, state_of
from tpkt.daemon import tasks

logger = logging.getLogger(__name__)
Address = IPv4Address | IPv6Address

POLL_SECONDS = 0.1
LINES = 200  # of charon's log about one attempt
GOODBYE_SECONDS = 2.0  # a DELETE and its answer; the gateway forgets by itself if it does not hear it
CHILD_SECONDS = 1.0  # a CHILD_SA that is replaced is back by then
USERSPACE_PLUGIN = "kernel-libipsec"


class Strongswan:
    """One charon, one connection, at most one IKE_SA."""

    def __init__(self, config: Config, material: Material) -> None:
        """Prepare; `on_lost` hears, with the reason, when the IKE_SA is gone and nobody here ended it."""
        self.on_lost: Callable[[str], None] | None = None
        self._config, self._material = config, material
        self.connection, self.child = names(config)
        self._managed: ManagedCharon | None = None
        if config.charon.mode == "managed":
            self._managed = ManagedCharon(
                config.client.directory / "charon",
                "client",
                esp=config.charon.esp,
                ignore_interfaces=(config.link.device,),
                p_cscf=True,
                log_events=True,
                extra_plugins=config.charon.plugins,
            )
            self.charon = self._managed.charon
        else:
            self.charon = Charon(config.charon.vici, log_events=True)
        self._watch = Watch(self.charon)
        self._tasks: list[asyncio.Task[Any]] = []
        self._lines: deque[str] = deque(maxlen=LINES)
        self._child_up, self._gone = asyncio.Event(), asyncio.Event()
        self._established = False
        self._held: State | None = None
        self.esp = ""
        self.esp_reason = ""
        self.restarts = 0

    async def start(self) -> None:
        """Have a charon that knows nothing of an earlier run. Raises CharonError."""
        if self._managed is not None:
            await self._managed.start(adopt=False)
            self.esp, self.esp_reason = self._managed.esp, self._managed.esp_reason
            self._spawn(self._managed.supervise(self._restarted), "charon-supervisor")
        else:
            await self.charon.connect()
            userspace = USERSPACE_PLUGIN in (await self.charon.stats()).plugins
            self.esp = "libipsec" if userspace else "kernel"
            self.esp_reason = (
                f"the system's charon has {'' if userspace else 'not '}loaded {USERSPACE_PLUGIN}"
            )
            await self.end()  # what an earlier run of ours has left there
        self._spawn(self._follow(), "charon-events")
        self._spawn(self._look_after(), "charon-health")

    def _spawn(self, coroutine: Any, name: str) -> None:
        self._tasks.append(tasks.create_task(coroutine, name=name))

    async def stop(self) -> None:
        """End a charon of ours, or take back from the system's what it was told."""
        self._established = False
        await tasks.cancel(*self._tasks)
        if self._managed is not None:
            await self._managed.stop()
            return
        with contextlib.suppress(CharonError):
            await self.charon.unload(self.charon.loaded)
        await self.charon.close()

    # The SA

    async def hold(self, gateway: Address, mark: int) -> None:
        """Have charon know how to reach `gateway`. Raises CharonError."""
        state = state_of(self._config, self._material, gateway, mark if self.esp == "kernel" else None)
        if state == self._held:
            return  # charon, if it was restarted meanwhile, was loaded again
        if self._managed is not None:
            await self._managed.load(state)
        elif state != State():
            await self.charon.apply(state)
        self._held = state

    async def establish(self, name: str, seconds: float) -> None:
        """Make IKE_SA and CHILD_SA over the rung called `name`. Raises RungError; nothing remains then."""
        self._lines.clear()
        self._child_up.clear()
        try:
            async with asyncio.timeout(seconds):
                await self.charon.initiate(self.child, self.connection)
                await self._until_up(name)
                if self._config.tunnel is not None and self._config.tunnel.mobike:
                    # charon compares a path with what it saw in the last such exchange: have one.
                    await self.nudge(seconds)
        except TimeoutError:
            failure = await self._silence(name, seconds)
            raise RungError(failure) from None
        finally:
            if not self._established:
                with contextlib.suppress(CharonError):
                    await asyncio.shield(self.charon.terminate(ike=self.connection, force=True))

    async def _until_up(self, name: str) -> None:
        seen = False
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._child_up.wait()
                    self._established = True
                    return
            sas = await self.charon.list_sas(ike=self.connection)
            if seen and not sas:
                raise RungError(diagnose(name, self._lines))
            refused = any(sa.established for sa in sas) and any("no CHILD_SA built" in x for x in self._lines)
            if refused:
                raise RungError(diagnose(name, self._lines))
            seen = seen or bool(sas) or any("IKE_SA" in line for line in self._lines)

    async def _silence(self, name: str, seconds: float) -> Failure:
        """Say how far an exchange got that was not answered to its end."""
        with contextlib.suppress(CharonError):
            for sa in await self.charon.list_sas(ike=self.connection):
                if int(sa.spi_r, 16):
                    sentence = (
                        f"{name}: IKE_SA_INIT is answered and IKE_AUTH is not within {seconds:g} s; "
                        "large packets may be lost on this path"
                    )
                    return Failure(Why.IKE_SILENT, sentence)
        sentence = f"{name}: the probe was answered and IKE_SA_INIT is not within {seconds:g} s"
        return Failure(Why.IKE_SILENT, sentence)

    async def sa(self) -> tuple[IkeSa, ChildSa] | None:
        """Give the established IKE_SA with its newest CHILD_SA. Raises CharonError."""
        for sa in reversed(await self.charon.list_sas(ike=self.connection)):
            children = [child for child in sa.children if child.state in ("INSTALLED", "REKEYING")]
            if sa.established and children:
                return sa, children[-1]
        return None

    async def nudge(self, seconds: float) -> Nudge:
        """Send an IKE message now, so that the gateway follows to where it comes from. Raises CharonError."""
        return await self.charon.nudge(self.connection, seconds)

    async def abandon(self) -> None:
        """Forget the IKE_SA; the gateway does not answer for it."""
        self._established = False
        await self.charon.terminate(ike=self.connection, force=True)

    async def end(self) -> None:
        """Delete the IKE_SA and wait until the gateway has agreed, or has had its time."""
        self._established = False
        self._gone.clear()
        with contextlib.suppress(CharonError):
            if not await self.charon.terminate(ike=self.connection):
                return
            try:
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await self._gone.wait()
            except TimeoutError:
                await self.charon.terminate(ike=self.connection, force=True)

    # What becomes of it

    @property
    def established(self) -> bool:
        """Whether there is an SA that nobody here has ended, as far as is known without asking."""
        return self._established

    @property
    def attributes(self) -> Attributes:
        """What the gateway has assigned; only a charon of ours can be asked."""
        known = self._managed.attributes if self._managed is not None else {}
        return known.get(self.connection, Attributes())

    @property
    def health(self) -> tuple[str, str]:
        """How charon is, and the reason if it is not well."""
        current = self._watch.current
        return (str(current.kind), current.reason) if current is not None else (str(HealthKind.UP), "")

    @property
    def pid(self) -> int | None:
        """Its process."""
        return self._managed.pid if self._managed is not None else self.charon.pid or None

    async def _follow(self) -> None:
        async for event in self.charon.events():
            match event:
                case Log(ike_name=self.connection, message=message):
                    self._lines.append(message)
                case ChildUpDown(up=True, sa=sa) if sa.name == self.connection:
                    self._child_up.set()
                case ChildUpDown(sa=sa) | IkeUpDown(up=False, sa=sa) if sa.name == self.connection:
                    if isinstance(event, IkeUpDown):
                        self._gone.set()
                    self._doubt(end_of(list(self._lines)))
                case Missed(reason=reason):
                    self._doubt(reason)

    def _doubt(self, reason: str) -> None:
        if self._established:
            self._spawn(self._look(reason), "sa-lost")
            self._tasks = [task for task in self._tasks if not task.done()]

    async def _look(self, reason: str) -> None:
        """Find out whether the SA is gone: what looks like it may be a replacement."""
        with contextlib.suppress(CharonError):
            if await self.sa() is not None:
                return
            await asyncio.sleep(CHILD_SECONDS)
            if await self.sa() is not None:
                return
        if self._established:
            self._established = False
            with contextlib.suppress(CharonError):
                await self.charon.terminate(ike=self.connection, force=True)
            if self.on_lost is not None:
                self.on_lost(f"the IKE_SA is gone: {reason}")

    def _restarted(self) -> None:
        self.restarts += 1
        self._doubt("charon was restarted")

    async def _look_after(self) -> None:
        async for health in self._watch:
            if health.kind is HealthKind.RESTARTED and self._managed is None:
                self._restarted()
