# SPDX-License-Identifier: Apache-2.0
"""Watches a charon: up, hung, gone or restarted, each noticed within five seconds.

A session of its own asks a small question twice a second, so that a long listing on the command session is no
alarm. A charon that answers but is another process than before has lost what was loaded: it is connected to
again and loaded again before `restarted` is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from charon.control import Charon
from charon.errors import CharonError, CharonRefused, CharonTimeout
from charon.session import CommandSession
from charon.types import State

logger = logging.getLogger(__name__)

# Noticed within INTERVAL_SECONDS + ANSWER_SECONDS at the latest.
INTERVAL_SECONDS: Final = 0.5
ANSWER_SECONDS: Final = 3.0


class HealthKind(StrEnum):
    """How charon is."""

    UP = "up"
    HUNG = "hung"
    GONE = "gone"
    RESTARTED = "restarted"


@dataclass(frozen=True, slots=True)
class Health:
    """A change of charon's health; `reason` is a sentence unless it is up."""

    kind: HealthKind
    reason: str = ""


# Who answers: the process, and since when it runs. A charon restarted under the same pid is another charon.
# What charon itself tells of its start is of no use: it is computed anew each time, at times a second off.
_Identity = tuple[int, str]


class Watch:
    """An endless `async for` over changes of health; the first is how charon is now."""

    def __init__(self, charon: Charon, state: Callable[[], State] | None = None) -> None:
        """Watch `charon`.

        `state` says what a charon that has (re)appeared is to hold; without it, what was loaded before.
        """
        self._charon = charon
        self._state = state
        self._session: CommandSession | None = None
        self._identity: _Identity | None = None
        self.current: Health | None = None

    async def __aiter__(self) -> AsyncGenerator[Health, None]:
        """Yield each change; give up the iteration to stop watching."""
        try:
            while True:
                health = await self._probe()
                if self.current is None or health.kind is not self.current.kind:
                    # `restarted` is an event, not a condition: charon is up from then on.
                    restarted = health.kind is HealthKind.RESTARTED
                    self.current = Health(HealthKind.UP) if restarted else health
                    logger.log(_level(health), "charon is %s %s", health.kind, health.reason)
                    yield health
                await asyncio.sleep(INTERVAL_SECONDS)
        finally:
            self._drop()

    async def _probe(self) -> Health:
        try:
            identity = await self._ask()
            if identity == self._identity and self._charon.connected:
                return Health(HealthKind.UP)
            return await self._return(identity)
        except CharonTimeout as error:
            self._drop()
            return Health(HealthKind.HUNG, str(error))
        except CharonError as error:
            self._drop()
            return Health(HealthKind.GONE, str(error))

    async def _ask(self) -> _Identity:
        if self._session is None:
            session = CommandSession(self._charon.socket_path, ANSWER_SECONDS)
            await session.open()
            self._session = session
        await self._session.request("stats")
        return self._session.pid, _started(self._session.pid)

    async def _return(self, identity: _Identity) -> Health:
        """Charon is there, but not as we knew it: new to us, another process, or our sessions broke."""
        before, same = self._identity, identity == self._identity
        await self._charon.connect()
        restarted = before is not None and not same
        reason = f"it is process {identity[0]} now, and was loaded again"
        try:
            if restarted:
                await self._charon.reload()
            if self._state is not None and not same:
                await self._charon.apply(self._state())
        except CharonRefused as error:
            # Asking again would be refused again: whoever configures it must be told, and charon lives.
            reason = f"it does not hold all it should: {error}"
            logger.error("%s", reason)
        self._identity = identity
        return Health(HealthKind.RESTARTED, reason) if restarted else Health(HealthKind.UP)

    def _drop(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


def _started(pid: int) -> str:
    """Give when a process began, in ticks since boot (proc(5), field 22); "" when it is out of sight."""
    try:
        fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return fields[19]


def _level(health: Health) -> int:
    return logging.INFO if health.kind is HealthKind.UP else logging.WARNING
