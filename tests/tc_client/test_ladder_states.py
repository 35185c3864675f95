# SPDX-License-Identifier: Apache-2.0
"""Every event in every state: what must hold for a ladder whatever is told to it, legal or not."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tc_client.backoff import Backoff
from tc_client.ladder import TABLE, IllegalMove, Ladder
from tc_client.moves import (
    Abandon,
    Action,
    Attempt,
    Cancel,
    Clear,
    Event,
    Failed,
    Leave,
    Move,
    NetworkChanged,
    PathLost,
    Probe,
    Repair,
    SaLost,
    Stand,
    Start,
    Stop,
    StreamLost,
    Succeeded,
    Tick,
)
from tc_client.record import Result
from tc_client.rounds import GRACE_SECONDS, State
from tc_client.rungs import Failure, Why
from tests.tc_client.play import LATER, SILENT, TCP, UDP

EVENTS = (Start, Stop, Succeeded, Failed, SaLost, PathLost, StreamLost, NetworkChanged, Tick)
WORKING = {State.RESOLVING, State.PROBING, State.ATTEMPTING, State.MOVING, State.VERIFYING}
RUNGS = (UDP, TCP, LATER)
failures = st.sampled_from([Failure(why, why.value) for why in Why])


class Ladders(RuleBasedStateMachine):
    """A driver that does as it is told, against a network that does what it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        rounds, repairs, reprobe = (Backoff(*times, lambda: 0.5) for times in ((1, 60), (1, 60), (30, 600)))
        self.ladder = Ladder(RUNGS, rounds=rounds, repairs=repairs, reprobe=reprobe)
        self.efforts: dict[int, Action] = {}
        self.ended: list[int] = []
        self.open: set[str] = set()
        self.sa = False
        self.standing: str | None = None

    def tell(self, event: Event) -> None:
        before = (self.ladder.state, self.ladder.deadline)
        try:
            actions = self.ladder.handle(event, self.now)
        except IllegalMove:
            known = type(event) in TABLE[before[0]]
            assert not known or (isinstance(event, SaLost) and not self.sa)
            assert (self.ladder.state, self.ladder.deadline) == before
            return
        if isinstance(event, Succeeded | Failed):
            done = self.efforts.pop(event.effort, None)
            if isinstance(event, Succeeded) and isinstance(done, Attempt):
                self.sa = True
        if isinstance(event, SaLost):
            self.sa = False
        for action in actions:
            self.do(action)

    def do(self, action: Action) -> None:
        self.standing = None if not isinstance(action, Stand | Probe | Cancel) else self.standing
        match action:
            case Cancel(effort):
                assert effort in self.efforts, "only what is under way is cancelled"
                self.ended.append(effort)
                del self.efforts[effort]
                return
            case Leave(rung):
                self.open.discard(rung.name)
            case Attempt(_, rung):
                assert not self.sa, "no second IKE_SA_INIT while an SA lives"
                self.open.add(rung.name)
            case Move(_, rung) | Repair(_, rung):
                assert self.sa, "only what lives is moved"
                self.open.add(rung.name)
            case Abandon():
                self.sa = False
            case Clear():
                self.sa = False
                self.open.clear()
            case Stand(rung):
                assert self.open == {rung.name}, "nothing but what stands stays open"
                self.standing = rung.name
        begun: int | None = getattr(action, "effort", None)
        if begun is not None:
            assert begun not in (*self.efforts, *self.ended)
            self.efforts[begun] = action

    @rule()
    def start(self) -> None:
        self.tell(Start())

    @rule(first=st.sampled_from(["udp", "tcp-80", "connect-443", "gone"]))
    def start_with(self, first: str) -> None:
        self.tell(Start(first))

    @rule()
    def stop(self) -> None:
        self.tell(Stop())

    @precondition(lambda self: self.efforts)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        self.tell(Succeeded(data.draw(st.sampled_from(sorted(self.efforts))), "note"))

    @precondition(lambda self: self.ladder.state is not State.UP)
    @rule(blocked=st.integers(0, 2))
    def come_up(self, blocked: int) -> None:
        """Let all go well, but for the first rungs: chance alone would seldom get this far."""
        if self.ladder.state is State.IDLE:
            self.tell(Start())
        while self.ladder.state is not State.UP:
            if self.efforts:
                effort, action = max(self.efforts.items())
                if blocked and isinstance(action, Probe):
                    blocked -= 1
                    self.tell(Failed(effort, SILENT))
                else:
                    self.tell(Succeeded(effort))
            else:
                assert self.ladder.deadline is not None
                self.now = max(self.now, self.ladder.deadline)
                self.tell(Tick())

    @precondition(lambda self: self.ladder.state is State.UP and self.ladder.deadline is not None)
    @rule(steps=st.integers(0, 3))
    def be_asked_back(self, steps: int) -> None:
        """Let the background probe come, and the first steps of the way back go well."""
        if not self.efforts:
            self.now = max(self.now, self.ladder.deadline or 0)
            self.tell(Tick())
        for _ in range(steps):
            if self.efforts:
                self.tell(Succeeded(max(self.efforts)))

    @precondition(lambda self: self.efforts)
    @rule(data=st.data(), failure=failures)
    def fail(self, data: st.DataObject, failure: Failure) -> None:
        self.tell(Failed(data.draw(st.sampled_from(sorted(self.efforts))), failure))

    @precondition(lambda self: self.ended)
    @rule(success=st.booleans())
    def report_what_was_cancelled(self, success: bool) -> None:
        state = self.ladder.state
        stale = self.ended[-1]
        assert self.ladder.handle(Succeeded(stale) if success else Failed(stale, SILENT), self.now) == []
        assert self.ladder.state is state

    @rule()
    def lose_the_sa(self) -> None:
        self.tell(SaLost("gone"))

    @rule(failure=failures)
    def lose_the_path(self, failure: Failure) -> None:
        self.tell(PathLost(failure))

    @rule(rung=st.sampled_from(RUNGS), failure=failures)
    def lose_a_stream(self, rung: object, failure: Failure) -> None:
        self.tell(StreamLost(getattr(rung, "name", ""), failure))

    @rule()
    def change_the_network(self) -> None:
        self.tell(NetworkChanged("another route"))

    @rule(seconds=st.floats(0.01, 700))
    def pass_time(self, seconds: float) -> None:
        """Time passes; a driver never sleeps past a deadline."""
        end = self.now + seconds
        while self.ladder.deadline is not None and self.ladder.deadline <= end:
            self.now = max(self.now, self.ladder.deadline)
            self.tell(Tick())
        self.now = end

    @rule()
    def tick_early(self) -> None:
        if self.ladder.deadline is None or self.now < self.ladder.deadline:
            before = self.ladder.state
            assert self.ladder.handle(Tick(), self.now) == []
            assert self.ladder.state is before

    @invariant()
    def what_is_under_way_fits_the_state(self) -> None:
        state = self.ladder.state
        foreground = [a for a in self.efforts.values() if not (isinstance(a, Probe) and a.background)]
        assert len(self.efforts) <= 1
        if state in WORKING:
            assert len(foreground) == 1
        elif state is not State.REPAIRING:
            assert not foreground
        if state is not State.UP:
            assert len(foreground) == len(self.efforts), "the background belongs to a rung that stands"

    @invariant()
    def the_ladder_is_never_stuck(self) -> None:
        if self.ladder.state not in (State.IDLE, State.UP):
            assert self.ladder.deadline is not None

    @invariant()
    def the_sa_is_known(self) -> None:
        assert self.ladder.sa == self.sa

    @invariant()
    def nothing_is_left_open(self) -> None:
        if self.ladder.state in (State.IDLE, State.WAITING, State.RESOLVING):
            assert not self.open
        assert len(self.open) <= 2

    @invariant()
    def no_rung_took_longer_than_its_steps_may(self) -> None:
        for rung in RUNGS:
            record = self.ladder.record.rungs[rung.name]
            steps = [rung.probe_seconds, rung.attempt_seconds, rung.verify_seconds]
            limit = max(steps) + GRACE_SECONDS
            if record.result is not Result.FAILED:
                limit = sum(steps) + len(steps) * GRACE_SECONDS
            assert (record.seconds or 0) < limit + 0.001


TestLadders = Ladders.TestCase
TestLadders.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


@pytest.mark.parametrize("state", State)
def test_every_state_says_which_events_it_knows(state: State) -> None:
    assert set(TABLE[state]) <= set(EVENTS)
    assert Tick in TABLE[state]
    assert NetworkChanged in TABLE[state]
    assert (Start in TABLE[state]) == (state is State.IDLE)
    assert (Stop in TABLE[state]) == (state is not State.IDLE)
    assert (PathLost in TABLE[state]) == (state is State.UP)
