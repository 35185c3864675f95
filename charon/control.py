# SPDX-License-Identifier: Apache-2.0
"""One charon, as the rest of the product sees it: load, list, initiate, terminate, rekey, and its events.

Every call answers within the timeout or raises: CharonGone (nobody there), CharonTimeout (it hangs),
CharonRefused (it said no). A call after a broken connection opens a new one. Nothing here waits for an SA:
`initiate` and `terminate` return at once, and the events tell what became of it.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from charon.errors import CharonError, CharonGone
from charon.events import LOG_EVENT, SA_EVENTS, Missed, Subscription, parse
from charon.loader import Loader
from charon.nudge import Nudge, nudge
from charon.sas import IkeSa, RawSection, ike_sa, number, text, texts
from charon.session import CommandSession, EventSession
from charon.types import State, ViciSection

DEFAULT_VICI: Final = Path("/run/charon.vici")


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What answers at the other end of the socket."""

    daemon: str
    version: str
    system: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """How charon is doing."""

    since: str
    workers: int
    workers_idle: int
    jobs_queued: int
    ike_sas: int
    half_open: int
    plugins: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolUse:
    """How much of an address pool is in use."""

    name: str
    base: str
    size: int
    online: int
    offline: int


class Charon:
    """A charon behind a VICI socket; `async with` connects and closes."""

    def __init__(
        self,
        socket_path: str | Path = DEFAULT_VICI,
        timeout: float = 5.0,
        *,
        log_events: bool = False,
        exclusive: bool = False,
        prepare: Callable[[State], State] = lambda state: state,
    ) -> None:
        """Prepare to talk to `socket_path`; `exclusive` when nobody else configures this charon.

        `log_events` adds charon's log lines to the events; `prepare` completes a state before it is loaded.
        """
        self.socket_path = Path(socket_path)
        self.timeout = timeout
        self._event_names = (*SA_EVENTS, LOG_EVENT) if log_events else SA_EVENTS
        self._commands: CommandSession | None = None
        self._listing: CommandSession | None = None  # 10 000 SAs take seconds, in which others may ask
        self._events: EventSession | None = None
        self._opening = asyncio.Lock()
        self._loading = asyncio.Lock()
        self._subscriptions: weakref.WeakSet[Subscription] = weakref.WeakSet()
        self._subscriptions_lock = threading.Lock()
        self._loader = Loader(self._request, exclusive=exclusive)
        self._prepare = prepare

    async def __aenter__(self) -> Self:
        """Connect."""
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    @property
    def connected(self) -> bool:
        """Whether both sessions are up, as far as is known without asking."""
        sessions = (self._commands, self._events)
        return all(session is not None and session.alive for session in sessions)

    @property
    def pid(self) -> int:
        """The process that answered the last connection, 0 before the first."""
        return self._commands.pid if self._commands else 0

    @property
    def loaded(self) -> State:
        """What was loaded through this object and is still there."""
        return self._loader.loaded

    async def connect(self) -> None:
        """Open whichever session is not up. Readers of events are told that some may be missing."""
        async with self._opening:
            if self._events is not None and not self._events.alive:
                # It always reads, and so learns at once that charon has gone; the others share its fate.
                self._close_commands()
            if self._commands is None or not self._commands.alive:
                self._commands = await self._new_session()
            if self._events is None or not self._events.alive:
                events = EventSession(
                    self.socket_path, self.timeout, self._event_names, self._on_event, self._on_end
                )
                again = self._events is not None
                await events.open()
                self._events = events
                if again:
                    self._publish(Missed("charon was connected again"))

    async def close(self) -> None:
        """End both sessions and the event streams."""
        self._close_commands()
        if self._events is not None:
            self._events.close()
        for subscription in self._readers():
            subscription.close()

    def events(self) -> Subscription:
        """Return a stream of the events from now on: `async for event in charon.events()`."""
        subscription = Subscription()
        with self._subscriptions_lock:
            self._subscriptions.add(subscription)
        return subscription

    async def version(self) -> Version:
        """Ask who is there."""
        answer = await self._request("version", {})
        return Version(
            daemon=text(answer, "daemon"),
            version=text(answer, "version"),
            system=" ".join(text(answer, key) for key in ("sysname", "release", "machine")),
            pid=self.pid,
        )

    async def stats(self) -> Stats:
        """Ask for charon's own figures."""
        answer = await self._request("stats", {})
        workers, queues, sas = answer["workers"], answer["queues"], answer["ikesas"]
        return Stats(
            since=text(answer["uptime"], "since"),
            workers=number(workers, "total"),
            workers_idle=number(workers, "idle"),
            jobs_queued=sum(number(queues, priority) for priority in queues),
            ike_sas=number(sas, "total"),
            half_open=number(sas, "half-open"),
            plugins=texts(answer, "plugins"),
        )

    async def counters(self, connection: str | None = None) -> dict[str, int]:
        """Ask for the IKE message counters, of all or of one connection (plugin `counters`)."""
        answer = await self._request("get-counters", {"name": connection} if connection else {})
        sections: Mapping[str, RawSection] = answer["counters"]
        return {key: number(section, key) for section in sections.values() for key in section}

    async def pools(self) -> list[PoolUse]:
        """Ask how full the pools are."""
        answer = await self._request("get-pools", {})
        return [
            PoolUse(
                name=name,
                base=text(pool, "base"),
                size=number(pool, "size"),
                online=number(pool, "online"),
                offline=number(pool, "offline"),
            )
            for name, pool in answer.items()
        ]

    async def load(self, state: State) -> None:
        """Add `state` to what charon holds."""
        async with self._loading:
            await self._loader.load(self._prepare(state))

    async def unload(self, state: State) -> None:
        """Remove what `state` names, of what was loaded here; established SAs are not touched."""
        async with self._loading:
            await self._loader.unload(state)

    async def apply(self, state: State) -> None:
        """Load and unload the difference to what was loaded before; keep the old when charon refuses."""
        async with self._loading:
            await self._loader.apply(self._prepare(state))

    async def replace_all(self, state: State) -> None:
        """Make an exclusive charon hold `state` only, whatever a predecessor of ours has left in it."""
        async with self._loading:
            await self._loader.replace_all(self._prepare(state))

    async def list_sas(self, *, ike: str | int | None = None) -> list[IkeSa]:
        """List IKE_SAs with their CHILD_SAs and counters: all, by connection name, or by unique id."""

        def read(message: RawSection) -> list[IkeSa]:
            return [ike_sa(name, section) for name, section in message.items()]

        await self._session()
        async with self._opening:
            if self._listing is None or not self._listing.alive:
                self._listing = await self._new_session()
        return await self._listing.stream("list-sas", "list-sa", _selector(ike, None), read)

    async def initiate(self, child: str | None, ike: str | None = None) -> None:
        """Start to establish `child` of connection `ike`, or only its IKE_SA; returns at once."""
        # The default, 0, would hold a charon worker until the SA is up or has failed.
        message: ViciSection = {"timeout": "-1", **_selector(ike, child)}
        await self._request("initiate", message)

    async def terminate(
        self, *, ike: str | int | None = None, child: str | int | None = None, force: bool = False
    ) -> int:
        """Start to terminate by name or unique id; `force` does not wait for the peer. Returns how many."""
        message: ViciSection = {"timeout": "-1", **_selector(ike, child)}
        if force:
            message["force"] = "yes"
        return number(await self._request("terminate", message), "matches")

    async def rekey(
        self, *, ike: str | int | None = None, child: str | int | None = None, reauth: bool = False
    ) -> int:
        """Start to rekey by name or unique id; returns how many."""
        message = _selector(ike, child)
        if reauth:
            message["reauth"] = "yes"
        return number(await self._request("rekey", message), "matches")

    async def nudge(self, ike: str | int, seconds: float = 3.0) -> Nudge:
        """Make the peer follow a moved path: send one message on `ike` now, wait for its answer."""
        return await nudge(self, ike, seconds)

    async def reload(self) -> None:
        """Load again all that was loaded: charon has restarted and holds nothing."""
        await self.connect()
        async with self._loading:
            await self._loader.reload()

    def _close_commands(self) -> None:
        for session in (self._commands, self._listing):
            if session is not None:
                session.close()

    async def _new_session(self) -> CommandSession:
        session = CommandSession(self.socket_path, self.timeout)
        await session.open()
        return session

    async def _session(self) -> CommandSession:
        if not self.connected:
            await self.connect()
        if self._commands is None:
            raise CharonGone("not connected", where=str(self.socket_path))
        return self._commands

    async def _request(self, command: str, message: ViciSection) -> RawSection:
        commands = await self._session()
        return await commands.request(command, message)

    def _readers(self) -> list[Subscription]:
        with self._subscriptions_lock:
            return list(self._subscriptions)

    def _publish(self, missed: Missed) -> None:
        for subscription in self._readers():
            subscription.put(missed)

    def _on_event(self, name: str, message: RawSection) -> None:
        events = parse(name, message)
        for subscription in self._readers():
            for event in events:
                subscription.put(event)

    def _on_end(self, failure: CharonError) -> None:
        self._publish(Missed(f"the connection to charon is lost: {failure.what}"))


def _selector(ike: str | int | None, child: str | int | None) -> ViciSection:
    """Name an SA by connection name or by charon's unique id."""
    section: ViciSection = {}
    for key, value in (("ike", ike), ("child", child)):
        if isinstance(value, int):
            section[f"{key}-id"] = str(value)
        elif value is not None:
            section[key] = value
    return section
