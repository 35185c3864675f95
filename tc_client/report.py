# SPDX-License-Identifier: Apache-2.0
"""What `GET /status` answers: types, and how they are filled from what is known. Asks nobody.

Field names are an interface: programs read them. Times are ISO 8601 in UTC.
"""

from __future__ import annotations

import datetime
import time

import msgspec

from charon import ChildSa, IkeSa
from tc_client.ladder import Ladder
from tc_client.rounds import State
from tpkt.pump import ConnectionInfo


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The rung that carries the tunnel."""

    name: str
    transport: str
    port: int
    since: str
    seconds: float
    why: str


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """One way to the gateway, and how it fared the last time; `seconds` is that of `RungRecord`."""

    name: str
    transport: str
    port: int
    result: str  # untried, failed, stands, stood
    why: str | None  # the kind of failure
    reason: str | None  # the same as a sentence
    seconds: float | None
    at: str | None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to the tunnel."""

    at: str
    rung: str
    what: str
    reason: str


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway: as configured, the address in use, and how packets leave for it."""

    name: str
    address: str | None
    way: str | None


class Ike(msgspec.Struct, frozen=True, kw_only=True):
    """The IKE_SA."""

    spi_i: str
    spi_r: str
    state: str
    local: str
    remote: str
    local_id: str
    remote_id: str
    established_seconds: int | None


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """The CHILD_SA; counters are of inner packets."""

    spi_in: str
    spi_out: str
    bytes_in: int
    bytes_out: int
    packets_in: int
    packets_out: int
    local_ts: tuple[str, ...]
    remote_ts: tuple[str, ...]


class Assigned(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway has assigned besides inner addresses."""

    dns: tuple[str, ...] = ()
    p_cscf: tuple[str, ...] = ()


class Charon(msgspec.Struct, frozen=True, kw_only=True):
    """The charon at work; `esp` is who does ESP."""

    mode: str
    health: str
    reason: str
    pid: int | None
    restarts: int
    esp: str
    esp_reason: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer; `next_try_seconds` is set while the client waits."""

    state: str
    wanted: bool
    rung: Standing | None
    why: str
    next_try_seconds: float | None
    gateway: Gateway
    ike_sa: Ike | None
    child_sa: Child | None
    inner_addresses: tuple[str, ...]
    assigned: Assigned
    connection: ConnectionInfo | None
    rungs: tuple[Rung, ...]
    changes: tuple[Change, ...]
    charon: Charon
    instance: str
    version: str
    problems: tuple[str, ...]
    congestion: str = ""  # of TCP connections to the gateway


class Clock:
    """Tells the time of day of moments that were noted on the monotonic clock."""

    def __init__(self) -> None:
        """Compare the two clocks now: a step of the time of day must not bend what is shown later."""
        self.now = time.monotonic()
        self._offset = time.time() - self.now

    def say(self, moment: float) -> str:
        """Give `moment` as ISO 8601."""
        when = datetime.datetime.fromtimestamp(moment + self._offset, datetime.UTC)
        return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def standing(ladder: Ladder, clock: Clock) -> Standing | None:
    """Describe the rung that stands."""
    since = ladder.record.since
    if since is None or ladder.state not in (State.UP, State.REPAIRING) or not ladder.sa:
        return None
    rung = ladder.rung
    return Standing(
        name=rung.name,
        transport=rung.transport,
        port=rung.port,
        since=clock.say(since),
        seconds=round(clock.now - since, 3),
        why=ladder.record.why,
    )


def rungs(ladder: Ladder, clock: Clock) -> tuple[Rung, ...]:
    """Describe all rungs in the order in which they are tried."""
    found = []
    for rung in ladder.rungs:
        entry = ladder.record.rungs[rung.name]
        found.append(
            Rung(
                name=rung.name,
                transport=rung.transport,
                port=rung.port,
                result=entry.result,
                why=entry.failure.why if entry.failure else None,
                reason=entry.failure.sentence if entry.failure else None,
                seconds=None if entry.seconds is None else round(entry.seconds, 3),
                at=None if entry.at is None else clock.say(entry.at),
            )
        )
    return tuple(found)


def changes(ladder: Ladder, clock: Clock) -> tuple[Change, ...]:
    """Describe what has happened, the last first."""
    return tuple(
        Change(at=clock.say(one.at), rung=one.rung, what=one.what, reason=one.reason)
        for one in reversed(ladder.record.changes)
    )


def ike(sa: IkeSa) -> Ike:
    """Describe an IKE_SA."""
    return Ike(
        spi_i=sa.spi_i,
        spi_r=sa.spi_r,
        state=sa.state,
        local=f"{sa.local_host}[{sa.local_port}]",
        remote=f"{sa.remote_host}[{sa.remote_port}]",
        local_id=sa.local_id,
        remote_id=sa.remote_id,
        established_seconds=sa.established_seconds,
    )


def child(sa: ChildSa) -> Child:
    """Describe a CHILD_SA."""
    return Child(
        spi_in=sa.spi_in,
        spi_out=sa.spi_out,
        bytes_in=sa.bytes_in,
        bytes_out=sa.bytes_out,
        packets_in=sa.packets_in,
        packets_out=sa.packets_out,
        local_ts=sa.local_ts,
        remote_ts=sa.remote_ts,
    )
