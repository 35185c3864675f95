# SPDX-License-Identifier: Apache-2.0
"""Whether ESP passes in both directions, and whether it still does.

IKE that works proves nothing about ESP: firewalls drop one and not the other. The proof is a ping from the
inner address to an address behind the gateway, or any packet that the CHILD_SA has decrypted meanwhile. Where
nothing behind the gateway is known that answers, that is said and the rung counts as standing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Protocol

from charon import ChildSa, IkeSa
from charon.attributes import Attributes
from charon.nudge import Nudge
from tc_client.echo import ping
from tc_client.rungs import Failure, Rung, RungError, Why

logger = logging.getLogger(__name__)
Address = IPv4Address | IPv6Address

MONITOR_SECONDS = 0.5
DOUBT_SECONDS = 1.5  # how long a doubted path is asked
CURE = "set tunnel.probe_address to one that does"
UNKNOWN = f"ESP is not verified: no address behind the gateway is known that answers a ping; {CURE}"


@dataclass(frozen=True, slots=True)
class Target:
    """An inner address to ping; `trusted` when the user said that it answers."""

    address: Address
    trusted: bool
    what: str


class Association(Protocol):
    """What is asked of whoever holds the SA."""

    async def sa(self) -> tuple[IkeSa, ChildSa] | None:
        """Give the established IKE_SA with its newest CHILD_SA."""

    async def nudge(self, seconds: float) -> Nudge:
        """Send an IKE message now and wait for its answer."""

    @property
    def attributes(self) -> Attributes:
        """What the gateway has assigned."""


class Esp:
    """Verifies and watches one CHILD_SA."""

    def __init__(
        self,
        association: Association,
        rungs: Sequence[Rung],
        probe_address: str | None,
        silence_seconds: float,
    ) -> None:
        """`silence_seconds`: how long packets may go out with none coming in before the path is doubted."""
        self._association = association
        self._has_streams = any(rung.stream for rung in rungs)
        self._configured = ip_address(probe_address) if probe_address else None
        self._silence = silence_seconds
        self._mute: set[Address] = set()  # learned addresses that answer nobody
        self._verified = False  # on the rung that carries the SA now

    async def verify(self, rung: Rung, seconds: float) -> str:
        """See ESP both ways over `rung`; gives what was seen. Raises RungError."""
        self._verified = False
        found = await self._association.sa()
        if found is None:
            raise RungError(Failure(Why.IKE_SILENT, f"{rung.title}: there is no CHILD_SA to verify"))
        sa, before = found
        target, source = self._target(sa, before)
        if target is None or source is None:
            return UNKNOWN
        answered = await self._ask(source, target, before, seconds)
        if answered is not None:
            self._verified = True
            return f"ESP seen both ways: {answered}"
        if not target.trusted and (rung.stream or not self._has_streams):
            # A stream that carries IKE carries ESP: it is the address that does not answer.
            self._mute.add(target.address)
            return f"ESP is not verified: {target.what} {target.address} answers no ping; {CURE}"
        sentence = f"{rung.title}: IKE works and ESP does not: {target.what} {target.address} is silent"
        if rung.stream:
            # What carries one frame carries the other: look behind the gateway before at the firewall.
            sentence += "; is it up, and does the gateway forward (`eseg doctor` there)?"
        raise RungError(Failure(Why.ESP_SILENT, sentence))

    async def _ask(self, source: Address, target: Target, before: ChildSa, seconds: float) -> str | None:
        """Ping, and look at the counters as well: any inner packet that came in is as good as an answer."""
        try:
            rtt = await ping(source, target.address, seconds)
        except OSError as error:
            logger.warning("no ping from %s: %s", source, error.strerror)
            rtt = None
        if rtt is not None:
            return f"{target.what} {target.address} answered in {rtt * 1000:.0f} ms"
        now = await self._association.sa()
        if now is not None and _came_in(before, now[1]):
            return "packets came in"
        return None

    def _target(self, sa: IkeSa, child: ChildSa) -> tuple[Target | None, Address | None]:
        """Choose whom to ping, and from which inner address."""
        candidates: list[Target] = []
        if self._configured is not None:
            candidates.append(Target(self._configured, True, "the probe address"))
        else:
            given = self._association.attributes
            for what, addresses in (("the P-CSCF", given.p_cscf), ("the DNS server", given.dns)):
                candidates += [Target(ip_address(text), False, what) for text in addresses]
        sources = [ip_address(vip) for vip in sa.local_vips]
        for target in candidates:
            if target.address in self._mute or not _inside(target.address, child.remote_ts):
                continue
            source = next((one for one in sources if one.version == target.address.version), None)
            if source is not None:
                return target, source
        return None, None

    async def watch(self, rung: Rung) -> Failure:
        """Watch `rung`, which stands; gives why it stands no longer, if ever. Raises CharonError."""
        last: ChildSa | None = None
        quiet_since: float | None = None
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(MONITOR_SECONDS)
            found = await self._association.sa()
            if found is None:
                continue  # its loss is told by events
            sa, child = found
            if last is None or child.unique_id != last.unique_id or child.packets_in > last.packets_in:
                self._verified = self._verified or (last is not None and _came_in(last, child))
                last, quiet_since = child, None
            one_way = child.packets_out > last.packets_out
            if not one_way and not sa.tasks_active:
                quiet_since = None
                continue
            quiet_since = quiet_since or loop.time()
            if self._silence and loop.time() - quiet_since >= self._silence:
                failure = await self._doubt(rung, sa, child, one_way=one_way)
                if failure is not None:
                    return failure
                last, quiet_since = None, None

    async def _doubt(self, rung: Rung, sa: IkeSa, child: ChildSa, *, one_way: bool) -> Failure | None:
        """Ask whether the path is dead, or only the traffic one-sided."""
        logger.info("%s: what goes out is not answered; asking", rung.title)
        target, source = self._target(sa, child)
        if target is not None and source is not None:
            if await self._ask(source, target, child, DOUBT_SECONDS) is not None:
                return None
            sentence = f"{rung.title}: ESP goes out and nothing comes in; {target.address} is silent"
            return Failure(Why.ESP_SILENT, sentence)
        nudge = await self._association.nudge(DOUBT_SECONDS)
        if not nudge.answered:
            return Failure(Why.SILENT, f"{rung.title}: the gateway does not answer any more")
        if one_way and not self._verified and not rung.stream and self._has_streams:
            sentence = f"{rung.title}: IKE works, and no ESP has ever come in while ESP went out"
            return Failure(Why.ESP_SILENT, sentence)
        return None  # the gateway is there, and one-sided traffic is no crime


def _came_in(before: ChildSa, now: ChildSa) -> bool:
    return now.packets_in > (before.packets_in if now.unique_id == before.unique_id else 0)


def _inside(address: Address, selectors: tuple[str, ...]) -> bool:
    for selector in selectors:
        with contextlib.suppress(ValueError):
            if address in ip_network(selector.partition("[")[0].partition("|")[0]):
                return True
    return False
