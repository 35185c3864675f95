# SPDX-License-Identifier: Apache-2.0
"""The client's life: what is made in which order, unmade in the other, and what the admin API may ask.

    rights, runtime directory → link and pump → charon → admin API → ladder

SIGTERM and SIGINT take the tunnel down politely: the IKE_SA is deleted while the rung still stands, then
rules, connections, pump, link and charon go. Whatever fails, and whenever, what was made until then goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import random
import signal
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from charon import CharonError
from tc_client import networks, report
from tc_client.backoff import Backoff
from tc_client.carrier import Carrier
from tc_client.climber import Climber
from tc_client.esp import Esp
from tc_client.ladder import Ladder
from tc_client.loader import Loaded
from tc_client.moves import Start, Stop
from tc_client.rounds import State
from tc_client.rungs import from_config
from tc_client.strongswan import Strongswan
from tpkt.daemon import api, rights, runtime
from tpkt.daemon.configfile import ConfigError
from tpkt.daemon.rights import RightsError
from tpkt.daemon.runtime import RuntimeDirectoryError
from tpkt.link import LinkError
from tpkt.pump import PumpError, congestion

logger = logging.getLogger(__name__)

DOWN_SECONDS = 10.0
CAPABILITIES = (
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_SYS_ADMIN",
)  # link, charon's sockets, namespace
# What can go wrong in ways that a person mends; each is one line with its cure.
EXPECTED = (api.ApiError, CharonError, ConfigError, LinkError, PumpError, RightsError, RuntimeDirectoryError)


class TunnellingClient:
    """A client: `run` is its whole life."""

    def __init__(self, loaded: Loaded) -> None:
        """Prepare to be what `loaded` says; nothing is made before `run`."""
        self._loaded = loaded
        config = self._config = loaded.config
        rungs = from_config(config.gateway, config.ladder)
        times, chance = config.ladder, random.SystemRandom().random
        reprobe = None
        if times.udp_reprobe_seconds:
            reprobe = Backoff(times.udp_reprobe_seconds, times.udp_reprobe_max_seconds, chance)
        self._ladder = Ladder(
            rungs,
            rounds=Backoff(times.backoff_seconds, times.backoff_max_seconds, chance),
            repairs=Backoff(times.backoff_seconds, times.backoff_max_seconds, chance),
            reprobe=reprobe,
        )
        self._carrier = Carrier(config)
        self._strongswan = Strongswan(config, loaded.material)
        esp = Esp(self._strongswan, rungs, config.probe_address, times.silence_seconds)
        self._climber = Climber(self._ladder, self._carrier, self._strongswan, esp, config.gateway.address)
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Live until SIGTERM or SIGINT. Raises one of EXPECTED when it cannot start; nothing is left then."""
        config = self._config
        require_privileges()
        admin = config.client.socket
        if await api.answers(admin):
            raise api.AlreadyRunning(f"{admin}: a client is running here already; stop it first")
        for warning in self._loaded.material.warnings:
            logger.warning("%s", warning)
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(runtime.own(config.client.directory, "client"))
            stack.enter_context(self._signals())
            await asyncio.to_thread(networks.sweep)
            stack.push_async_callback(self._carrier.close)
            await self._prepare()
            stack.push_async_callback(self._strongswan.stop)
            await self._strongswan.start()
            stack.push_async_callback(self._climber.end)
            await stack.enter_async_context(api.Server(admin, self._routes()))
            stack.push_async_callback(self._down)
            self._climber.begin()
            if config.client.start == "up" and not self._over.is_set():
                self._climber.tell(Start())
            logger.info("ready; %s ESP: %s", self._strongswan.esp, self._strongswan.esp_reason)
            await self._over.wait()
            logger.info("stopping")

    async def _prepare(self) -> None:
        """Make the link now unless a name must be resolved for it: what is in its way shows at the start."""
        with contextlib.suppress(ValueError):
            address = ip_address(self._config.gateway.address)
            await self._carrier.prepare((address,), address)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._over.set)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    # The admin API

    def _routes(self) -> dict[str, api.Handler]:
        return {"GET /status": self._get_status, "POST /up": self._post_up, "POST /down": self._post_down}

    async def _get_status(self, _: Mapping[str, Any]) -> object:
        return await self.status()

    async def _post_up(self, _: Mapping[str, Any]) -> object:
        """Want the tunnel; returns at once, `GET /status` tells what becomes of it."""
        if self._over.is_set():
            raise api.ApiError("the client is stopping; start it again first")
        if self._ladder.state is State.IDLE:
            await self._climber.settle()
            self._climber.tell(Start())
        return {"state": self._ladder.state}

    async def _post_down(self, _: Mapping[str, Any]) -> object:
        await self._down()
        return {"state": self._ladder.state}

    async def _down(self) -> None:
        if self._ladder.state is not State.IDLE:
            self._climber.tell(Stop())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DOWN_SECONDS):
                await self._climber.settle()

    async def status(self) -> report.Status:
        """Tell how everything is."""
        clock, ladder, carrier, charon = report.Clock(), self._ladder, self._carrier, self._strongswan
        found, problems = None, await carrier.troubles()
        if ladder.sa:
            try:
                found = await charon.sa()
            except CharonError as error:
                problems.append(str(error))
        gateway = carrier.gateway_or_none
        way = await asyncio.to_thread(networks.way_to, gateway) if gateway else None
        given = charon.attributes if found else None
        waiting = ladder.state is State.WAITING and ladder.deadline is not None
        health, reason = charon.health
        return report.Status(
            state=ladder.state,
            wanted=ladder.state is not State.IDLE,
            rung=report.standing(ladder, clock),
            why=ladder.record.why,
            next_try_seconds=round((ladder.deadline or 0) - clock.now, 3) if waiting else None,
            gateway=report.Gateway(
                name=self._config.gateway.address,
                address=str(gateway) if gateway else None,
                way=str(way) if way else None,
            ),
            ike_sa=report.ike(found[0]) if found else None,
            child_sa=report.child(found[1]) if found else None,
            inner_addresses=found[0].local_vips if found else (),
            assigned=report.Assigned(dns=given.dns, p_cscf=given.p_cscf) if given else report.Assigned(),
            connection=carrier.connection(ladder.rung) if ladder.sa else None,
            rungs=report.rungs(ladder, clock),
            changes=report.changes(ladder, clock),
            charon=report.Charon(
                mode=self._config.charon.mode,
                health=health,
                reason=reason,
                pid=charon.pid,
                restarts=charon.restarts,
                esp=charon.esp,
                esp_reason=charon.esp_reason,
            ),
            instance=self._config.client.instance,
            version=importlib.metadata.version("trikesec"),
            problems=tuple(problems),
            congestion=congestion.described(self._config.link.congestion),
        )


def require_privileges() -> None:
    """Raise RightsError unless this process may do what the client does."""
    rights.require(CAPABILITIES, "docs/CLIENT.md")
