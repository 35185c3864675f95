# SPDX-License-Identifier: Apache-2.0
"""VICI on threads: one session for commands, one for events; the only module that imports vici.

The vici package blocks and cannot wait with a deadline of its own, and one connection carries one command at
a time. So each session is a connection with a thread of its own. A charon that hangs accepts and never
answers: when a deadline passes the connection is shut down, which ends whatever the thread waits for, and
with it the thread. A session is never used again after a failure; its owner opens another.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, TypeVar

import vici
from vici.exception import CommandException, DeserializationException, SessionException
from vici.protocol import Message, Packet, Transport

from charon.errors import CharonError, CharonGone, CharonRefused, CharonTimeout
from charon.sas import RawSection
from charon.types import ViciSection

T = TypeVar("T")
START_CURE: Final = "Is charon running? Its log tells, or `systemctl status strongswan`"
HUNG_CURE: Final = "It hangs or is overloaded: see its log, and restart it when it does not recover"
_UCRED: Final = struct.Struct("iII")  # struct ucred: pid, uid, gid


class _Threaded:
    """A connection, its thread, and the one way to end both: shutting the connection down."""

    _thread_name = "vici"

    def __init__(self, path: Path, timeout: float) -> None:
        self.path = path
        self.timeout = timeout
        self.pid = 0  # of the process that answers
        self._socket: socket.socket | None = None
        self._failure: CharonError | None = None
        self._lock = threading.Lock()

    @property
    def alive(self) -> bool:
        """Whether it can still be used."""
        return self._socket is not None and self._failure is None

    async def open(self) -> None:
        """Connect, start the thread, and return when the session is ready for use."""
        ready: Future[None] = Future()
        threading.Thread(target=self._run, args=(ready,), name=self._thread_name, daemon=True).start()
        try:
            await asyncio.wait_for(asyncio.wrap_future(ready), self.timeout)
        except TimeoutError:
            raise self._end(self._hung("nothing is answered")) from None
        except asyncio.CancelledError:
            self.close()
            raise

    def close(self) -> None:
        """End it; who still waits gets CharonGone."""
        self._end(CharonGone("the session was closed", where=str(self.path)))

    def _run(self, ready: Future[None]) -> None:
        ready.set_running_or_notify_cancel()
        try:
            sock = self._connect()
            self._prepare(sock)
        except (OSError, SessionException, DeserializationException, CharonError) as error:
            self._release()
            ready.set_exception(self._end(self._broken(error)))
            return
        ready.set_result(None)
        try:
            self._work(sock)
        except (OSError, SessionException, DeserializationException) as error:
            self._end(self._broken(error))
        self._release()
        self._ended(self._failure or CharonGone("the session ended", where=str(self.path)))

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(self.timeout)
        with self._lock:
            self._socket = sock
        try:
            sock.connect(str(self.path))
        except (BlockingIOError, TimeoutError):
            # A Unix socket whose owner no longer accepts refuses to wait once its backlog is full.
            raise self._hung("accepts no connection") from None
        except PermissionError:
            raise CharonGone("no right to connect", where=str(self.path), cure="Run as root") from None
        with self._lock:
            if self._failure is not None:  # given up while connecting, when there was nothing to shut down
                raise self._failure
            sock.settimeout(None)
        self.pid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[0]
        return sock

    def _prepare(self, sock: socket.socket) -> None:
        """Do, on the thread, what must be done before the session is ready."""

    def _work(self, sock: socket.socket) -> None:
        """Live, on the thread, until the connection breaks."""

    def _ended(self, failure: CharonError) -> None:
        """Tell, on the thread, whoever needs to know."""

    def _end(self, failure: CharonError) -> CharonError:
        """Note the first failure and break the connection; give the first."""
        with self._lock:
            if self._failure is None:
                self._failure = failure
                if self._socket is not None:
                    with contextlib.suppress(OSError):  # the other end was quicker
                        self._socket.shutdown(socket.SHUT_RDWR)
            return self._failure

    def _release(self) -> None:
        """Free the descriptor: done by the thread, which alone may be reading from it."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _hung(self, what: str) -> CharonTimeout:
        return CharonTimeout(what, where=str(self.path), cure=HUNG_CURE)

    def _broken(self, error: Exception) -> CharonError:
        if isinstance(error, CharonError):
            return error
        what = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return CharonGone(what, where=str(self.path), cure=START_CURE)


class CommandSession(_Threaded):
    """Commands, one after another; a call's deadline counts its waiting for others too."""

    _thread_name = "vici-commands"

    def __init__(self, path: Path, timeout: float) -> None:
        """Prepare a session with the VICI socket `path`; `open` connects."""
        super().__init__(path, timeout)
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[vici.Session], Any]] | None]
        self._jobs = queue.SimpleQueue()

    async def request(
        self, command: str, message: ViciSection | None = None, *, seconds: float | None = None
    ) -> RawSection:
        """Send a command and return its answer; `seconds` replaces the session's own deadline."""
        return await self._submit(command, lambda session: session.request(command, message), seconds)

    async def stream(
        self,
        command: str,
        event: str,
        message: ViciSection,
        read: Callable[[RawSection], Iterable[T]],
    ) -> list[T]:
        """Send a command whose answer is a stream of events; return what `read` makes of them.

        `read` is called on the session's thread. The deadline begins anew with every event: a long listing is
        no hung charon.
        """
        taken: list[T] = []

        def job(session: vici.Session) -> list[T]:
            for section in session.streamed_request(command, event, message):
                taken.extend(read(section))
            return taken

        return await self._submit(command, job, None, progress=lambda: len(taken))

    async def _submit(
        self,
        command: str,
        job: Callable[[vici.Session], T],
        seconds: float | None,
        progress: Callable[[], int] = lambda: 0,
    ) -> T:
        if self._failure is not None:
            raise self._failure
        allowed = self.timeout if seconds is None else seconds
        future: Future[T] = Future()
        self._jobs.put((future, job))
        answer = asyncio.wrap_future(future)
        seen = -1
        try:
            while (now := progress()) > seen:
                seen = now
                done, _ = await asyncio.wait([answer], timeout=allowed)
                if done:
                    return await answer
        finally:
            answer.cancel()  # who gave up does not want to hear of its failure either
        raise self._end(self._hung(f"no answer to {command!r} within {allowed:g} s"))

    def _end(self, failure: CharonError) -> CharonError:
        first = super()._end(failure)
        self._jobs.put(None)
        return first

    def _work(self, sock: socket.socket) -> None:
        session = vici.Session(sock)
        while self._failure is None and (job := self._jobs.get()) is not None:
            future, work = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work(session))
            except CommandException as error:
                reason = str(error).removeprefix("Command failed: ")
                future.set_exception(CharonRefused(reason, where=str(self.path)))
            except (OSError, SessionException, DeserializationException) as error:
                if _is_unknown_command(error):
                    what = "charon does not know the command"
                    future.set_exception(CharonRefused(what, where=str(self.path), cure="Load its plugin"))
                else:
                    future.set_exception(self._end(self._broken(error)))

    def _ended(self, failure: CharonError) -> None:
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is not None and job[0].set_running_or_notify_cancel():
                job[0].set_exception(failure)


class EventSession(_Threaded):
    """Events, drained at once on a thread that never waits for a reader.

    `open` returns when charon has confirmed every registration: nothing is missed after that.
    """

    _thread_name = "vici-events"

    def __init__(
        self,
        path: Path,
        timeout: float,
        names: Sequence[str],
        on_event: Callable[[str, RawSection], None],
        on_end: Callable[[CharonError], None],
    ) -> None:
        """Prepare to listen for `names`; both callbacks are called on the session's thread."""
        super().__init__(path, timeout)
        self._names = names
        self._on_event = on_event
        self._on_end = on_end

    def _prepare(self, sock: socket.socket) -> None:
        transport = Transport(sock)
        for name in self._names:
            transport.send(Packet.register_event(name))
            while True:
                answer = Packet.parse(transport.receive())
                # A charon too old to know the kind never raises it: that is no failure.
                if answer.response_type in (Packet.EVENT_CONFIRM, Packet.EVENT_UNKNOWN):
                    break
                self._hand_on(answer)

    def _work(self, sock: socket.socket) -> None:
        transport = Transport(sock)
        while True:
            self._hand_on(Packet.parse(transport.receive()))

    def _hand_on(self, packet: Any) -> None:
        if packet.response_type == Packet.EVENT:
            self._on_event(packet.event_type.decode("ascii"), Message.deserialize(packet.payload))

    def _ended(self, failure: CharonError) -> None:
        self._on_end(failure)


def _is_unknown_command(error: Exception) -> bool:
    return isinstance(error, SessionException) and f"type {Packet.CMD_UNKNOWN}," in str(error)
