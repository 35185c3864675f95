# SPDX-License-Identifier: Apache-2.0
"""Closes the connections whose deadline for an IKE_SA has passed, and counts them by reason."""

from __future__ import annotations

import asyncio
import logging
import time

from charon import CharonError
from eseg.deadlines import Deadlines, Verdict
from eseg.strongswan import Strongswan
from tpkt.pump import Pump

logger = logging.getLogger(__name__)


class Reaper:
    """Looks at all connections every so often, and asks charon only when one of them must be judged."""

    def __init__(self, pump: Pump, strongswan: Strongswan, seconds: float) -> None:
        """Prepare to enforce a deadline of `seconds`; 0 switches it off."""
        self._pump, self._strongswan = pump, strongswan
        self._deadlines = Deadlines(seconds)
        self.counts = {str(verdict): 0 for verdict in Verdict}

    async def run(self) -> None:
        """Enforce the deadline for ever."""
        while self._deadlines.seconds:
            await asyncio.sleep(self._deadlines.interval)
            await self.look()

    async def look(self) -> None:
        """Look once."""
        # Before charon is asked: a connection that is accepted meanwhile is not judged by an older answer.
        connections = await asyncio.to_thread(self._pump.connections)
        if not self._deadlines.wants_listing(connections, time.monotonic()):
            return
        try:
            self._strongswan.require_healthy()
            sas = await self._strongswan.sas()
        except CharonError as error:
            logger.debug("deadlines are paused: %s", error)
            self._deadlines.pause()
            return
        for number, verdict in self._deadlines.judge(connections, sas, time.monotonic()):
            logger.info("closing connection %d: %s", number, SENTENCES[verdict])
            self.counts[str(verdict)] += 1
            self._pump.close_connection(number)


SENTENCES = {
    Verdict.NEVER: "nobody was authenticated over it in time",
    Verdict.GONE: "its IKE_SA ended or moved elsewhere, and no other came",
}
