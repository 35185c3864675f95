# SPDX-License-Identifier: Apache-2.0
"""What the pump tells the control plane: events as they happen, and connections when asked.

Plain frozen data. `at`, `since` and `last_active` are seconds of CLOCK_MONOTONIC, which is what
`time.monotonic()` reads. Must not know the compiled module or asyncio.
"""

from __future__ import annotations

import dataclasses
import enum
from ipaddress import IPv4Network, IPv6Network

from tpkt.errors import CloseReason
from tpkt.pump.tls import TlsInfo
from tpkt.sniff import Protocol


class EventKind(enum.StrEnum):
    """What happened; `enum tp_event_kind` in C has the same order."""

    ACCEPTED = "accepted"  # also when a connection was adopted
    IDENTIFIED = "identified"  # its first bytes told the protocol, or adopt() did
    FIRST_IKE = "first_ike"  # its first sound IKE message, `spi_i` filled in
    CLOSED = "closed"  # `reason` says why; the last event of a connection
    LIMIT = "limit"  # a connection was refused for `reason`; at most one a second and reason is told
    LINK_DOWN = "link_down"  # the system refuses to send into the link; `flow` is where it was seen
    LINK_UP = "link_up"  # and takes datagrams again
    LOST = "lost"  # nobody fetched events in time and some are gone: read connections() again
    BAN = "ban"  # the source of `remote` is banned, at last for `reason`; at most one a second is told


class ConnectionState(enum.StrEnum):
    """Where a connection stands; `enum tp_state` in C has the same order."""

    NEW = "new"  # its protocol is not known yet
    OPEN = "open"
    LINGERING = "lingering"  # answered and half-closed; what the peer still sends is thrown away
    RELAYING = "relaying"  # HTTP, handed to the web backend


@dataclasses.dataclass(frozen=True, slots=True)
class PumpEvent:
    """One event. What a kind has nothing to say about is 0, "", ("", 0) or NONE."""

    kind: EventKind
    connection: int
    reason: CloseReason
    protocol: Protocol
    remote: tuple[str, int]
    local: tuple[str, int]
    flow: str
    spi_i: str
    at: float


@dataclasses.dataclass(frozen=True, slots=True)
class Ban:
    """A prefix that is refused until a moment; `refused` counts what that kept out."""

    prefix: IPv4Network | IPv6Network
    since: float
    until: float
    refused: int
    reason: CloseReason  # what it did last before it was banned; CONTROL: somebody asked for it
    by_hand: bool


@dataclasses.dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """One connection at one moment. Bytes and frames count datagrams without framing."""

    id: int
    worker: int
    state: ConnectionState
    protocol: Protocol
    remote: tuple[str, int]
    local: tuple[str, int]
    flow: str
    since: float
    last_active: float
    stream_to_link_bytes: int
    stream_to_link_frames: int
    stream_to_link_esp_frames: int
    link_to_stream_bytes: int
    link_to_stream_frames: int
    link_to_stream_esp_frames: int
    queued_bytes: int
    dropped: int  # datagrams of either direction that it lost here; of those from the link to the stream
    dropped_late: int  # ... that CoDel took, because they had waited too long
    dropped_full: int  # ... that a byte cap took
    queued_expedited: int  # that had to wait, ever, by class
    queued_bulk: int
    unsent_limit: int  # bytes that its socket may hold unsent, as it last was; 0: nothing ever waited
    tls: TlsInfo | None = None  # None: plain, or its handshake is not done
