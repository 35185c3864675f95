# SPDX-License-Identifier: Apache-2.0
"""What the pump is told once, when it is made: its role, its link, its pools and its limits.

Frozen and checked whole on construction, so that a wrong figure is named here and not in C. The two roles
differ by data alone: a gateway gives each accepted connection a flow address out of a pool, a client claims
its gateway's address, which comes with each adopted connection. Must not know where the figures come from.
"""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from tpkt.errors import MisuseError

MAX_WORKERS = 64
MIN_QUEUE_BYTES = 16_384  # room for an IKE message with a long chain of certificates, which is never dropped
MAX_PATH = 107  # bytes that the address of a Unix socket holds
MAX_CONNECTIONS = 1 << 24  # a connection's number inside its worker has 24 bits of its identifier

MAX_BAN_SECONDS = 366 * 86_400


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much anybody may cost. Every limit that is hit closes or drops under a name of its own."""

    connections: int = 100_000
    half_identified: int = 1024  # accepted, and the protocol not yet told
    half_identified_per_source: int = 64  # of one IPv4 address or one IPv6 /64
    ike_half_open: int = 1024  # gateway: identified, and charon has not answered yet; 0 = any number
    ike_half_open_per_source: int = 128  # the same of one source; 0 = any number
    accepts_per_second_per_source: int = 200  # with a second's worth of burst; 0 = off
    first_bytes_seconds: float = 10.0
    handshake_seconds: float = 10.0  # of TLS, from its first byte
    frame_seconds: float = 30.0  # from a frame's first byte to its last
    ike_seconds: float = 10.0  # gateway: until charon has answered an IKE message; 0 = off
    queue_bytes: int = 262_144  # waiting for one connection, in memory really taken
    worker_queue_bytes: int = 268_435_456  # the same for all connections of a worker, partial frames included

    def __post_init__(self) -> None:
        """Refuse what the data plane could not keep."""
        _within("connections", self.connections, 1, MAX_CONNECTIONS)
        _within("half_identified", self.half_identified, 1, MAX_CONNECTIONS)
        _within("half_identified_per_source", self.half_identified_per_source, 1, MAX_CONNECTIONS)
        _within("ike_half_open", self.ike_half_open, 0, MAX_CONNECTIONS)
        _within("ike_half_open_per_source", self.ike_half_open_per_source, 0, MAX_CONNECTIONS)
        _within("accepts_per_second_per_source", self.accepts_per_second_per_source, 0, 1_000_000)
        _within("first_bytes_seconds", self.first_bytes_seconds, 0.01, 86_400)
        _within("handshake_seconds", self.handshake_seconds, 0.01, 86_400)
        _within("frame_seconds", self.frame_seconds, 0.01, 86_400)
        if self.ike_seconds != 0:
            _within("ike_seconds", self.ike_seconds, 0.01, 86_400)
        _within("queue_bytes", self.queue_bytes, MIN_QUEUE_BYTES, 1 << 30)
        _within("worker_queue_bytes", self.worker_queue_bytes, self.queue_bytes, 1 << 40)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Banning:
    """When the pump itself refuses a source for a while; a gateway's matter."""

    closes: int = 100  # hostile ends of connections from one source; 0 = nobody is banned
    within_seconds: float = 60.0  # from the first of them
    ban_seconds: float = 600.0
    limits: bool = False  # a refusal by a source's own limits counts as well
    most: int = 65_536  # bans at a time; the oldest go first

    def __post_init__(self) -> None:
        """Refuse what the data plane could not keep."""
        _within("closes", self.closes, 0, 1_000_000)
        _within("within_seconds", self.within_seconds, 0.01, 86_400)
        _within("ban_seconds", self.ban_seconds, 0.01, MAX_BAN_SECONDS)
        _within("most", self.most, 1, 1 << 20)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WebBackend:
    """The web server that gets the connections of HTTP clients; one connection to it for each of theirs."""

    where: tuple[str, int] | str  # address and port, or the path of a Unix socket
    proxy_protocol: bool = False  # begin each with a PROXY header, version 2, that names the client
    connections: int = 1024  # at a time
    connect_seconds: float = 3.0
    idle_seconds: float = 60.0  # without a byte in either direction

    def __post_init__(self) -> None:
        """Refuse what the data plane could not keep."""
        if isinstance(self.where, str) and not 1 <= len(self.where.encode()) <= MAX_PATH:
            raise MisuseError(f"where is {self.where!r}: a path of 1 to {MAX_PATH} bytes")
        _within("web connections", self.connections, 1, MAX_CONNECTIONS)
        _within("connect_seconds", self.connect_seconds, 0.01, 86_400)
        _within("idle_seconds", self.idle_seconds, 0.01, 86_400)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PumpConfig:
    """One pump: `namespace` is the path of the network namespace that holds the far end of the link."""

    role: Literal["gateway", "client"]
    namespace: str
    workers: int = 1
    pool4: IPv4Network | None = None
    pool6: IPv6Network | None = None
    reserved: int = 16  # the first addresses of a pool belong to the link itself
    congestion: str | None = None  # TCP_CONGESTION of every connection; None leaves the system's choice
    notsent_lowat: int = 131_072  # bytes the kernel may hold unsent: what waits, waits in our queue
    limits: Limits = dataclasses.field(default_factory=Limits)
    banning: Banning = dataclasses.field(default_factory=Banning)
    web: WebBackend | None = None  # gateway: None answers HTTP clients 404

    def __post_init__(self) -> None:
        """Refuse what cannot work, by name."""
        if self.role not in ("gateway", "client"):
            raise MisuseError(f"role is {self.role!r}: it is 'gateway' or 'client'")
        if not self.namespace:
            raise MisuseError("namespace is empty: give the path of the link's namespace, /run/netns/…")
        _within("workers", self.workers, 1, MAX_WORKERS)
        _within("reserved", self.reserved, 1, 65_535)
        _within("notsent_lowat", self.notsent_lowat, 4096, 1 << 30)
        if self.role == "gateway" and self.pool4 is None and self.pool6 is None:
            raise MisuseError("a gateway needs pool4, pool6 or both: addresses that stand for its clients")
        if self.role == "client" and (self.pool4 or self.pool6):
            raise MisuseError("a client has no pools: its flow address comes with adopt()")
        for name, pool in (("pool4", self.pool4), ("pool6", self.pool6)):
            if pool is not None and pool.num_addresses < self.reserved + 2 * self.workers:
                raise MisuseError(
                    f"{name} {pool} has {pool.num_addresses} addresses: too few for {self.reserved} reserved "
                    f"ones and {self.workers} workers; give a shorter prefix"
                )


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise MisuseError(f"{name} is {value}: it must be between {low} and {high}")
