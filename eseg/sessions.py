# SPDX-License-Identifier: Apache-2.0
"""Joins the pump's connections with charon's IKE_SAs: the flow address is the key that both know.

Pure: it is given both lists and the time, and closes nothing itself. A session without a connection is a
client on plain UDP, or one whose TCP connection is gone and who is expected back (`detached`); one without
an IKE_SA is a stranger, or a client that is about to be authenticated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

import msgspec

from charon.sas import ChildSa, IkeSa
from tpkt.pump import ConnectionInfo

UDP, DETACHED = "udp", "detached"


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A CHILD_SA: what of the core network it reaches, and what it carried (inner packets)."""

    unique_id: int
    name: str
    state: str
    spi_in: str
    spi_out: str
    local_ts: tuple[str, ...]
    remote_ts: tuple[str, ...]
    bytes_in: int
    bytes_out: int
    packets_in: int
    packets_out: int
    installed_seconds: int


class Ike(msgspec.Struct, frozen=True, kw_only=True):
    """An IKE_SA as far as an operator wants to know it."""

    unique_id: int
    connection: str
    state: str
    spi_i: str
    spi_r: str
    remote_id: str
    eap_id: str
    established_seconds: int | None


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A TCP connection; bytes and frames count datagrams without framing."""

    id: int
    state: str
    listener: str
    listener_port: int
    tls: str | None  # its version
    cipher: str | None
    connected_seconds: float
    idle_seconds: float
    stream_to_link_bytes: int
    stream_to_link_frames: int
    stream_to_link_esp_frames: int
    link_to_stream_bytes: int
    link_to_stream_frames: int
    link_to_stream_esp_frames: int
    queued_bytes: int
    queued_expedited: int  # datagrams that ever had to wait for the stream, by class
    queued_bulk: int
    dropped: int  # in either direction; of those
    dropped_late: int  # after too long a wait for the stream (CoDel)
    dropped_full: int  # for the stream's cap
    unsent_limit: int  # what its socket may hold unsent, in bytes; 0: nothing ever had to wait


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A client: how it arrives, who it is, where it is inside. `client` is its real address."""

    protocol: str
    client: str
    client_port: int
    flow: str | None
    inner: tuple[str, ...]
    connection: Stream | None
    ike: Ike | None
    children: tuple[Child, ...]


def join(
    connections: Sequence[ConnectionInfo],
    sas: Iterable[IkeSa],
    *,
    pools: Sequence[IPv4Network | IPv6Network],
    now: float,
) -> list[Session]:
    """Give the sessions: first those with a connection in the order of arrival, then all others.

    `pools` are the flow addresses; `now` is of the clock that `ConnectionInfo.since` is of.
    """
    by_flow: dict[str, list[IkeSa]] = {}
    for sa in sas:
        by_flow.setdefault(sa.remote_host, []).append(sa)
    sessions: list[Session] = []
    for connection in sorted(connections, key=lambda item: (item.since, item.id)):
        current = _current(by_flow.pop(connection.flow, []))
        sessions += [_of_connection(connection, sa, now) for sa in current or (None,)]
    for remaining in by_flow.values():
        sessions.extend(_of_sa(sa, pools) for sa in _current(remaining))
    return sessions


def _current(sas: Sequence[IkeSa]) -> Sequence[IkeSa]:
    """Drop what a rekeying is replacing, unless there is nothing else."""
    established = [sa for sa in sas if sa.established]
    return established or sas[-1:]


def _of_connection(connection: ConnectionInfo, sa: IkeSa | None, now: float) -> Session:
    return Session(
        protocol=str(connection.protocol),
        client=connection.remote[0],
        client_port=connection.remote[1],
        flow=connection.flow or None,
        inner=sa.remote_vips if sa else (),
        connection=Stream(
            id=connection.id,
            state=str(connection.state),
            listener=connection.local[0],
            tls=connection.tls.version if connection.tls else None,
            cipher=connection.tls.cipher if connection.tls else None,
            listener_port=connection.local[1],
            connected_seconds=round(now - connection.since, 3),
            idle_seconds=round(now - connection.last_active, 3),
            stream_to_link_bytes=connection.stream_to_link_bytes,
            stream_to_link_frames=connection.stream_to_link_frames,
            stream_to_link_esp_frames=connection.stream_to_link_esp_frames,
            link_to_stream_bytes=connection.link_to_stream_bytes,
            link_to_stream_frames=connection.link_to_stream_frames,
            link_to_stream_esp_frames=connection.link_to_stream_esp_frames,
            queued_bytes=connection.queued_bytes,
            queued_expedited=connection.queued_expedited,
            queued_bulk=connection.queued_bulk,
            dropped=connection.dropped,
            dropped_late=connection.dropped_late,
            dropped_full=connection.dropped_full,
            unsent_limit=connection.unsent_limit,
        ),
        ike=_ike(sa) if sa else None,
        children=tuple(_child(child) for child in sa.children) if sa else (),
    )


def _of_sa(sa: IkeSa, pools: Sequence[IPv4Network | IPv6Network]) -> Session:
    on_link = _inside(sa.remote_host, pools)
    return Session(
        protocol=DETACHED if on_link else UDP,
        client="" if on_link else sa.remote_host,
        client_port=0 if on_link else sa.remote_port,
        flow=sa.remote_host if on_link else None,
        inner=sa.remote_vips,
        connection=None,
        ike=_ike(sa),
        children=tuple(_child(child) for child in sa.children),
    )


def _inside(host: str, pools: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        address = ip_address(host)
    except ValueError:  # charon writes %any for an SA that has no peer yet
        return False
    return any(address in pool for pool in pools)


def _ike(sa: IkeSa) -> Ike:
    return Ike(
        unique_id=sa.unique_id,
        connection=sa.name,
        state=sa.state,
        spi_i=sa.spi_i,
        spi_r=sa.spi_r,
        remote_id=sa.remote_id,
        eap_id=sa.remote_eap_id,
        established_seconds=sa.established_seconds,
    )


def _child(child: ChildSa) -> Child:
    return Child(
        unique_id=child.unique_id,
        name=child.name,
        state=child.state,
        spi_in=child.spi_in,
        spi_out=child.spi_out,
        local_ts=child.local_ts,
        remote_ts=child.remote_ts,
        bytes_in=child.bytes_in,
        bytes_out=child.bytes_out,
        packets_in=child.packets_in,
        packets_out=child.packets_out,
        installed_seconds=child.install_seconds,
    )


def protocols(sessions: Iterable[Session]) -> Mapping[str, int]:
    """Count the sessions that have an IKE_SA by protocol."""
    counted: dict[str, int] = {}
    for session in sessions:
        if session.ike is not None:
            counted[session.protocol] = counted.get(session.protocol, 0) + 1
    return counted
