# SPDX-License-Identifier: Apache-2.0
"""The gateway's life: what is made in which order, and unmade in the other.

    rights, ports, runtime directory → link → pump → charon → listeners → admin API

charon stands before the first client can arrive, and ends before the pump does: its good-byes still reach
the clients. Nobody is told that the gateway is ready before all of it is. Whatever fails, and whenever, what
was made until then goes again.

A successor (eseg.succession) takes all of it from a running gateway instead: the pump last, and what it makes
before that disturbs nobody. Whoever of the two does not have the gateway ends without touching any of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from charon import CharonError, CharonRefused
from eseg import preflight
from eseg.admin import Admin
from eseg.config import Config
from eseg.front import Front, congestion_of, pools_of
from eseg.listener import unusable
from eseg.loader import Loaded
from eseg.metrics import Exporter, bind
from eseg.ranges import endpoint
from eseg.reaper import Reaper
from eseg.state import state_of
from eseg.strongswan import Strongswan
from eseg.succession import Offer, Succession, UpgradeError, fixed_of
from eseg.systemd import notify
from eseg.tls import server_of
from eseg.upgrade import hand_over
from tpkt.daemon import api, runtime, tasks
from tpkt.daemon.configfile import ConfigError
from tpkt.daemon.rights import RightsError
from tpkt.daemon.runtime import RuntimeDirectoryError
from tpkt.errors import MisuseError
from tpkt.link import GatewayLink, GatewayLinkConfig, LinkError
from tpkt.pump import PumpError

logger = logging.getLogger(__name__)

# What can go wrong in ways that a person mends; each is one line with its cure.
EXPECTED = (
    api.ApiError,
    CharonError,
    ConfigError,
    LinkError,
    PumpError,
    RightsError,
    RuntimeDirectoryError,
    UpgradeError,
)


class GatewayFailed(Exception):
    """A part that must never end has ended; the log says which and why."""


class Gateway:
    """A gateway: `run` is its whole life."""

    def __init__(self, loaded: Loaded, heir: Succession | None = None) -> None:
        """Prepare to be what `loaded` says; nothing is made before `run`. `heir`: to take it over."""
        self._loaded, self._heir = loaded, heir
        self._owner = heir is None  # link, charon and sockets are ours to remove
        self._upgrading = False
        self._descriptors: dict[str, int] = {}  # what a successor needs, by name
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
            if self._owner:
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
        config, loaded, heir = self._loaded.config, self._loaded, self._heir
        preflight.require_privileges()
        where = config.gateway.socket
        if heir is not None:
            heir.require_same(config)
        elif await api.answers(where):
            raise api.AlreadyRunning(f"{where}: a daemon is running here already; stop it first")
        for problem in unusable(config.listen, heir.offer.listeners if heir else ()):
            raise ConfigError(loaded.path, *problem)
        lock = heir.take("runtime") if heir else None
        self._descriptors["runtime"] = stack.enter_context(
            runtime.own(config.gateway.directory, "gateway", lock)
        )
        self._advise()
        metrics = self._bind_metrics(stack)

        link = link_of(config)
        stack.push_async_callback(self._leave, link)
        if heir is not None:
            link.inherit(heir.take_all("link"), named=heir.offer.link_named)
        else:
            await tasks.whole(link.up)
        workers = heir.offer.workers if heir else 0
        try:
            front = stack.enter_context(
                Front(config, link.namespace, loaded.rules, server_of(loaded), workers)
            )
        except MisuseError as error:
            # Limits of the pump that depend on this machine: a small pool and many cores.
            raise ConfigError(loaded.path, "link", str(error), "or set gateway.workers") from error
        strongswan = Strongswan(config, state_of(loaded), loaded.material.settings, lent=heir is not None)
        try:
            await stack.enter_async_context(strongswan)
        except CharonRefused as error:
            refusal = f"charon refuses a part of it: {error.what}"
            raise ConfigError(loaded.path, "", refusal, "correct that part") from error
        reaper = Reaper(front.pump, strongswan, config.limits.sa_seconds)
        server = api.Server(where)
        if heir is not None:
            server.inherit(heir.take("admin"))
            await tasks.whole(lambda: self._take_over(heir, front, strongswan))
            reaper.counts.update(heir.offer.deadlines)
            link.sign()
        else:
            front.listen()
        strongswan.supervise(self._fail)

        background: list[asyncio.Task[Any]] = []
        stack.push_async_callback(_cancel, background)
        for name, coroutine in (("pump-events", front.report()), ("deadlines", reaper.run())):
            background.append(tasks.create_task(coroutine, name=name, on_failure=self._fail))
        admin = Admin(loaded, link, strongswan, front, reaper)

        async def upgrade(_: Mapping[str, Any]) -> object:
            return await self._upgrade(link, front, strongswan, reaper, server)

        server.route({**admin.routes(), "POST /upgrade": upgrade})
        await self._serve(stack, admin, server, metrics)
        return admin

    def _take_over(self, heir: Succession, front: Front, strongswan: Strongswan) -> None:
        """Become the gateway. Raises one of EXPECTED, and then the old one still is."""
        heir.tell("ready")
        front.take_over(heir.sock)
        heir.tell("taken")
        self._owner, strongswan.lent = True, False
        front.pump.thaw()

    async def _leave(self, link: GatewayLink) -> None:
        """Remove the link if it is ours."""
        if self._owner:
            await tasks.whole(link.down)
        else:
            link.let_go()

    async def _upgrade(
        self,
        link: GatewayLink,
        front: Front,
        strongswan: Strongswan,
        reaper: Reaper,
        server: api.Server,
    ) -> dict[str, Any]:
        """Have a successor take over, and end. Raises ApiError, and then nothing has changed."""
        if self._upgrading or self._over.is_set():
            raise api.ApiError("an upgrade is going on, or the gateway is stopping; try again later")
        self._upgrading = True
        config = self._loaded.config
        passed = {
            **self._descriptors,
            "admin": server.descriptor,
            **{f"link{index}": one for index, one in enumerate(link.descriptors)},
        }
        offer = Offer(
            pid=os.getpid(),
            fixed=fixed_of(config),
            workers=front.pump.config.workers,
            link_named=link.named,
            deadlines=dict(reaper.counts),
            listeners=tuple(front.pump.listeners()),
            metrics=config.gateway.metrics,
            descriptors=tuple(passed),
        )
        try:
            replaced = await tasks.whole(lambda: hand_over(offer, tuple(passed.values()), front.pump))
        except UpgradeError as error:
            self._upgrading = False
            with contextlib.suppress(CharonError):  # it may hold what the successor wanted; health is watched
                await strongswan.restore()
            logger.error("%s", error)
            raise api.ApiError(str(error)) from error
        self._owner, strongswan.lent = False, True
        server.give_away()
        notify(f"MAINPID={replaced.pid}")
        logger.info("replaced by process %d", replaced.pid)
        if self._over.is_set():  # whoever asked us to end meanwhile meant the gateway
            os.kill(replaced.pid, signal.SIGTERM)
        self._over.set()
        return {"pid": replaced.pid, "frozen_ms": round(replaced.frozen_seconds * 1000, 1)}

    def _bind_metrics(self, stack: contextlib.AsyncExitStack) -> socket.socket | None:
        where = self._loaded.config.gateway.metrics
        listen = endpoint(where) if where else None
        if listen is None:
            return None
        if self._heir is not None and self._heir.offer.metrics == where:
            listener = socket.socket(fileno=self._heir.take("metrics"))
        else:
            try:
                listener = bind(*listen)
            except OSError as error:
                problem = f"cannot listen on {where} ({error.strerror})"
                cure = "choose another address or port"
                raise ConfigError(self._loaded.path, "gateway.metrics", problem, cure) from error
        stack.callback(listener.close)
        self._descriptors["metrics"] = listener.fileno()
        return listener

    async def _serve(
        self,
        stack: contextlib.AsyncExitStack,
        admin: Admin,
        server: api.Server,
        metrics: socket.socket | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, admin.reload_soon)
        stack.callback(loop.remove_signal_handler, signal.SIGHUP)
        await stack.enter_async_context(server)
        if metrics is not None:
            await stack.enter_async_context(Exporter(metrics, admin.scrape))

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
