# SPDX-License-Identifier: Apache-2.0
"""What carries charon's packets to the gateway: nothing of ours (UDP), or link, pump and a connection.

Opens and leaves rungs; which one, and when, is the ladder's. Opening a stream rung means: a connection on
which IKE has answered is handed to the pump, then the link's rules divert IKE and ESP into it. Opening UDP
means: the rules go. What is open besides stays open until it is left, so that nothing is lost in between.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address, ip_network

from tc_client import networks
from tc_client.config import Config
from tc_client.probes import Answer, Stream, open_tcp, probe_stream, probe_udp
from tc_client.rungs import Failure, Rung, RungError, Transport, Why
from tpkt.daemon import tasks
from tpkt.errors import CloseReason
from tpkt.link import ClientLink, ClientLinkConfig, LinkError
from tpkt.pump import ConnectionInfo, EventKind, Pump, PumpConfig, PumpEvent, congestion

logger = logging.getLogger(__name__)
Address = IPv4Address | IPv6Address

# Data that nobody acknowledges for so long: the path is dead, though no reset has come.
USER_TIMEOUT_SECONDS = 10.0
_WHY = {CloseReason.RESET: Why.RESET, CloseReason.FIN: Why.CLOSED, CloseReason.FIN_IN_FRAME: Why.CLOSED}


async def dial_tcp(address: Address, rung: Rung) -> Stream:
    """Connect, and see IKE answered in the first frame."""
    loop = asyncio.get_running_loop()
    end = loop.time() + rung.probe_seconds
    sock = await open_tcp(address, rung.port, seconds=rung.probe_seconds)
    return await probe_stream(sock, rung.title, seconds=max(0.1, end - loop.time()))


# Who opens a stream rung. A further transport is a further line here and a further rung.
DIALLERS: dict[Transport, Callable[[Address, Rung], Awaitable[Stream]]] = {Transport.TCP: dial_tcp}


class Carrier:
    """Link, pump and connections of one client, for the gateway address in use."""

    def __init__(self, config: Config) -> None:
        """Make nothing yet; `on_stream_lost` hears which rung's connection broke, unless it was left."""
        self.on_stream_lost: Callable[[str, Failure], None] | None = None
        self._config = config
        self._link: ClientLink | None = None
        self._pump: Pump | None = None
        self._listener: asyncio.Task[None] | None = None
        self._addresses: frozenset[Address] = frozenset()
        self._gateway: Address | None = None
        self._prepared: dict[str, Stream] = {}
        self._connections: dict[str, int] = {}
        self._diverted_for: str | None = None

    @property
    def gateway(self) -> Address:
        """The gateway's address in use."""
        if self._gateway is None:
            raise RungError(Failure(Why.NO_ADDRESS, "the gateway has no address yet"))
        return self._gateway

    @property
    def gateway_or_none(self) -> Address | None:
        """The same, for who asks at any time."""
        return self._gateway

    @property
    def mark(self) -> int:
        """The mark by which the link knows outgoing kernel ESP."""
        return self._made()[0].config.mark

    async def prepare(self, addresses: tuple[Address, ...], chosen: Address) -> None:
        """Have link and pump ready for all of `addresses`, and use `chosen`. Raises LinkError, PumpError."""
        if self._link is None or not self._addresses >= set(addresses):
            await self.close()
            try:
                await self._make(addresses)
            except BaseException:
                await self.close()
                raise
        self._gateway = chosen

    async def _make(self, addresses: tuple[Address, ...]) -> None:
        config, self._addresses = self._config, frozenset(addresses)
        self._link = ClientLink(
            ClientLinkConfig(
                instance=config.client.instance,
                device=config.link.device,
                gateways=addresses,
                mark=config.link.mark,
                mtu=config.link.mtu,
            )
        )
        await tasks.whole(self._link.up)
        await asyncio.to_thread(networks.keep_outside, self._covered())
        chosen, problem = congestion.choose(config.link.congestion)
        if problem:
            logger.warning("%s", problem)
        self._pump = Pump(PumpConfig(role="client", namespace=self._link.namespace, congestion=chosen))
        self._pump.start()
        self._listener = tasks.create_task(self._listen(self._pump), name="pump-events")

    async def close(self) -> None:
        """Undo everything; harmless when done twice."""
        for name in list(self._prepared):
            self._prepared.pop(name).sock.close()
        self._connections.clear()
        self._diverted_for = None
        if self._pump is not None:
            self._pump.close()
            self._pump = None
        if self._listener is not None:
            await tasks.cancel(self._listener)
            self._listener = None
        if self._link is not None:
            link, self._link = self._link, None
            await tasks.whole(link.down)
            await asyncio.to_thread(networks.keep_outside, self._covered(), wanted=False)

    async def probe(self, rung: Rung) -> Answer:
        """See IKE answered over `rung`; a connection made for it is kept for `open`. Raises RungError."""
        if not rung.stream:
            return await probe_udp(
                self.gateway, rung.port, seconds=rung.probe_seconds, device=await self._outside()
            )
        self._forget(rung)
        stream = await DIALLERS[rung.transport](self.gateway, rung)
        self._prepared[rung.name] = stream
        return stream.answer

    async def _outside(self) -> str | None:
        """The device past the link, where one is needed to get there."""
        if self._diverted_for is None:
            return None
        way = await asyncio.to_thread(networks.way_to, self.gateway)
        if way is None:
            raise RungError(Failure(Why.UNREACHABLE, f"this machine has no route to {self.gateway}"))
        return way.device

    async def open(self, rung: Rung) -> None:
        """Have `rung` carry IKE and ESP from now on. Raises RungError, LinkError, PumpError."""
        link, _ = self._made()
        if not rung.stream:
            self._diverted_for = None
            await tasks.whole(lambda: link.release(self.gateway))
            return
        if self.connection(rung) is None:
            stream = self._prepared.pop(rung.name, None)
            self._adopt(rung, stream or await DIALLERS[rung.transport](self.gateway, rung))
        self._diverted_for = rung.name
        await tasks.whole(lambda: link.divert(self.gateway))

    async def reopen(self, rung: Rung) -> None:
        """Give `rung` a new connection, and close the old one, if it lives, once the new one carries."""
        self._forget(rung)
        stream = await DIALLERS[rung.transport](self.gateway, rung)
        old = self._connections.pop(rung.name, None)
        self._adopt(rung, stream)
        if old is not None:
            self._made()[1].close_connection(old, CloseReason.REPLACED)
        await self.open(rung)

    async def leave(self, rung: Rung) -> None:
        """Close what `rung` holds open; nothing is diverted into it any more."""
        self._forget(rung)
        if self._link is None or self._pump is None:
            return
        if self._diverted_for == rung.name:
            link, self._diverted_for = self._link, None
            await tasks.whole(lambda: link.release(self.gateway))
        connection = self._connections.pop(rung.name, None)
        if connection is not None:
            self._pump.close_connection(connection)

    def connection(self, rung: Rung | None) -> ConnectionInfo | None:
        """The open connection of `rung`, with its counters."""
        identity = self._connections.get(rung.name) if rung is not None else None
        return None if identity is None or self._pump is None else self._pump.connection(identity)

    async def troubles(self) -> list[str]:
        """What is wrong with the link, one line with its cure each."""
        link = self._link
        if link is None:
            return []
        try:
            return await asyncio.to_thread(link.check)
        except LinkError as error:
            return [str(error)]

    def _covered(self) -> list[Address]:
        """The gateway's addresses that the tunnel's own selectors cover."""
        selectors = self._config.tunnel.remote_ts if self._config.tunnel is not None else ()
        covered = [ip_network(selector.partition("[")[0]) for selector in selectors]
        return [address for address in self._addresses if any(address in network for network in covered)]

    def _made(self) -> tuple[ClientLink, Pump]:
        if self._link is None or self._pump is None:
            raise RungError(Failure(Why.LOCAL, "the link is down; the log says why"))
        return self._link, self._pump

    def _adopt(self, rung: Rung, stream: Stream) -> None:
        _, pump = self._made()
        milliseconds = int(USER_TIMEOUT_SECONDS * 1000)
        try:
            stream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
            identity = pump.adopt(stream.sock, flow=str(self.gateway), leftover=stream.leftover)
        except OSError:
            stream.sock.close()
            raise
        self._connections[rung.name] = identity

    def _forget(self, rung: Rung) -> None:
        stream = self._prepared.pop(rung.name, None)
        if stream is not None:
            stream.sock.close()

    async def _listen(self, pump: Pump) -> None:
        async for event in pump.events():
            logger.debug("pump: %s", event)
            if event.kind is EventKind.CLOSED:
                self._closed(event)
            elif event.kind is EventKind.LOST:
                self._look_again(pump)
            elif event.kind in (EventKind.LINK_DOWN, EventKind.LINK_UP):
                logger.warning("the link into charon's network is %s", event.kind.removeprefix("link_"))

    def _closed(self, event: PumpEvent) -> None:
        for name, identity in self._connections.items():
            if identity == event.connection:
                del self._connections[name]
                self._lost(name, event.reason)
                return

    def _look_again(self, pump: Pump) -> None:
        """Some events are gone: find out which connections are."""
        alive = {info.id for info in pump.connections()}
        for name, identity in list(self._connections.items()):
            if identity not in alive:
                del self._connections[name]
                self._lost(name, CloseReason.NONE)

    def _lost(self, name: str, reason: CloseReason) -> None:
        why = _WHY.get(reason, Why.CLOSED)
        sentence = reason.sentence if reason is not CloseReason.NONE else "it has ended"
        if self.on_stream_lost is not None:
            self.on_stream_lost(name, Failure(why, f"the connection broke: {sentence}"))
