# SPDX-License-Identifier: Apache-2.0
"""The events charon raises, typed, and the queue a reader takes them from.

The reader thread must never wait for us: charon keeps every event that a slow reader has not taken in its own
memory. So each subscription has a bounded queue; when it is full it is emptied into one `Missed`, after which
the reader asks `list_sas()` for the truth. A subscription outlives the connection to charon: a reconnection
is a `Missed` too.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from dataclasses import dataclass

from charon.sas import ChildSa, IkeSa, RawSection, child_sa, flag, ike_sa, number, number_or_none, text

# One gateway restart drops every client at once: 10 000 clients raise an ike-updown and a child-updown each.
EVENT_QUEUE_LIMIT = 20_000

# What is subscribed to. `log` only on request: it costs one message for every line charon logs.
SA_EVENTS = ("ike-updown", "child-updown", "ike-rekey", "child-rekey", "ike-update")
LOG_EVENT = "log"


@dataclass(frozen=True, slots=True)
class IkeUpDown:
    """An IKE_SA was established, or is gone."""

    up: bool
    sa: IkeSa


@dataclass(frozen=True, slots=True)
class ChildUpDown:
    """A CHILD_SA was installed, or is gone."""

    up: bool
    sa: IkeSa
    child: ChildSa


@dataclass(frozen=True, slots=True)
class IkeRekey:
    """An IKE_SA was replaced by a fresh one; unique id and SPIs change, the session stays."""

    old: IkeSa
    new: IkeSa


@dataclass(frozen=True, slots=True)
class ChildRekey:
    """A CHILD_SA was replaced by a fresh one."""

    sa: IkeSa
    old: ChildSa
    new: ChildSa


@dataclass(frozen=True, slots=True)
class IkeUpdate:
    """An end of an IKE_SA is moving; `sa` still has the old addresses."""

    sa: IkeSa
    local_host: str
    local_port: int
    remote_host: str
    remote_port: int


@dataclass(frozen=True, slots=True)
class Log:
    """A line of charon's log."""

    group: str
    level: int
    thread: int
    ike_name: str
    ike_id: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Missed:
    """Events were lost here, for the reason given: read `list_sas()` again."""

    reason: str


Event = IkeUpDown | ChildUpDown | IkeRekey | ChildRekey | IkeUpdate | Log | Missed


def parse(name: str, message: RawSection) -> list[Event]:
    """Return the events of one VICI message: usually one, none for a kind we do not know."""
    if name == LOG_EVENT:
        return [
            Log(
                group=text(message, "group"),
                level=number(message, "level"),
                thread=number(message, "thread"),
                ike_name=text(message, "ikesa-name"),
                ike_id=number_or_none(message, "ikesa-uniqueid"),
                message=text(message, "msg"),
            )
        ]
    sections = {key: value for key, value in message.items() if isinstance(value, dict)}
    events: list[Event] = []
    for ike_name, section in sections.items():
        events.extend(_parse_sa(name, message, ike_name, section))
    return events


def _parse_sa(name: str, message: RawSection, ike_name: str, section: RawSection) -> list[Event]:
    up = flag(message, "up")
    match name:
        case "ike-updown":
            return [IkeUpDown(up, ike_sa(ike_name, section))]
        case "child-updown":
            sa = ike_sa(ike_name, section)
            return [ChildUpDown(up, sa, child) for child in sa.children]
        case "ike-rekey":
            return [IkeRekey(ike_sa(ike_name, section["old"]), ike_sa(ike_name, section["new"]))]
        case "child-rekey":
            sa = ike_sa(ike_name, section, children=())
            pairs = section.get("child-sas", {}).values()
            return [ChildRekey(sa, child_sa(pair["old"]), child_sa(pair["new"])) for pair in pairs]
        case "ike-update":
            return [
                IkeUpdate(
                    sa=ike_sa(ike_name, section),
                    local_host=text(message, "local-host"),
                    local_port=number(message, "local-port"),
                    remote_host=text(message, "remote-host"),
                    remote_port=number(message, "remote-port"),
                )
            ]
    return []


class Subscription:
    """One reader's bounded queue: put by the reader thread, taken by asyncio. It is its own iterator."""

    def __init__(self, limit: int = EVENT_QUEUE_LIMIT) -> None:
        """Begin an empty stream that the running loop will read."""
        self._limit = limit
        self._events: deque[Event] = deque()
        self._lock = threading.Lock()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()

    def put(self, event: Event) -> None:
        """Add an event, from any thread; a full queue is emptied into one `Missed`."""
        with self._lock:
            if self._closed:
                return
            if len(self._events) >= self._limit:
                self._events.clear()
                event = Missed(f"the queue of {self._limit} events was full")
            self._events.append(event)
        self._notify()

    def close(self) -> None:
        """End the stream once what is queued has been read; from any thread."""
        with self._lock:
            self._closed = True
        self._notify()

    def _notify(self) -> None:
        # A loop that has closed in the meantime has no reader any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake.set)

    def __aiter__(self) -> Subscription:
        """Give itself: events are taken once, whoever asks."""
        return self

    async def __anext__(self) -> Event:
        """Give the next event, in charon's order, until the stream is closed and read."""
        while True:
            with self._lock:
                self._wake.clear()
                if self._events:
                    return self._events.popleft()
                if self._closed:
                    raise StopAsyncIteration
            await self._wake.wait()
