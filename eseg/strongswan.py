# SPDX-License-Identifier: Apache-2.0
"""The charon behind the link, ours or the system's, as one thing: loaded, watched, asked, left.

Ours (`managed`) is started or adopted, and restarted when it dies; the system's is only spoken to. Knows
nothing of connections; to it every client has an address.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from charon import Charon, CharonError, CharonGone, IkeSa, State
from charon.health import HealthKind, Watch
from charon.managed import ManagedCharon
from eseg.config import Config
from eseg.report import CharonStatus
from tpkt.daemon import tasks

logger = logging.getLogger(__name__)

USERSPACE_PLUGIN = "kernel-libipsec"


class Strongswan:
    """A charon that holds what the configuration says; an async context manager."""

    def __init__(self, config: Config, state: State, settings: str, *, lent: bool = False) -> None:
        """Prepare; `settings` are the operator's own lines of strongswan.conf.

        `lent`: it is another process's, and runs already. It is told the state and is not ended.
        """
        self.lent = lent
        self._config, self._state = config.charon, state
        self._managed: ManagedCharon | None = None
        if self._config.mode == "managed":
            self._managed = ManagedCharon(
                config.gateway.directory / "charon",
                "gateway",
                esp=self._config.esp,
                expected_clients=self._config.expected_clients,
                extra_plugins=self._config.plugins,
                extra_settings=settings,
            )
            self.charon = self._managed.charon
        else:
            self.charon = Charon(self._config.vici)
        self._watch = Watch(self.charon, lambda: self._state)
        self._restarts = 0
        self._since = time.monotonic()
        self._reason = ""
        self._version = ""
        self._esp = ""
        self._tasks: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> Self:
        """Have charon run and hold the state. Raises CharonError, with a charon that was started ended."""
        try:
            if self._managed is not None:
                await (self._managed.join() if self.lent else self._managed.start())
                await self._managed.load(self._state)
            else:
                await self.charon.connect()
                await self.charon.load(self._state)
            await self._learn()
        except BaseException:
            await self._leave(failed=True)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End a charon of ours, or take back from the system's what it was told."""
        await tasks.cancel(*self._tasks)
        await self._leave(failed=kind is not None and not issubclass(kind, asyncio.CancelledError))

    def supervise(self, on_failure: Callable[[BaseException], None]) -> None:
        """Watch it from now on, in the background."""
        self._tasks.append(tasks.create_task(self._follow(), name="charon-health", on_failure=on_failure))
        if self._managed is not None:
            self._tasks.append(
                tasks.create_task(self._managed.supervise(), name="charon-supervisor", on_failure=on_failure)
            )

    @property
    def healthy(self) -> bool:
        """Whether charon answered when it was last asked."""
        return self._watch.current is None or self._watch.current.kind is HealthKind.UP

    def require_healthy(self) -> None:
        """Raise CharonGone, saying why, unless charon answered when it was last asked."""
        current = self._watch.current
        if current is not None and current.kind is not HealthKind.UP:
            raise CharonGone(f"charon is {current.kind}: {current.reason}")

    async def sas(self) -> list[IkeSa]:
        """List all SAs. Raises CharonError."""
        return await self.charon.list_sas()

    async def apply(self, state: State) -> None:
        """Hold `state` from now on. Raises CharonError, and then the old one still holds."""
        await self.charon.apply(state)
        self._state = state

    async def status(self) -> CharonStatus:
        """Tell how it is; figures are None when it does not answer now."""
        current = self._watch.current
        ike_sas = half_open = None
        if self.healthy:
            with contextlib.suppress(CharonError):
                stats = await self.charon.stats()
                ike_sas, half_open = stats.ike_sas, stats.half_open
        return CharonStatus(
            mode=self._config.mode,
            health=str(current.kind if current else HealthKind.UP),
            reason=current.reason if current else "",
            since_seconds=round(time.monotonic() - self._since, 3),
            restarts=self._restarts,
            esp=self._esp,
            esp_reason=self._reason,
            vici=str(self.charon.socket_path),
            version=self._version,
            pid=self._managed.pid if self._managed is not None else self.charon.pid or None,
            ike_sas=ike_sas,
            half_open=half_open,
        )

    async def _follow(self) -> None:
        async for health in self._watch:
            self._since = time.monotonic()
            if health.kind is HealthKind.RESTARTED:
                self._restarts += 1
                with contextlib.suppress(CharonError):  # the next change tells
                    await self._learn()

    async def _learn(self) -> None:
        """Note what does not change while this charon lives."""
        self._version = (await self.charon.version()).version
        if self._managed is not None:
            self._esp, self._reason = self._managed.esp, self._managed.esp_reason
        else:
            plugins = (await self.charon.stats()).plugins
            userspace = USERSPACE_PLUGIN in plugins
            self._esp = "libipsec" if userspace else "kernel"
            self._reason = f"the system's charon has {'' if userspace else 'not '}loaded {USERSPACE_PLUGIN}"

    async def restore(self) -> None:
        """Hold our state again, after somebody else may have loaded another. Raises CharonError."""
        if self._managed is not None:
            await self._managed.load(self._state)
        else:
            await self.charon.load(self._state)

    async def _leave(self, *, failed: bool) -> None:
        managed = self._managed
        if self.lent:
            await self.charon.close()
        elif managed is None:
            if not failed and not self._config.keep_on_stop:
                try:
                    await self.charon.unload(self._state)
                except CharonError as error:
                    logger.warning("the system's charon keeps what it was told: %s", error)
            await self.charon.close()
        elif self._config.keep_on_stop or (failed and managed.adopted):
            # What a failed start has not started it does not end: clients' IKE_SAs live in there.
            logger.info("leaving charon, pid %s, to the next start", managed.pid)
            await self.charon.close()
        else:
            await managed.stop()
