# SPDX-License-Identifier: Apache-2.0
"""The ladder as conversations: what a network does, and which way the client takes through it."""

from __future__ import annotations

import pytest

from tc_client import report
from tc_client.backoff import Backoff
from tc_client.ladder import IllegalMove, Ladder
from tc_client.moves import (
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
    Wait,
)
from tc_client.record import Result, What
from tc_client.rounds import State
from tc_client.rungs import Failure, Why
from tests.tc_client.play import LATER, NO_ESP, REFUSED, RESET, SILENT, TCP, UDP, Play, never_shorter


def up_on_udp(play: Play) -> Play:
    play.tell(Start(), "resolve").succeeds("probe udp").succeeds("attempt udp")
    return play.succeeds("verify udp").succeeds("stand udp", note="ESP both ways")


def up_on_tcp(play: Play) -> Play:
    play.tell(Start(), "resolve").succeeds("probe udp").after(2).fails(SILENT, "probe tcp-80")
    return play.succeeds("attempt tcp-80").succeeds("verify tcp-80").succeeds("stand tcp-80", note="ESP")


def test_udp_works_and_nothing_else_is_tried() -> None:
    play = up_on_udp(Play())
    assert play.ladder.state is State.UP
    assert play.ladder.deadline is None
    assert play.ladder.record.rungs["tcp-80"].result is Result.UNTRIED


@pytest.mark.parametrize("why", [Why.SILENT, Why.REFUSED, Why.UNREACHABLE])
def test_a_udp_probe_that_fails_leads_to_tcp_without_any_attempt(why: Why) -> None:
    play = Play().tell(Start(), "resolve").succeeds("probe udp")
    play.fails(Failure(why, "UDP is blocked"), "probe tcp-80")
    play.succeeds("attempt tcp-80").succeeds("verify tcp-80").succeeds("stand tcp-80", note="ESP both ways")
    assert play.ladder.record.why == "UDP is blocked; ESP both ways"


def test_ike_that_works_without_esp_is_a_failure_and_the_sa_moves_instead_of_being_made_anew() -> None:
    play = (
        Play().tell(Start(), "resolve").succeeds("probe udp").succeeds("attempt udp").succeeds("verify udp")
    )
    play.fails(NO_ESP, "leave udp", "probe tcp-80").succeeds("move tcp-80").succeeds("verify tcp-80")
    play.succeeds("stand tcp-80")
    assert play.ladder.record.rungs["udp"].failure == NO_ESP


def test_an_ike_exchange_without_an_answer_fails_its_rung_and_the_next_makes_the_sa() -> None:
    play = Play().tell(Start(), "resolve").succeeds("probe udp").succeeds("attempt udp")
    play.fails(Failure(Why.IKE_SILENT, "no answer to IKE_AUTH"), "leave udp", "probe tcp-80")
    play.succeeds("attempt tcp-80")


def test_a_refusal_by_the_gateway_is_not_carried_to_every_rung() -> None:
    play = Play().tell(Start(), "resolve").succeeds("probe udp").succeeds("attempt udp")
    play.fails(REFUSED, "leave udp", "giveup", "wait")
    assert play.ladder.record.why == "AUTHENTICATION_FAILED"
    assert play.actions[-1] == Wait(60.0), "haste would only lock the account"


def test_a_name_without_an_address_ends_the_round() -> None:
    play = Play().tell(Start(), "resolve")
    play.fails(Failure(Why.NO_ADDRESS, "gw.example: no address"), "giveup", "wait")
    assert play.ladder.state is State.WAITING


def test_when_no_rung_stands_the_user_reads_why_each_of_them_failed() -> None:
    play = Play().tell(Start(), "resolve").succeeds("probe udp").fails(SILENT, "probe tcp-80")
    play.fails(Failure(Why.NOT_IKE, "TCP 80: HTTP answered"), "giveup", "wait")
    assert play.ladder.record.why == "no way to the gateway: no answer; TCP 80: HTTP answered"


def test_rounds_come_back_after_growing_pauses() -> None:
    play = Play(UDP).tell(Start(), "resolve").succeeds("probe udp").fails(SILENT, "giveup", "wait")
    for pause in (1.0, 2.0, 4.0):
        assert play.actions[-1] == Wait(pause)
        play.after(pause - 0.01).tell(Tick())
        play.after(0.01).tell(Tick(), "resolve").succeeds("probe udp").fails(SILENT, "giveup", "wait")


def test_a_pause_is_shortened_by_chance_by_no_more_than_half() -> None:
    play = Play(UDP, random=lambda: 0.999).tell(Start(), "resolve").succeeds("probe udp")
    play.fails(SILENT, "giveup", "wait")
    pause = play.actions[-1]
    assert isinstance(pause, Wait)
    assert 0.5 <= pause.seconds < 0.51


def test_a_change_of_the_network_ends_a_pause_at_once() -> None:
    play = Play(UDP).tell(Start(), "resolve").succeeds("probe udp").fails(SILENT, "giveup", "wait")
    play.tell(NetworkChanged("a default route appeared"), "resolve")


def test_a_change_of_the_network_throws_away_what_was_found_out_about_the_old_one() -> None:
    play = Play().tell(Start(), "resolve").succeeds("probe udp").fails(SILENT, "probe tcp-80")
    play.tell(NetworkChanged("the default route changed"), "cancel", "leave tcp-80", "resolve")


def test_an_effort_that_does_not_end_is_cancelled_at_its_deadline() -> None:
    play = Play().tell(Start(), "resolve").succeeds("probe udp").after(3.9).tell(Tick())
    play.after(0.1).tell(Tick(), "cancel", "probe tcp-80")
    failure = play.ladder.record.rungs["udp"].failure
    assert failure is not None
    assert failure.why is Why.LATE


def test_the_outcome_of_a_cancelled_effort_changes_nothing() -> None:
    play = Play().tell(Start(), "resolve").succeeds("probe udp")
    late = play.effort
    play.after(4).tell(Tick(), "cancel", "probe tcp-80")
    play.tell(Succeeded(late)).tell(Failed(late, SILENT))
    assert play.ladder.state is State.PROBING


def test_a_broken_connection_is_repaired_at_once_under_the_living_sa() -> None:
    play = up_on_tcp(Play()).after(60).tell(StreamLost("tcp-80", RESET), "repair tcp-80")
    play.succeeds("verify tcp-80").succeeds("stand tcp-80", note="ESP again")
    assert play.ladder.record.changes[-1].what is What.REPAIRED
    assert play.ladder.record.since == 1002.0, "it has carried the tunnel all the time"


def test_a_repair_is_tried_again_after_growing_pauses_and_then_the_other_rungs_are_asked() -> None:
    play = up_on_tcp(Play()).after(60).tell(StreamLost("tcp-80", RESET), "repair tcp-80")
    play.fails(SILENT).after(1).tell(Tick(), "repair tcp-80")
    play.fails(SILENT).after(1.9).tell(Tick()).after(0.1).tell(Tick(), "repair tcp-80")
    play.fails(SILENT, "leave tcp-80", "probe udp").fails(SILENT, "probe tcp-80").succeeds("move tcp-80")
    play.succeeds("verify tcp-80").succeeds("stand tcp-80")


def test_a_change_of_the_network_ends_the_pause_of_a_repair() -> None:
    play = up_on_tcp(Play()).after(60).tell(StreamLost("tcp-80", RESET), "repair tcp-80").fails(SILENT)
    play.tell(NetworkChanged("a route appeared"), "repair tcp-80").succeeds("verify tcp-80")


def test_a_change_of_the_network_opens_the_connection_again_before_the_old_one_is_missed() -> None:
    up_on_tcp(Play()).after(60).tell(NetworkChanged("the address changed"), "repair tcp-80")


def test_a_change_of_the_network_under_udp_tells_the_gateway_and_verifies() -> None:
    play = up_on_udp(Play()).after(60).tell(NetworkChanged("the address changed"), "move udp")
    play.succeeds("verify udp").fails(NO_ESP, "leave udp", "probe tcp-80").succeeds("move tcp-80")


def test_a_path_that_dies_under_udp_moves_the_sa_to_tcp() -> None:
    play = up_on_udp(Play()).after(60).tell(PathLost(NO_ESP), "leave udp", "probe tcp-80")
    play.succeeds("move tcp-80").succeeds("verify tcp-80").succeeds("stand tcp-80")
    assert play.ladder.record.changes[-1].what is What.MOVED
    assert play.ladder.sa


def test_a_connection_that_stands_and_carries_nothing_is_opened_again() -> None:
    up_on_tcp(Play()).after(60).tell(PathLost(NO_ESP), "repair tcp-80").succeeds("verify tcp-80")


def test_udp_is_asked_again_in_the_background_ever_more_seldom() -> None:
    play = up_on_tcp(Play())
    for pause in (30.0, 60.0, 120.0):
        play.after(pause - 0.1).tell(Tick())
        play.after(0.1).tell(Tick(), "probe behind udp").fails(SILENT)
        assert play.ladder.state is State.UP


def test_what_a_background_probe_took_is_counted_from_its_own_beginning() -> None:
    play = up_on_tcp(Play()).after(30).tell(Tick(), "probe behind udp").after(1.5).fails(SILENT)
    assert play.ladder.record.rungs["udp"].seconds == 1.5


def test_a_rung_that_fails_took_what_its_last_step_took_and_one_that_stands_all_of_its_steps() -> None:
    play = Play().tell(Start(), "resolve").after(5).succeeds("probe udp").after(0.5).succeeds("attempt udp")
    play.after(1).succeeds("verify udp").after(3).fails(NO_ESP, "leave udp", "probe tcp-80")
    play.after(0.5).succeeds("move tcp-80").after(0.25).succeeds("verify tcp-80").after(0.25)
    play.succeeds("stand tcp-80")
    assert [record.seconds for record in play.ladder.record.rungs.values()] == [3.0, 1.0]


@pytest.mark.parametrize("why", [NO_ESP, SILENT])
def test_a_udp_rung_that_stood_and_is_lost_took_no_time(why: Failure) -> None:
    play = up_on_udp(Play()).after(3600).tell(PathLost(why), "leave udp", "probe tcp-80").after(2)
    lost = play.ladder.record.rungs["udp"]
    assert (lost.result, lost.failure, lost.seconds) == (Result.FAILED, why, None)
    assert play.ladder.record.changes[-1].what is What.LOST
    assert report.rungs(play.ladder, report.Clock())[0].seconds is None


def test_a_connection_that_is_lost_took_no_time_and_each_repair_its_own() -> None:
    play = up_on_tcp(Play()).after(3600).tell(StreamLost("tcp-80", RESET), "repair tcp-80")
    assert play.ladder.record.rungs["tcp-80"].seconds is None
    play.after(3).fails(SILENT).after(1).tell(Tick(), "repair tcp-80")
    assert play.ladder.record.rungs["tcp-80"].seconds == 3.0
    play.after(0.5).succeeds("verify tcp-80").after(0.25).succeeds("stand tcp-80")
    assert play.ladder.record.rungs["tcp-80"].seconds == 0.75


def test_a_rung_that_takes_the_sa_back_took_what_the_way_back_took() -> None:
    play = up_on_tcp(Play()).after(30).tell(Tick(), "probe behind udp").after(1).succeeds("move udp")
    play.after(0.5).fails(NO_ESP, "leave udp", "move tcp-80").after(0.25).succeeds("verify tcp-80")
    play.after(0.25).succeeds("stand tcp-80")
    assert [record.seconds for record in play.ladder.record.rungs.values()] == [0.5, 0.5]


def test_a_move_under_a_changed_network_took_its_own_time() -> None:
    play = up_on_udp(Play()).after(3600).tell(NetworkChanged("the address changed"), "move udp")
    play.after(0.5).succeeds("verify udp").after(0.5).succeeds("stand udp")
    assert play.ladder.record.rungs["udp"].seconds == 1.0


def test_a_background_probe_that_never_ends_is_cancelled_and_comes_again() -> None:
    play = up_on_tcp(Play()).after(30).tell(Tick(), "probe behind udp").after(4).tell(Tick(), "cancel")
    play.after(60).tell(Tick(), "probe behind udp")


def test_the_sa_returns_to_udp_and_the_connection_is_closed_only_when_esp_was_seen() -> None:
    play = up_on_tcp(Play()).after(30).tell(Tick(), "probe behind udp").succeeds("move udp")
    play.succeeds("verify udp").succeeds("leave tcp-80", "stand udp")
    assert play.ladder.record.rungs["tcp-80"].result is Result.STOOD


@pytest.mark.parametrize("answers", [0, 1])
def test_the_connection_takes_the_sa_back_when_udp_does_not_carry_it(answers: int) -> None:
    play = up_on_tcp(Play()).after(30).tell(Tick(), "probe behind udp").succeeds("move udp")
    if answers:
        play.succeeds("verify udp")
    play.fails(NO_ESP, "leave udp", "move tcp-80").succeeds("verify tcp-80").succeeds("stand tcp-80")
    assert play.ladder.record.rungs["udp"].failure == NO_ESP
    assert play.ladder.deadline == play.now + 60, "and UDP is asked later than before"


def test_the_end_of_the_connection_during_the_move_to_udp_does_not_stop_the_move() -> None:
    play = up_on_tcp(Play()).after(30).tell(Tick(), "probe behind udp").succeeds("move udp")
    effort = play.effort
    play.tell(StreamLost("tcp-80", RESET)).tell(Succeeded(effort), "verify udp")


def test_an_sa_that_is_lost_is_made_again_on_the_rung_that_stood() -> None:
    play = up_on_tcp(Play()).after(60).tell(SaLost("the gateway deleted it"), "leave tcp-80", "resolve")
    play.succeeds("probe tcp-80").succeeds("attempt tcp-80")


def test_an_sa_that_is_lost_as_soon_as_it_is_made_is_no_reason_to_hurry() -> None:
    play = up_on_udp(Play()).after(1).tell(SaLost("the gateway deleted it"), "leave udp", "giveup", "wait")
    assert play.ladder.record.why == "the gateway deleted it"


def test_an_sa_that_the_gateway_has_forgotten_is_given_up_when_no_rung_carries_it() -> None:
    play = up_on_udp(Play()).after(60).tell(PathLost(NO_ESP), "leave udp", "probe tcp-80")
    play.succeeds("move tcp-80").succeeds("verify tcp-80").fails(NO_ESP, "leave tcp-80", "probe udp")
    play.succeeds("move udp").succeeds("verify udp").fails(NO_ESP, "leave udp", "abandon", "resolve")
    assert not play.ladder.sa


def test_a_new_sa_that_no_rung_carries_is_given_up_with_a_pause() -> None:
    play = Play(UDP).tell(Start(), "resolve").succeeds("probe udp").succeeds("attempt udp")
    play.succeeds("verify udp").fails(NO_ESP, "leave udp", "abandon", "giveup", "wait")


def test_a_living_sa_waits_with_the_client_while_nothing_answers() -> None:
    play = up_on_udp(Play(UDP)).after(60).tell(PathLost(NO_ESP), "leave udp", "probe udp")
    play.fails(SILENT, "giveup", "wait").after(1).tell(Tick(), "probe udp").succeeds("move udp")


def test_an_sa_that_is_lost_during_a_pause_is_made_again_afterwards() -> None:
    play = up_on_udp(Play(UDP)).after(60).tell(PathLost(NO_ESP), "leave udp", "probe udp")
    play.fails(SILENT, "giveup", "wait").tell(SaLost("no answer to DPD")).after(1).tell(Tick(), "resolve")


def test_going_down_cancels_what_is_under_way_and_clears() -> None:
    Play().tell(Start(), "resolve").succeeds("probe udp").tell(Stop(), "cancel", "clear").tell(Tick())
    play = up_on_tcp(Play()).after(30).tell(Tick(), "probe behind udp").tell(Stop(), "cancel", "clear")
    assert play.ladder.deadline is None


def test_a_rung_that_worked_here_before_is_tried_first() -> None:
    play = Play().tell(Start(first="tcp-80"), "resolve").succeeds("probe tcp-80").fails(SILENT, "probe udp")
    assert play.ladder.rung is UDP
    Play().tell(Start(first="no such rung"), "resolve").succeeds("probe udp")


def test_a_further_rung_needs_no_change_of_the_ladder() -> None:
    play = Play(UDP, TCP, LATER).tell(Start(), "resolve").succeeds("probe udp").fails(SILENT, "probe tcp-80")
    play.succeeds("attempt tcp-80").succeeds("verify tcp-80").fails(
        NO_ESP, "leave tcp-80", "probe connect-443"
    )
    play.succeeds("move connect-443").succeeds("verify connect-443").succeeds("stand connect-443")
    play.after(60).tell(StreamLost("connect-443", RESET), "repair connect-443")


@pytest.mark.parametrize(
    ("before", "event"),
    [
        ((), Stop()),
        ((), SaLost("x")),
        ((), PathLost(NO_ESP)),
        ((Start(),), Start()),
        ((Start(),), SaLost("x")),
        ((Start(), Succeeded(1)), SaLost("x")),
        ((Start(), Succeeded(1)), PathLost(NO_ESP)),
    ],
)
def test_an_event_that_cannot_happen_is_named_with_the_state_it_met(
    before: tuple[Event, ...], event: Event
) -> None:
    play = Play()
    for earlier in before:
        play.ladder.handle(earlier, play.now)
    state = play.ladder.state
    with pytest.raises(
        IllegalMove, match=rf"{type(event).__name__}.* is no event for a ladder that is {state}"
    ):
        play.ladder.handle(event, play.now)
    assert play.ladder.state is state


def test_a_ladder_needs_a_rung() -> None:
    pauses = Backoff(1.0, 60.0, never_shorter)
    with pytest.raises(ValueError, match="leads nowhere"):
        Ladder((), rounds=pauses, repairs=pauses, reprobe=None)
