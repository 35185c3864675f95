# SPDX-License-Identifier: Apache-2.0
"""The side that clients see: the pump with its listeners, over a link that is up already.

Turns the configuration into the pump's and tells the log what the pump reports. The log must survive an
attack: what strangers can cause at any rate is logged at debug level only, and counted always.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Self

from msgspec import structs

from eseg.access import Rules
from eseg.config import Config
from eseg.ranges import port_text
from tpkt.errors import CloseReason
from tpkt.pump import (
    Banning,
    EventKind,
    Limits,
    Pump,
    PumpConfig,
    PumpError,
    PumpEvent,
    TlsServer,
    WebBackend,
    congestion,
)

logger = logging.getLogger(__name__)

MAX_WORKERS = 64  # more cores than this gain nothing: charon is the limit long before
EXPECTED = (CloseReason.BANNED, CloseReason.DENIED)


def pools_of(config: Config) -> tuple[IPv4Network, IPv6Network | None]:
    """Give the pools of flow addresses; IPv6 only where somebody can arrive by it."""
    pool6 = IPv6Network(config.link.pool6) if config.wants_ipv6 else None
    return IPv4Network(config.link.pool4), pool6


def workers_of(config: Config) -> int:
    """Give the number of workers: as configured, or one for each core this process may use."""
    return config.gateway.workers or min(MAX_WORKERS, len(os.sched_getaffinity(0)))


def congestion_of(config: Config) -> tuple[str | None, str | None]:
    """Give the congestion control for clients' connections, and a sentence when it is not what is wanted.

    None leaves the system's own choice.
    """
    return congestion.choose(config.link.congestion)


def web_backend(config: Config) -> WebBackend | None:
    """Give where web clients go; None: nowhere, they are answered 404."""
    http = config.http
    if http.where is None:
        return None
    return WebBackend(
        where=http.where,
        proxy_protocol=http.proxy_protocol,
        connections=http.connections,
        connect_seconds=http.connect_seconds,
        idle_seconds=http.idle_seconds,
    )


def pump_config(config: Config, namespace: str, workers: int = 0) -> PumpConfig:
    """Give what the pump is told; `namespace` is the link's, `workers` what a predecessor has (0: none)."""
    pool4, pool6 = pools_of(config)
    return PumpConfig(
        role="gateway",
        namespace=namespace,
        workers=workers or workers_of(config),
        pool4=pool4,
        pool6=pool6,
        congestion=congestion_of(config)[0],
        limits=limits_of(config),
        banning=banning_of(config),
        web=web_backend(config),
    )


def limits_of(config: Config) -> Limits:
    """Give the limits that the pump keeps; their names are the same there."""
    own = {field.name for field in dataclasses.fields(Limits)}
    return Limits(**{name: value for name, value in structs.asdict(config.limits).items() if name in own})


def banning_of(config: Config) -> Banning:
    """Give when the pump bans, by the same names."""
    return Banning(**structs.asdict(config.bans))


class Front:
    """A running pump with its listeners; a context manager."""

    def __init__(
        self, config: Config, namespace: str, rules: Rules, tls: TlsServer | None = None, workers: int = 0
    ) -> None:
        """Prepare; nothing is open before entering the context.

        With `workers` it is to take over a predecessor's pump, which has so many: see take_over().
        """
        self._inherits = workers > 0
        self._config, self._rules, self._tls = config, rules, tls
        self.pump = Pump(pump_config(config, namespace, workers))
        self._refused = False  # what the pump last said of the link

    def __enter__(self) -> Self:
        """Start the workers. Raises PumpError with nothing left open."""
        if self._inherits:
            self.pump.prepare()
            return self
        self.pump.start()
        try:
            self.admit(self._config, self._rules)
            self.serve_tls(self._tls)
        except PumpError:
            self.pump.close()
            raise
        return self

    def serve_tls(self, tls: TlsServer | None) -> None:
        """Serve TLS with these certificates from the next handshake on. Raises PumpError, nothing changed."""
        self.pump.serve_tls(tls)

    def admit(self, config: Config, rules: Rules) -> None:
        """Judge by these from here on who may connect. Raises PumpError, and then those before still hold."""
        self.pump.door.set_access(allow=rules.allow, deny=rules.deny)
        self.pump.door.tune(limits_of(config), banning_of(config))

    def listen(self) -> None:
        """Let clients in, as far as the rules go. Raises PumpError."""
        for listen in self._config.listen:
            tls = listen.tls == "allowed"
            self.pump.listen(listen.address, listen.port, tls=tls, balancers=listen.balancers)

    def take_over(self, sock: socket.socket) -> None:
        """Take what comes over `sock`; nothing moves before thaw(). Raises PumpError."""
        self.pump.take_over(sock)
        self.admit(self._config, self._rules)
        self.serve_tls(self._tls)
        before = set(self.pump.listeners())
        for listen in self._config.listen:
            where = str(ip_address(listen.address)), listen.port
            serve = self.pump.relisten if where in before else self.pump.listen
            serve(*where, tls=listen.tls == "allowed", balancers=listen.balancers)
            before.discard(where)
        for where in before:
            self.pump.unlisten(*where)

    def __exit__(self, *_: object) -> None:
        """Close every connection and end the workers."""
        self.pump.close()

    async def report(self) -> None:
        """Write the pump's events to the log, for ever."""
        speakers = {one.id for one in self.pump.connections() if one.stream_to_link_frames}
        async for event in self.pump.events():
            match event.kind:
                case EventKind.LINK_DOWN | EventKind.LINK_UP:
                    self._refused = event.kind is EventKind.LINK_DOWN
                case EventKind.FIRST_IKE:
                    speakers.add(event.connection)
                case EventKind.LOST:
                    speakers &= {connection.id for connection in self.pump.connections()}
            log(event, news=event.connection in speakers)
            if event.kind is EventKind.CLOSED:
                speakers.discard(event.connection)

    @property
    def link_works(self) -> bool:
        """Whether the link's device is there and takes what clients send."""
        try:
            socket.if_nametoindex(self._config.link.device)
        except OSError:
            return False
        return not self._refused


def log(event: PumpEvent, *, news: bool) -> None:
    """Write one event of the pump as one line; the end of a connection that spoke IKE is `news`."""
    client = port_text(*event.remote)
    match event.kind:
        case EventKind.FIRST_IKE:
            logger.info(
                "connection %d: %s speaks IKE over %s as %s (SPI %s)",
                event.connection,
                client,
                event.protocol,
                event.flow,
                event.spi_i,
            )
        case EventKind.CLOSED:
            level = logging.INFO if news else logging.DEBUG
            logger.log(level, "connection %d: %s closed: %s", event.connection, client, event.reason.sentence)
        case EventKind.LIMIT:
            # Rules and bans do what they are there for; a limit that is hit is news.
            level = logging.DEBUG if event.reason in EXPECTED else logging.WARNING
            logger.log(level, "refused %s: %s", client, event.reason.sentence)
        case EventKind.BAN:
            logger.warning("banned the source of %s: lastly, %s", client, event.reason.sentence)
        case EventKind.LINK_DOWN:
            logger.error("the link refuses datagrams (seen for %s); see `eseg status`", event.flow)
        case EventKind.LINK_UP:
            logger.info("the link takes datagrams again")
        case EventKind.LOST:
            logger.debug("events of the pump were lost")
        case _:
            logger.debug("connection %d: %s %s %s", event.connection, client, event.kind, event.protocol)
