# SPDX-License-Identifier: Apache-2.0
"""When a connection without an IKE_SA is closed, told as conversations with a clock."""

from __future__ import annotations

from eseg.deadlines import CONFIRMED_SECONDS, Deadlines, Verdict
from tests.charon.samples import ike
from tests.eseg.samples import connection
from tpkt.pump import ConnectionState

FIRST = connection(id=1, flow="198.18.0.20")
SECOND = connection(id=2, flow="198.18.0.21")


def test_a_stranger_has_its_seconds_and_no_more() -> None:
    deadlines = Deadlines(30)
    assert deadlines.wants_listing([FIRST], now=0)
    assert deadlines.judge([FIRST], [], now=0) == []
    assert deadlines.judge([FIRST], [], now=29.9) == []
    assert deadlines.judge([FIRST], [], now=30) == [(1, Verdict.NEVER)]


def test_a_half_open_ike_sa_does_not_count() -> None:
    deadlines = Deadlines(30)
    connecting = ike(state="CONNECTING")
    deadlines.judge([FIRST], [connecting], now=0)
    assert deadlines.judge([FIRST], [connecting], now=30) == [(1, Verdict.NEVER)]


def test_a_client_with_an_ike_sa_stays_and_is_seldom_asked_for() -> None:
    deadlines = Deadlines(30)
    assert deadlines.judge([FIRST], [ike()], now=0) == []
    assert not deadlines.wants_listing([FIRST], now=CONFIRMED_SECONDS - 1)
    assert deadlines.wants_listing([FIRST, SECOND], now=1), "a new connection must be judged"
    assert deadlines.wants_listing([FIRST], now=CONFIRMED_SECONDS)
    assert deadlines.judge([FIRST], [ike()], now=1000) == []


def test_what_a_client_left_behind_is_closed() -> None:
    deadlines = Deadlines(30)
    deadlines.judge([FIRST], [ike()], now=0)
    moved = ike(remote_host=SECOND.flow)
    assert deadlines.judge([FIRST, SECOND], [moved], now=60) == []
    assert deadlines.wants_listing([FIRST, SECOND], now=61)
    assert deadlines.judge([FIRST, SECOND], [moved], now=90) == [(1, Verdict.GONE)]


def test_a_client_that_returns_in_time_begins_anew() -> None:
    deadlines = Deadlines(30)
    deadlines.judge([FIRST], [], now=0)
    deadlines.judge([FIRST], [ike()], now=20)
    assert deadlines.judge([FIRST], [], now=100) == []
    assert deadlines.judge([FIRST], [], now=130) == [(1, Verdict.GONE)]


def test_no_clock_runs_while_charon_is_away() -> None:
    deadlines = Deadlines(30)
    deadlines.judge([FIRST], [], now=0)
    deadlines.pause()
    assert deadlines.judge([FIRST], [], now=100) == []
    assert deadlines.judge([FIRST], [], now=130) == [(1, Verdict.NEVER)]


def test_connections_that_are_not_open_are_the_pumps_to_end() -> None:
    deadlines = Deadlines(30)
    new = connection(state=ConnectionState.NEW)
    assert not deadlines.wants_listing([new], now=1000)
    deadlines.judge([new], [], now=0)
    assert deadlines.judge([new], [], now=1000) == []


def test_zero_switches_it_off() -> None:
    assert not Deadlines(0).wants_listing([FIRST], now=1000)


def test_an_identifier_that_is_used_again_is_a_stranger_again() -> None:
    deadlines = Deadlines(30)
    deadlines.judge([FIRST], [ike()], now=0)
    deadlines.judge([], [], now=10)
    deadlines.judge([FIRST], [], now=20)
    assert deadlines.judge([FIRST], [], now=50) == [(1, Verdict.NEVER)]
