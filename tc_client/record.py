# SPDX-License-Identifier: Apache-2.0
"""What the ladder remembers: how each rung fared and why, and the last changes. Times are given to it."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from tc_client.rungs import Failure, Rung

CHANGES = 64  # a client that flaps every minute shows its last hour


class Result(enum.StrEnum):
    """How a rung fared the last time."""

    UNTRIED = "untried"
    FAILED = "failed"
    STANDS = "stands"
    STOOD = "stood"  # it worked until the SA moved on or was taken down


class What(enum.StrEnum):
    """What a change was."""

    STOOD_UP = "up"
    MOVED = "moved"
    REPAIRED = "repaired"
    FAILED = "failed"
    LOST = "lost"
    GAVE_UP = "gave_up"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class RungRecord:
    """One rung's last outcome.

    `seconds`: of a rung that stands, what it took from its first step on; of one that failed, what the step
    took that failed; None where nothing was under way, as when a rung is lost that stood.
    """

    name: str
    result: Result = Result.UNTRIED
    failure: Failure | None = None
    at: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """Something a user would want to know afterwards; `rung` is empty when it was about none."""

    at: float
    rung: str
    what: What
    reason: str


class Record:
    """The memory of one ladder."""

    def __init__(self, rungs: Sequence[Rung]) -> None:
        """Begin with no rung tried."""
        self.rungs = {rung.name: RungRecord(rung.name) for rung in rungs}
        self.changes: deque[Change] = deque(maxlen=CHANGES)
        self.standing: str | None = None
        self.since: float | None = None
        self.why = "nothing was asked for yet"
        self._began: dict[str, float] = {}
        self._step: dict[str, float] = {}

    def begin(self, rung: Rung, now: float) -> None:
        """Note that the first step on `rung` begins: it is tried from now on."""
        self._began[rung.name] = self._step[rung.name] = now

    def step(self, rung: Rung, now: float) -> None:
        """Note that the next step on `rung` begins."""
        self._step[rung.name] = now

    def failed(self, rung: Rung, failure: Failure, now: float) -> None:
        """Note that a step on `rung` failed."""
        seconds = now - self._step[rung.name]
        self.rungs[rung.name] = RungRecord(rung.name, Result.FAILED, failure, now, seconds)
        self.note(rung.name, What.FAILED, str(failure), now)

    def lost(self, rung: Rung, failure: Failure, now: float) -> None:
        """Note that `rung` stood, and stands no more."""
        self.rungs[rung.name] = RungRecord(rung.name, Result.FAILED, failure, now)
        self.note(rung.name, What.LOST, str(failure), now)

    def stands(self, rung: Rung, note: str, now: float) -> None:
        """Note that `rung` carries the tunnel: from now on, or still."""
        what = What.STOOD_UP
        if self.standing == rung.name:
            what = What.REPAIRED
        else:
            if self.standing is not None:
                what = What.MOVED
            self.leave()
            self.since = now
            missed = [str(entry.failure) for entry in self._before(rung.name) if entry.failure]
            self.why = "; ".join([*missed, note])
        seconds = now - self._began[rung.name]
        self.rungs[rung.name] = RungRecord(rung.name, Result.STANDS, None, now, seconds)
        self.standing = rung.name
        self.note(rung.name, what, note, now)

    def _before(self, name: str) -> list[RungRecord]:
        names = list(self.rungs)
        return [self.rungs[other] for other in names[: names.index(name)]]

    def leave(self) -> None:
        """Note that no rung carries the tunnel (any more)."""
        if self.standing is not None and self.rungs[self.standing].result is Result.STANDS:
            old = self.rungs[self.standing]
            self.rungs[old.name] = RungRecord(old.name, Result.STOOD, None, old.at, old.seconds)
        self.standing, self.since = None, None

    def gave_up(self, reason: str, now: float) -> None:
        """Note that no rung stands, and why."""
        self.leave()
        self.why = reason
        self.note("", What.GAVE_UP, reason, now)

    def note(self, rung: str, what: What, reason: str, now: float) -> None:
        """Add a change; the same failure again replaces the one before."""
        if self.changes:
            last = self.changes[-1]
            if (last.rung, last.what, last.reason) == (rung, what, reason):
                self.changes.pop()
        self.changes.append(Change(now, rung, what, reason))
