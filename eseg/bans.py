# SPDX-License-Identifier: Apache-2.0
"""What the admin API answers about bans, and how it makes and lifts them. The pump holds them."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Mapping
from typing import Any

from eseg.access import Network, prefix_of
from eseg.config import MAX_BAN_SECONDS
from eseg.report import BanEntry, BanList
from tpkt.daemon import api
from tpkt.errors import CloseReason
from tpkt.pump import Ban, Pump

logger = logging.getLogger(__name__)
MOST_LISTED = 65_536


class BanDesk:
    """Answers for the bans of one pump."""

    def __init__(self, pump: Pump) -> None:
        """Answer for `pump`, which runs."""
        self._pump = pump

    def routes(self) -> Mapping[str, api.Handler]:
        """Give the routes of the admin API."""

        async def listed(_: Mapping[str, Any]) -> object:
            return await asyncio.to_thread(self.listed)

        async def ban(body: Mapping[str, Any]) -> object:
            return await asyncio.to_thread(self.ban, body)

        async def unban(body: Mapping[str, Any]) -> object:
            return self.unban(body)

        return {"GET /bans": listed, "POST /bans": ban, "POST /bans/lift": unban}

    def listed(self) -> BanList:
        """List every ban that holds, those that end first in front."""
        now = time.monotonic()
        bans = sorted(self._pump.door.bans(), key=lambda ban: ban.until)
        return BanList(bans=[_entry(ban, now) for ban in bans[:MOST_LISTED]], count=len(bans))

    def ban(self, body: Mapping[str, Any]) -> dict[str, object]:
        """Refuse a prefix for some seconds; with "close", end its open connections too."""
        prefix, seconds = _prefix(body), body.get("seconds")
        if not isinstance(seconds, int | float) or not 0 < seconds <= MAX_BAN_SECONDS:
            raise api.ApiError(f"seconds is {seconds!r}; give a number between 0 and {MAX_BAN_SECONDS}")
        self._pump.door.ban(prefix, seconds)
        closed = self._close_all(prefix) if body.get("close") else 0
        logger.warning("banned %s for %g s on request, closed %d connections", prefix, seconds, closed)
        return {"prefix": str(prefix), "seconds": seconds, "closed": closed}

    def _close_all(self, prefix: Network) -> int:
        inside = [
            connection.id
            for connection in self._pump.connections()
            if ipaddress.ip_address(connection.remote[0]) in prefix
        ]
        return sum(self._pump.close_connection(number, CloseReason.BANNED) for number in inside)

    def unban(self, body: Mapping[str, Any]) -> dict[str, object]:
        """Lift the ban of exactly this prefix."""
        prefix = _prefix(body)
        if not self._pump.door.unban(prefix):
            raise api.ApiError(f"{prefix} is not banned; `eseg bans` lists the prefixes that are")
        logger.warning("lifted the ban of %s on request", prefix)
        return {"prefix": str(prefix)}


def _prefix(body: Mapping[str, Any]) -> Network:
    found = prefix_of(str(body.get("prefix", "")))
    if isinstance(found, str):
        raise api.ApiError(f"{found}; give a prefix such as 203.0.113.0/24, or an address")
    return found


def _entry(ban: Ban, now: float) -> BanEntry:
    return BanEntry(
        prefix=str(ban.prefix),
        since_seconds=round(now - ban.since, 3),
        left_seconds=round(ban.until - now, 3),
        refused=ban.refused,
        reason=str(ban.reason),
        by_hand=ban.by_hand,
    )
