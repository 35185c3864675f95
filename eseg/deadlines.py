# SPDX-License-Identifier: Apache-2.0
"""Which connections have had their time: no authenticated IKE_SA uses them, and none came in time.

The pump gives a stranger seconds to begin IKE; this is the longer deadline in which IKE must have ended
well. It also ends what a client left behind, when its IKE_SA moved to another connection or to UDP, or was
deleted. Sans-IO: connections, SAs and time are arguments, what to close is the answer.

Asking charon for all of its SAs is not free, so a connection that had one is looked at again only every
CONFIRMED_SECONDS: `wants_listing` says when charon must be asked at all.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence

from charon.sas import IkeSa
from tpkt.pump import ConnectionInfo, ConnectionState

CONFIRMED_SECONDS = 60.0


class Verdict(enum.StrEnum):
    """Why a connection is closed; the name it is counted under."""

    NEVER = "no_ike_sa"  # nobody authenticated over it in time
    GONE = "ike_sa_left"  # its IKE_SA moved elsewhere or ended, and no other came


class Deadlines:
    """Remembers which connections had an IKE_SA, and since when the others have none."""

    def __init__(self, seconds: float) -> None:
        """Give every connection `seconds`; 0 switches the deadline off."""
        self.seconds = seconds
        self._confirmed: dict[int, float] = {}
        self._orphaned: dict[int, float] = {}

    @property
    def interval(self) -> float:
        """How often to look, so that a connection outlives its deadline by a third at most."""
        return min(max(self.seconds / 3, 0.2), 10.0)

    def wants_listing(self, connections: Iterable[ConnectionInfo], now: float) -> bool:
        """Whether any connection must be judged now."""
        if not self.seconds:
            return False
        return any(
            connection.state is ConnectionState.OPEN
            and self._confirmed.get(connection.id, float("-inf")) <= now - CONFIRMED_SECONDS
            for connection in connections
        )

    def pause(self) -> None:
        """Stop all clocks: charon cannot be asked, and while it is away nobody can authenticate."""
        self._orphaned.clear()

    def judge(
        self, connections: Sequence[ConnectionInfo], sas: Iterable[IkeSa], now: float
    ) -> list[tuple[int, Verdict]]:
        """Give the connections to close. Time counts from the first look that found no IKE_SA."""
        served = {sa.remote_host for sa in sas if sa.established}
        open_now = {item.id: item for item in connections if item.state is ConnectionState.OPEN}
        overdue = []
        for number, connection in open_now.items():
            if connection.flow in served:
                self._confirmed[number] = now
                self._orphaned.pop(number, None)
                continue
            since = self._orphaned.setdefault(number, now)
            if now - since >= self.seconds:
                overdue.append((number, Verdict.GONE if number in self._confirmed else Verdict.NEVER))
        self._forget(open_now)
        return overdue

    def _forget(self, known: Iterable[int]) -> None:
        """Drop what is remembered of connections that are gone: identifiers are many, memory is not."""
        for remembered in (self._confirmed, self._orphaned):
            for number in remembered.keys() - set(known):
                del remembered[number]
