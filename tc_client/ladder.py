# SPDX-License-Identifier: Apache-2.0
"""Which transport is next: the client's state machine, without clock, socket or log.

It is told what happened and when, and answers with actions (`tc_client.moves`). The table at the end says
which event is legal in which state and what handles it; anything else is `IllegalMove`. Rungs are data: the
ladder never asks what a transport is, only whether it is a stream that can be repaired.

A rung stands when ESP was seen in both directions. Under a rung that stands:

- a stream that breaks is repaired: at once, then after pauses, then the other rungs are asked;
- a path that dies silently makes its rung fail, and the SA moves to the next;
- while a lower rung stands, the preferred one is probed in the background. Once it answers, the SA moves
  there; the lower rung stays open until ESP was seen, and takes the SA back if it was not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tc_client.moves import (
    Action,
    Cancel,
    Clear,
    Event,
    Failed,
    NetworkChanged,
    PathLost,
    SaLost,
    Start,
    Stop,
    StreamLost,
    Succeeded,
    Tick,
)
from tc_client.record import What
from tc_client.rounds import STABLE_SECONDS, State
from tc_client.rungs import Failure, Why
from tc_client.standing import Standing


class IllegalMove(Exception):
    """An event that cannot happen in this state: a bug in whoever reported it."""

    def __init__(self, event: Event, state: State, *, sa: bool) -> None:
        """Name the event and the state it met."""
        self.event, self.state = event, state
        with_sa = "with an SA" if sa else "without an SA"
        super().__init__(f"{event} is no event for a ladder that is {state} {with_sa}")


class Ladder(Standing):
    """One client's ladder over its rungs, given in the order in which they are to be tried."""

    def handle(self, event: Event, now: float) -> list[Action]:
        """Tell what happened; gives what to do, in order. Raises IllegalMove."""
        if isinstance(event, Succeeded | Failed) and event.effort not in (self._effort, self._background):
            return []  # cancelled while its outcome was on the way
        handler = TABLE[self.state].get(type(event))
        if handler is None or (isinstance(event, SaLost) and not self.sa):
            raise IllegalMove(event, self.state, sa=self.sa)
        self._now, self._out = now, []
        handler(self, event)
        return self._out

    # What is wanted

    def _start(self, event: Start) -> None:
        self._backoff.reset()
        self.record.why = "the first way to the gateway is looked for"
        self._begin(first=[place for place, rung in enumerate(self.rungs) if rung.name == event.first])

    def _stop(self, _: Stop) -> None:
        self._drop()
        self._forget_background()
        self.record.leave()
        self.record.note("", What.STOPPED, "the tunnel was asked to go down", self._now)
        self.record.why = "the tunnel was asked to go down"
        self.state, self.sa, self._in_round, self._back = State.IDLE, False, False, None
        self._out.append(Clear())

    # Efforts that end

    def _resolved(self, _: Succeeded) -> None:
        self._effort = 0
        self._climb()

    def _probed(self, _: Succeeded) -> None:
        self._effort = 0
        if self.sa:
            self._move()
        else:
            self._attempt()

    def _attempted(self, _: Succeeded) -> None:
        self._effort = 0
        self.sa, self._sa_since = True, self._now
        self._verify()

    def _moved(self, _: Succeeded) -> None:
        self._effort = 0
        self._verify()

    def _verified(self, event: Succeeded) -> None:
        self._effort, self._deadline = 0, None
        self._stand(event.note)

    # Efforts that fail

    def _resolve_failed(self, event: Failed) -> None:
        self._effort = 0
        self._give_up(str(event.failure))

    def _probe_failed(self, event: Failed) -> None:
        self._effort = 0
        self.record.failed(self.rung, event.failure, self._now)
        self._after(event.failure)

    def _rung_failed(self, event: Failed) -> None:
        """The probe was answered, and what followed was not."""
        self._effort = 0
        self._lose(event.failure)

    # The SA

    def _sa_lost(self, event: SaLost) -> None:
        """Begin again on the same rung, unless the SA was lost as soon as it was made."""
        young = self._now - self._sa_since < STABLE_SECONDS
        self.sa = False
        self._drop()
        self.record.leave()
        self.record.note(self.rung.name, What.LOST, event.reason, self._now)
        self._leave()
        if young:
            self._give_up(event.reason)
        else:
            self._backoff.reset()
            self._begin(first=[self._at])

    def _sa_lost_between(self, event: SaLost) -> None:
        """No rung carries it just now: the next one makes a new SA instead of moving the old."""
        self.sa = False
        self.record.note("", What.LOST, event.reason, self._now)

    # The network, and time

    def _restart(self, event: NetworkChanged) -> None:
        """What was found out so far was about another network."""
        self._drop()
        if self.state is not State.WAITING:
            self._leave()
        self._backoff.reset()
        self.record.note("", What.LOST, event.reason, self._now)
        self._begin()

    def _nothing(self, _: Event) -> None:
        """Concerns nothing that is under way."""

    def _late(self, _: Tick) -> None:
        """Let the effort fail whose deadline has passed."""
        if self._deadline is None or self._now < self._deadline:
            return
        late = Failed(self._effort, Failure(Why.LATE, f"{self.rung.title}: {LATE[self.state]} in time"))
        self._out.append(Cancel(self._effort))
        TABLE[self.state][Failed](self, late)

    def _repair_time(self, event: Tick) -> None:
        if self._effort:
            self._late(event)
        elif self._deadline is not None and self._now >= self._deadline:
            self._repair()

    def _pause_over(self, _: Tick) -> None:
        if self._deadline is not None and self._now >= self._deadline:
            self._begin()


LATE = {
    State.RESOLVING: "the gateway's name was not resolved",
    State.PROBING: "the probe did not end",
    State.ATTEMPTING: "no IKE_SA and CHILD_SA came up",
    State.MOVING: "the SA did not move",
    State.VERIFYING: "ESP was not verified",
    State.REPAIRING: "the connection was not made again",
}

S, L = State, Ladder
Handler = Callable[[Ladder, Any], None]
TABLE: dict[State, dict[type[Event], Handler]] = {
    S.IDLE: {
        Start: L._start,
        StreamLost: L._nothing,
        NetworkChanged: L._nothing,
        Tick: L._nothing,
    },
    S.RESOLVING: {
        Stop: L._stop,
        Succeeded: L._resolved,
        Failed: L._resolve_failed,
        StreamLost: L._nothing,
        NetworkChanged: L._restart,
        Tick: L._late,
    },
    S.PROBING: {
        Stop: L._stop,
        Succeeded: L._probed,
        Failed: L._probe_failed,
        SaLost: L._sa_lost_between,
        StreamLost: L._nothing,
        NetworkChanged: L._restart,
        Tick: L._late,
    },
    S.ATTEMPTING: {
        Stop: L._stop,
        Succeeded: L._attempted,
        Failed: L._rung_failed,
        StreamLost: L._stream_lost_midway,
        NetworkChanged: L._restart,
        Tick: L._late,
    },
    S.MOVING: {
        Stop: L._stop,
        Succeeded: L._moved,
        Failed: L._rung_failed,
        SaLost: L._sa_lost,
        StreamLost: L._stream_lost_midway,
        NetworkChanged: L._restart,
        Tick: L._late,
    },
    S.VERIFYING: {
        Stop: L._stop,
        Succeeded: L._verified,
        Failed: L._rung_failed,
        SaLost: L._sa_lost,
        StreamLost: L._stream_lost_midway,
        NetworkChanged: L._restart,
        Tick: L._late,
    },
    S.UP: {
        Stop: L._stop,
        Succeeded: L._background_answered,
        Failed: L._background_failed,
        SaLost: L._sa_lost,
        PathLost: L._path_lost,
        StreamLost: L._stream_lost,
        NetworkChanged: L._network_changed,
        Tick: L._background_time,
    },
    S.REPAIRING: {
        Stop: L._stop,
        Succeeded: L._moved,
        Failed: L._repair_failed,
        SaLost: L._sa_lost,
        StreamLost: L._nothing,
        NetworkChanged: L._repair_now,
        Tick: L._repair_time,
    },
    S.WAITING: {
        Stop: L._stop,
        SaLost: L._sa_lost_between,
        StreamLost: L._nothing,
        NetworkChanged: L._restart,
        Tick: L._pause_over,
    },
}
