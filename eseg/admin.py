# SPDX-License-Identifier: Apache-2.0
"""What the admin API answers about a running gateway, and the one thing it changes: who may connect.

Made when everything stands; starts and ends nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from msgspec import structs

from charon import CharonError
from eseg.bans import BanDesk
from eseg.config import Config
from eseg.front import Front, pools_of, workers_of
from eseg.loader import Loaded, load
from eseg.metrics import CONTENT_TYPE, page
from eseg.reaper import Reaper
from eseg.report import LinkStatus, Listener, SessionList, Status, http_status, pump_status
from eseg.sessions import Session, join, protocols
from eseg.state import state_of
from eseg.strongswan import Strongswan
from eseg.tls import server_of, status_of
from tpkt.daemon import api, tasks
from tpkt.daemon.configfile import ConfigError
from tpkt.link import GatewayLink
from tpkt.pump import PumpError

logger = logging.getLogger(__name__)
# Sections whose change would mean another link, other sockets or another charon.
FIXED = ("gateway", "listen", "link", "http", "charon")
# Keys of other sections that a running pump can change; the rest of their section is its for life.
FREE = {
    "limits": ("half_identified_per_source", "ike_half_open_per_source", "accepts_per_second_per_source"),
    "bans": ("closes", "within_seconds", "ban_seconds", "limits"),
}


class Admin:
    """The answers of one gateway."""

    def __init__(
        self, loaded: Loaded, link: GatewayLink, strongswan: Strongswan, front: Front, reaper: Reaper
    ) -> None:
        """Answer for these parts, all of which are up."""
        self._loaded, self._link, self._strongswan = loaded, link, strongswan
        self._front, self._pump, self._reaper = front, front.pump, reaper
        self._started = time.monotonic()
        self._pools = tuple(pool for pool in pools_of(loaded.config) if pool is not None)
        self.config = loaded.config

    def routes(self) -> Mapping[str, api.Handler]:
        """Give the routes of the admin API."""

        async def status(_: Mapping[str, Any]) -> object:
            return await self.status()

        async def session_list(_: Mapping[str, Any]) -> object:
            return await self.sessions()

        async def metrics(_: Mapping[str, Any]) -> object:
            return api.Raw(await self.scrape(), CONTENT_TYPE)

        async def reload(_: Mapping[str, Any]) -> object:
            return await self.reload()

        return {
            "GET /status": status,
            "GET /sessions": session_list,
            "GET /metrics": metrics,
            "POST /reload": reload,
            **BanDesk(self._pump).routes(),
        }

    async def status(self) -> Status:
        """Tell how everything is."""
        charon = await self._strongswan.status()
        troubles = tuple(await asyncio.to_thread(self._link.check))
        config, counters = self.config, self._pump.counters()
        return Status(
            instance=config.gateway.instance,
            version=version("trikesec"),
            pid=os.getpid(),
            uptime_seconds=round(time.monotonic() - self._started, 3),
            config=str(self._loaded.path),
            config_hash=config.fingerprint(),
            healthy=self._strongswan.healthy and self._front.link_works,
            listeners=tuple(
                Listener(listen.address, listen.port, tls=config.tls is not None and listen.tls == "allowed")
                for listen in config.listen
            ),
            link=LinkStatus(
                device=config.link.device,
                namespace=self._link.namespace,
                works=self._front.link_works,
                pools=tuple(str(pool) for pool in self._pools),
                troubles=troubles,
            ),
            charon=charon,
            pump=pump_status(counters, workers_of(config), self._loaded.rules.count),
            tls=status_of(self._loaded, counters),
            http=http_status(counters, config.http),
            deadlines=dict(self._reaper.counts),
        )

    async def sessions(self) -> SessionList:
        """Join connections and SAs. Without charon only connections can be shown, and why."""
        try:
            return SessionList(sessions=await self._joined(), problem=None)
        except CharonError as error:
            connections = await asyncio.to_thread(self._pump.connections)
            alone = join(connections, (), pools=self._pools, now=time.monotonic())
            return SessionList(sessions=alone, problem=str(error))

    async def scrape(self) -> bytes:
        """Give the metrics page."""
        counted = None
        with contextlib.suppress(CharonError):
            counted = protocols(await self._joined())
        return page(await self.status(), counted)

    async def reload(self) -> dict[str, str]:
        """Read the file again and apply what can change in a running gateway.

        Raises ApiError, and keeps everything as it was, when the file is wrong or more than that changed.
        """
        try:
            loaded = await asyncio.to_thread(load, self._loaded.path)
            fixed = list(unchangeable(self.config, loaded.config))
            if fixed:
                raise api.ApiError(f"{', '.join(fixed)} changed; restart the gateway to apply this")
            # In this order, since the second is the one that can still be refused, and the first be put back.
            self._front.serve_tls(server_of(loaded))
            try:
                await self._strongswan.apply(state_of(loaded))
            except CharonError:
                self._front.serve_tls(server_of(self._loaded))
                raise
            await asyncio.to_thread(self._front.admit, loaded.config, loaded.rules)
        except (ConfigError, CharonError, PumpError) as error:
            raise api.ApiError(f"not reloaded, the old configuration holds: {error}") from error
        self._loaded, self.config = loaded, loaded.config
        logger.info("reloaded %s, configuration %s", loaded.path, self.config.fingerprint())
        return {"config_hash": self.config.fingerprint()}

    def reload_soon(self) -> None:
        """Reload in the background, as SIGHUP asks for; what is wrong goes to the log."""

        async def reload() -> None:
            try:
                await self.reload()
            except api.ApiError as error:
                logger.error("%s", error)

        tasks.create_task(reload(), name="reload")

    async def _joined(self) -> list[Session]:
        # A charon that hangs is known to: whoever asks for sessions need not wait for its timeout again.
        self._strongswan.require_healthy()
        sas = await self._strongswan.sas()
        connections = await asyncio.to_thread(self._pump.connections)
        return join(connections, sas, pools=self._pools, now=time.monotonic())


def unchangeable(before: Config, after: Config) -> Iterator[str]:
    """Name what differs and cannot change in a running gateway."""
    for name in FIXED:
        if getattr(before, name) != getattr(after, name):
            yield name
    for section, free in FREE.items():
        old, new = structs.asdict(getattr(before, section)), structs.asdict(getattr(after, section))
        yield from (f"{section}.{key}" for key in old if key not in free and old[key] != new[key])
