# SPDX-License-Identifier: Apache-2.0
"""The mechanics below the ladder's table: one effort at a time, its deadline, and rounds over the rungs.

A *round* tries rungs one after another: probe, then attempt (or move, when an SA lives), then verify. A
rung that fails makes way for the next; when none is left the round is given up, and a pause follows. Here is
how that is done; `tc_client.ladder` says when. No clock, socket or log.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence

from tc_client.backoff import Backoff
from tc_client.moves import (
    Abandon,
    Action,
    Attempt,
    Cancel,
    GiveUp,
    Leave,
    Move,
    Probe,
    Repair,
    Resolve,
    Stand,
    Verify,
    Wait,
)
from tc_client.record import Record
from tc_client.rungs import Failure, Rung, Why

# Whoever makes an effort keeps its time and knows best why it failed; this long is waited for that word.
GRACE_SECONDS = 2.0
RESOLVE_SECONDS = 5.0  # what a resolver's own two tries take
PREPARE_SECONDS = 20.0  # what a link takes to be made on a slow machine; elsewhere it is milliseconds
STABLE_SECONDS = 10.0  # an SA that is lost sooner is no reason to hurry


class State(enum.StrEnum):
    """What the ladder is doing."""

    IDLE = "idle"
    RESOLVING = "resolving"
    PROBING = "probing"
    ATTEMPTING = "attempting"
    MOVING = "moving"
    VERIFYING = "verifying"
    UP = "up"
    REPAIRING = "repairing"
    WAITING = "waiting"


class Rounds:
    """The state that all of the ladder's handlers work on, and the steps they are made of."""

    def __init__(
        self, rungs: Sequence[Rung], *, rounds: Backoff, repairs: Backoff, reprobe: Backoff | None
    ) -> None:
        """Pauses between rounds, between repairs, and before a preferred rung is asked (None: never)."""
        if not rungs:
            raise ValueError("a ladder without rungs leads nowhere")
        self.rungs = tuple(rungs)
        self.record = Record(rungs)
        self.state = State.IDLE
        self.sa = False
        self._backoff, self._patience, self._reprobe = rounds, repairs, reprobe
        self._at = 0  # the rung that is tried, or stands
        self._queue: list[int] = []  # the rungs that this round has left
        self._in_round = False
        self._back: int | None = None  # where the SA returns to when its move to a preferred rung fails
        self._sa_since = 0.0
        self._suspect = False  # in this round a path answered IKE and did not carry the SA
        self._tries = 0  # of the repair that is under way
        self._numbers = 0
        self._effort = 0
        self._deadline: float | None = None  # of the effort, or of the pause
        self._background = 0
        self._background_due: float | None = None  # when to ask, or when to stop waiting for the answer
        self._now = 0.0
        self._out: list[Action] = []

    @property
    def rung(self) -> Rung:
        """The rung that is tried, or stands."""
        return self.rungs[self._at]

    @property
    def deadline(self) -> float | None:
        """When to send a Tick, if nothing happens before."""
        times = [time for time in (self._deadline, self._background_due) if time is not None]
        return min(times, default=None)

    # Rounds

    def _begin(self, first: Iterable[int] = (), last: Iterable[int] = ()) -> None:
        """Begin a round over all rungs, those of `first` before and those of `last` after the others."""
        first, last = list(first), list(last)
        middle = [index for index in range(len(self.rungs)) if index not in (*first, *last)]
        self._queue = [*first, *middle, *last]
        self._in_round, self._back, self._suspect, self._tries = True, None, False, 0
        self._forget_background()
        if self.sa:
            self._climb()
        else:
            limit = RESOLVE_SECONDS + PREPARE_SECONDS
            self._do(State.RESOLVING, limit, lambda number: Resolve(number, RESOLVE_SECONDS))

    def _climb(self) -> None:
        """Try the next rung of this round."""
        if not self._queue:
            self._exhausted()
            return
        self._at = self._queue.pop(0)
        self.record.begin(self.rung, self._now)
        self._do(State.PROBING, self.rung.probe_seconds, lambda number: Probe(number, self.rung))

    def _next_rung(self) -> None:
        """Go on after a rung failed that had passed its probe, or had stood."""
        if self._in_round:
            self._climb()
        else:
            self._begin(last=[self._at])

    def _exhausted(self) -> None:
        if self.sa and self._suspect:
            # Probes are answered and this SA is not carried: the gateway may have lost it, which charon would
            # find out in minutes. An SA that is as young as this round has nothing to do with it.
            old = self._now - self._sa_since >= STABLE_SECONDS
            self.sa = False
            self._out.append(Abandon("no rung carries it, though the gateway answers"))
            if old:
                self._begin()
                return
        failures = [str(entry.failure) for entry in self.record.rungs.values() if entry.failure]
        self._give_up(f"no way to the gateway: {'; '.join(failures)}")

    def _give_up(self, reason: str, *, hopeless: bool = False) -> None:
        """End the round without a standing rung; `hopeless` when only somebody else can mend it."""
        self._drop()
        self._forget_background()
        self.record.gave_up(reason, self._now)
        pause = self._backoff.longest() if hopeless else self._backoff.pause()
        self.state, self._in_round, self._back = State.WAITING, False, None
        self._deadline = self._now + pause
        self._out += [GiveUp(reason), Wait(pause)]

    # Steps on a rung

    def _attempt(self) -> None:
        self._do(State.ATTEMPTING, self.rung.attempt_seconds, lambda number: Attempt(number, self.rung))

    def _move(self) -> None:
        # Opening a stream takes what a probe of it takes; a datagram path needs no opening.
        self._do(State.MOVING, self.rung.probe_seconds, lambda number: Move(number, self.rung))

    def _verify(self) -> None:
        self._do(State.VERIFYING, self.rung.verify_seconds, lambda number: Verify(number, self.rung))

    def _repair(self) -> None:
        self.record.begin(self.rung, self._now)
        self._do(State.REPAIRING, self.rung.probe_seconds, lambda number: Repair(number, self.rung))

    def _stand(self, note: str) -> None:
        if self._back is not None and self._back != self._at:
            self._out.append(Leave(self.rungs[self._back]))
        self.state, self._in_round, self._back, self._tries = State.UP, False, None, 0
        self.record.stands(self.rung, note, self._now)
        self._out.append(Stand(self.rung))
        self._schedule()

    def _leave(self) -> None:
        """Close the rung under way, and the one that was kept to return to."""
        self._out.append(Leave(self.rung))
        if self._back is not None and self._back != self._at:
            self._out.append(Leave(self.rungs[self._back]))
        self._back = None

    def _lose(self, failure: Failure) -> None:
        """Go on without the rung under way."""
        self._drop()
        self.record.failed(self.rung, failure, self._now)
        if self._back is not None and self._back != self._at:
            # The rung that was left for this one is still open: nothing more is risked.
            self._out.append(Leave(self.rung))
            self._at, self._back = self._back, None
            self.record.begin(self.rung, self._now)
            self._move()
            return
        self._suspect = True
        self._leave()
        self._after(failure)

    def _after(self, failure: Failure) -> None:
        if failure.everywhere:
            self._give_up(str(failure), hopeless=failure.why is Why.IKE_REFUSED)
        else:
            self._next_rung()

    # Efforts

    def _do(self, state: State, seconds: float, make: Callable[[int], Action]) -> None:
        self._drop()
        self._effort = self._number()
        self.state, self._deadline = state, self._now + seconds + GRACE_SECONDS
        self.record.step(self.rung, self._now)
        self._out.append(make(self._effort))

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _drop(self) -> None:
        """End the effort that is under way, if one is."""
        if self._effort:
            self._out.append(Cancel(self._effort))
        self._effort, self._deadline = 0, None

    # The way back to a preferred rung

    def _preferred(self) -> int | None:
        """The best preferred rung above the one that stands."""
        return next((index for index in range(self._at) if self.rungs[index].preferred), None)

    def _schedule(self) -> None:
        """Set the time of the next background probe."""
        self._forget_background()
        if self._reprobe is not None and self._preferred() is not None:
            self._background_due = self._now + self._reprobe.pause()

    def _probe_in_background(self) -> None:
        target = self._preferred()
        if target is not None:
            rung = self.rungs[target]
            self._background = self._number()
            self._background_due = self._now + rung.probe_seconds + GRACE_SECONDS
            self.record.begin(rung, self._now)
            self._out.append(Probe(self._background, rung, background=True))

    def _forget_background(self) -> None:
        if self._background:
            self._out.append(Cancel(self._background))
        self._background, self._background_due = 0, None
