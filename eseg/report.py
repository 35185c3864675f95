# SPDX-License-Identifier: Apache-2.0
"""What the admin API answers: types, and how the pump's flat counters are grouped for people.

Field names are an interface: programs read them. Knows no daemon; it is given what it shows.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from eseg.config import Http
from eseg.sessions import Session
from eseg.tls import TlsStatus

# Datagrams that had to wait for their stream, by class; what went out at once is in none.
CLASSES = ("ike", "expedited", "bulk")
DIRECTIONS = ("stream_to_link", "link_to_stream")
# Counters of datagrams that were lost, by direction; what else begins with a direction was not lost.
DROPS = {
    "stream_to_link": ("malformed", "bad_ike", "no_buffer", "link_down", "no_peer", "too_big", "refused"),
    "link_to_stream": (
        "malformed",
        "no_connection",
        "not_open",
        "queue_full",
        "worker_full",
        "late",
        "closed",
    ),
}


class Listener(msgspec.Struct, frozen=True):
    """An address and port that is served."""

    address: str
    port: int
    tls: bool


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The link; `troubles` are for the operator to judge, such as forwarding that is off."""

    device: str
    namespace: str
    works: bool
    pools: tuple[str, ...]
    troubles: tuple[str, ...]


class HttpStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The web backend, None for none, and what went through to it."""

    backend: str | None
    proxy_protocol: bool
    open: int
    failed: int
    bytes_to_backend: int
    bytes_to_client: int


class CharonStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The charon behind the link. Figures are None while it cannot be asked."""

    mode: str
    health: str
    reason: str
    since_seconds: float
    restarts: int
    esp: str
    esp_reason: str
    vici: str
    version: str
    pid: int | None
    ike_sas: int | None
    half_open: int | None


class PumpStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The pump: gauges, what came and went by reason, what was lost by name; all counters as they are."""

    workers: int
    connections: int
    half_identified: int
    ike_half_open: int
    bans: int
    rules: int  # prefixes that are allowed or denied
    accepted: int
    identified: Mapping[str, int]
    closed: Mapping[str, int]
    dropped: Mapping[str, int]
    waited: Mapping[str, int]  # for their stream, by class
    counters: Mapping[str, int]


class BanEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A prefix that is refused; `reason` is what it did last before that, `control` for one made by hand."""

    prefix: str
    since_seconds: float
    left_seconds: float
    refused: int
    reason: str
    by_hand: bool


class BanList(msgspec.Struct, frozen=True):
    """What `GET /bans` answers; `count` is of all of them, should there be more than are listed."""

    bans: list[BanEntry]
    count: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway at this moment."""

    instance: str
    version: str
    pid: int
    uptime_seconds: float
    config: str
    config_hash: str
    healthy: bool
    listeners: tuple[Listener, ...]
    link: LinkStatus
    charon: CharonStatus
    pump: PumpStatus
    tls: TlsStatus | None
    http: HttpStatus
    deadlines: Mapping[str, int]  # connections closed for want of an IKE_SA, by reason


class SessionList(msgspec.Struct, frozen=True):
    """What `GET /sessions` answers; `problem` says why IKE_SAs are missing from it."""

    sessions: list[Session]
    problem: str | None


def pump_status(counters: Mapping[str, int], workers: int, rules: int = 0) -> PumpStatus:
    """Group the pump's counters; names it does not know yet count as 0."""
    return PumpStatus(
        workers=workers,
        connections=counters.get("connections_open", 0),
        half_identified=counters.get("connections_half_identified", 0),
        ike_half_open=counters.get("connections_ike_half_open", 0),
        bans=counters.get("bans_active", 0),
        rules=rules,
        accepted=counters.get("accepted", 0),
        identified=family(counters, "identified_"),
        closed=family(counters, "closed_"),
        dropped=drops(counters),
        waited=family(counters, "link_to_stream_queued_"),
        counters={name: value for name, value in counters.items() if value},
    )


def http_status(counters: Mapping[str, int], http: Http) -> HttpStatus:
    """Say where HTTP goes and what went."""
    return HttpStatus(
        backend=http.backend,
        proxy_protocol=http.proxy_protocol,
        open=counters.get("relays_open", 0),
        failed=counters.get("relays_failed", 0),
        bytes_to_backend=counters.get("relay_to_backend_bytes", 0),
        bytes_to_client=counters.get("relay_to_client_bytes", 0),
    )


def family(counters: Mapping[str, int], prefix: str) -> dict[str, int]:
    """Give the counters that begin with `prefix`, without it and without zeros."""
    return {
        name.removeprefix(prefix): value
        for name, value in counters.items()
        if name.startswith(prefix) and value
    }


def drops(counters: Mapping[str, int]) -> dict[str, int]:
    """Give what was lost, by direction and cause, without zeros."""
    names = (f"{direction}_{cause}" for direction in DIRECTIONS for cause in DROPS[direction])
    return {name: counters[name] for name in names if counters.get(name)}
