# SPDX-License-Identifier: Apache-2.0
"""The gateway's life: what is made in which order, and unmade in the other.

    rights, ports, runtime directory → link → pump → charon → listeners → admin API

charon stands before the first client can arrive, and ends before the pump does: its good-byes still reach
the clients. Nobody is told that the gateway is ready before all of it is. Whatever fails, and whenever, what
was made until then goes again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator
from typing import Any

from charon import CharonError, CharonRefused
from eseg import preflight
from eseg.admin import Admin
from eseg.config import Config
from eseg.front import Front, congestion_of, pools_of
from eseg.listener import unusable
from eseg.loader import Loaded
from eseg.metrics import Exporter
from eseg.ranges import endpoint
from eseg.reaper import Reaper
from eseg.state import state_of
from eseg.strongswan import Strongswan
from eseg.systemd import notify
from eseg.tls import server_of
from tpkt.daemon import api, runtime, tasks
from tpkt.daemon.configfile import ConfigError
from tpkt.daemon.rights import RightsError
from tpkt.daemon.runtime import RuntimeDirectoryError
from tpkt.errors import MisuseError
from tpkt.link import GatewayLink, GatewayLinkConfig, LinkError
from tpkt.pump import PumpError

logger = logging.getLogger(__name__)

# What can go wrong in ways that a person mends; each is one line with its cure.
EXPECTED = (api.ApiError, CharonError, ConfigError, LinkError, PumpError, RightsError, RuntimeDirectoryError)


class GatewayFailed(Exception):
    """A part that must never end has ended; the log says which and why."""


class Gateway:
    """A gateway: `run` is its whole life."""

    def __init__(self, loaded: Loaded) -> None:
        """Prepare to be what `loaded` says; nothing is made before `run`."""
        self._loaded = loaded
        self._over = asyncio.Event()
        self._ready = False
        self._failure: BaseException | None = None

    async def run(self) -> None:
        """Live until SIGTERM or SIGINT.

        Raises one of EXPECTED when it cannot start, GatewayFailed when a part of it broke; either way, and
        after a signal, nothing of it is left.
        """
        life = asyncio.current_task()
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(self._signals(life))
            try:
                admin = await self._make(stack)
            except asyncio.CancelledError:
                if not self._over.is_set():
                    raise
                if life is not None:
                    life.uncancel()
                return  # a signal, before anything was ready
            self._ready = True
            notify("READY=1")
            logger.info("ready, configuration %s", admin.config.fingerprint())
            await self._over.wait()
            notify("STOPPING=1")
            logger.info("stopping")
        if self._failure is not None:
            raise GatewayFailed(f"stopped: {self._failure}; see the log") from self._failure

    @contextlib.contextmanager
    def _signals(self, life: asyncio.Task[Any] | None) -> Iterator[None]:
        """Let SIGTERM and SIGINT end it: in order once it is ready, at once while it is being made."""
        loop = asyncio.get_running_loop()

        def stop() -> None:
            if not self._ready and not self._over.is_set() and life is not None:
                life.cancel()
            self._over.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def _make(self, stack: contextlib.AsyncExitStack) -> Admin:
        config, loaded = self._loaded.config, self._loaded
        preflight.require_privileges()
        socket = config.gateway.socket
        if await api.answers(socket):
            raise api.AlreadyRunning(f"{socket}: a daemon is running here already; stop it first")
        for problem in unusable(config.listen):
            raise ConfigError(loaded.path, *problem)
        stack.enter_context(runtime.own(config.gateway.directory, "gateway"))
        self._advise()

        link = link_of(config)
        stack.push_async_callback(tasks.whole, link.down)
        await tasks.whole(link.up)
        try:
            front = stack.enter_context(Front(config, link.namespace, loaded.rules, server_of(loaded)))
        except MisuseError as error:
            # Limits of the pump that depend on this machine: a small pool and many cores.
            raise ConfigError(loaded.path, "link", str(error), "or set gateway.workers") from error
        strongswan = Strongswan(config, state_of(loaded), loaded.material.settings)
        try:
            await stack.enter_async_context(strongswan)
        except CharonRefused as error:
            refusal = f"charon refuses a part of it: {error.what}"
            raise ConfigError(loaded.path, "", refusal, "correct that part") from error
        strongswan.supervise(self._fail)
        front.listen()

        reaper = Reaper(front.pump, strongswan, config.limits.sa_seconds)
        background: list[asyncio.Task[Any]] = []
        stack.push_async_callback(_cancel, background)
        for name, coroutine in (("pump-events", front.report()), ("deadlines", reaper.run())):
            background.append(tasks.create_task(coroutine, name=name, on_failure=self._fail))
        admin = Admin(loaded, link, strongswan, front, reaper)
        await self._serve(stack, admin)
        return admin

    async def _serve(self, stack: contextlib.AsyncExitStack, admin: Admin) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, admin.reload_soon)
        stack.callback(loop.remove_signal_handler, signal.SIGHUP)
        await stack.enter_async_context(api.Server(admin.config.gateway.socket, admin.routes()))
        where = admin.config.gateway.metrics
        listen = endpoint(where) if where else None
        if listen is None:
            return
        try:
            await stack.enter_async_context(Exporter(*listen, admin.scrape))
        except OSError as error:
            problem = f"cannot listen on {where} ({error.strerror})"
            cure = "choose another address or port"
            raise ConfigError(self._loaded.path, "gateway.metrics", problem, cure) from error

    def _advise(self) -> None:
        """Write to the log what works worse than it could."""
        for warning in self._loaded.material.warnings:
            logger.warning("%s", warning)
        config = self._loaded.config
        descriptors = preflight.raise_descriptor_limit(config.limits.connections, config.relays)
        for advice in (descriptors, congestion_of(config)[1]):
            if advice:
                logger.warning("%s", advice)

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self._over.set()


def link_of(config: Config) -> GatewayLink:
    """Give the link that `config` describes, not yet made. Raises LinkError."""
    pool4, pool6 = pools_of(config)
    return GatewayLink(
        GatewayLinkConfig(
            instance=config.gateway.instance,
            device=config.link.device,
            pool4=pool4,
            pool6=pool6,
            mtu=config.link.mtu,
        )
    )


async def _cancel(background: list[asyncio.Task[Any]]) -> None:
    await tasks.cancel(*background)
