# SPDX-License-Identifier: Apache-2.0
"""Strangers in numbers: each limit holds under its name, and a good client beside them notices nothing."""

from __future__ import annotations

import contextlib
import errno
import resource
import socket
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from tests.lab.wait import PATIENCE, until
from tests.tpkt.pump.company import in_company, is_over, reachable_strangers, source
from tests.tpkt.pump.rig import Maker, Network, Rig, esp, ike
from tests.tpkt.pump.storm import Storm
from tpkt.errors import CloseReason
from tpkt.link import GatewayLink
from tpkt.pump import Banning, EventKind, Limits
from tpkt.wire import encode

pytestmark = pytest.mark.root
MANY = 2000
LONG = 30.0


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """Both ends of every connection are in this process."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


@pytest.fixture
def make(network: Network, gateway_link: GatewayLink) -> Maker:
    reachable_strangers(network)

    def made(**options: Any) -> Rig:
        return Rig(network, gateway_link.namespace, "gateway", **{"workers": 2, **options})

    return made


def closed(rig: Rig) -> dict[str, int]:
    """Ends of connections by reason, without zeros."""
    return {
        name.removeprefix("closed_"): count
        for name, count in rig.non_zero().items()
        if name.startswith("closed_")
    }


def until_counted(rig: Rig, wanted: int, *names: str) -> None:
    until(
        lambda: sum(rig.pump.counters()[name] for name in names) == wanted,
        LONG,
        f"{' + '.join(names)} come to {wanted}; counters {rig.non_zero()}",
    )


@pytest.mark.parametrize(
    ("sent", "deadline", "reason"),
    [
        (b"IKET", "first_bytes_seconds", "first_bytes_timeout"),
        (encode(esp(1400))[:700], "frame_seconds", "frame_timeout"),
        (encode(esp(30)), "ike_seconds", "ike_timeout"),
    ],
)
def test_two_thousand_that_are_slow_are_ended_each_by_its_deadline(
    make: Maker, sent: bytes, deadline: str, reason: str
) -> None:
    room = 1024
    limits = {"half_identified": room, "ike_half_open": room, deadline: 2.0}
    with make(**limits, banning=Banning(closes=0)) as rig, in_company(rig) as (_, _, good, strangers):
        for first in range(0, MANY, 500):
            sockets = strangers.knock([source(number // 40) for number in range(first, first + 500)])
            until_counted(rig, first + 501, "accepted", "closed_limit_connections")
            for sock in sockets:
                if not is_over(sock):
                    sock.send(sent)
            good.goes_on(10)
        until(lambda: all(is_over(sock) for sock in strangers.sockets), LONG, "all have been ended")
        until_counted(rig, 1, "connections_open")
        ends = closed(rig)
        assert sum(ends.values()) == MANY
        assert set(ends) <= {reason, "limit_connections", "limit_ike"}
        assert ends[reason] > 0
        assert rig.pump.counters()["connections_half_identified"] == 0
        assert rig.pump.counters()["connections_ike_half_open"] == 0
        until_counted(rig, 0, "queued_bytes")


def test_a_flood_from_one_source_is_held_to_its_rate_and_its_share(make: Maker) -> None:
    with make() as rig, in_company(rig) as (_, _, _, strangers):
        limits = Limits()
        before = rig.pump.counters()["accepted"]
        strangers.knock([source(0)] * MANY)
        until_counted(
            rig,
            MANY + before,
            "accepted",
            "closed_limit_rate",
            "closed_limit_source",
            "closed_limit_connections",
        )
        ends = closed(rig)
        assert rig.pump.counters()["accepted"] - before == limits.half_identified_per_source
        assert set(ends) == {"limit_rate", "limit_source"}
        told = Counter(event.reason for event in rig.pump.poll_events() if event.kind is EventKind.LIMIT)
        assert set(told) == {CloseReason.LIMIT_RATE, CloseReason.LIMIT_SOURCE}
        assert max(told.values()) < 20 * PATIENCE  # one a second, of two thousand


def test_a_flood_from_many_sources_is_held_to_what_may_be_half_identified(make: Maker) -> None:
    room = 300
    with make(half_identified=room) as rig, in_company(rig) as (_, _, _, strangers):
        strangers.knock([source(number) for number in range(MANY)])
        until_counted(rig, MANY + 1, "accepted", "closed_limit_connections")
        assert rig.pump.counters()["connections_half_identified"] == room
        assert closed(rig) == {"limit_connections": MANY - room}


def test_more_connections_than_there_may_be_are_refused(make: Maker) -> None:
    room = 500
    with make(connections=room, ike_half_open=0) as rig, in_company(rig) as (_, _, _, strangers):
        strangers.knock([source(number) for number in range(MANY)])
        until_counted(rig, MANY + 1, "accepted", "closed_limit_connections")
        assert rig.pump.counters()["connections_open"] == room


HOSTILE = [
    (b"SSH-2.0-OpenSSH_9\r\n", CloseReason.UNKNOWN_PROTOCOL),
    (encode(esp(20)) + b"\x02", CloseReason.BAD_VERSION),
    (bytes.fromhex("01000003"), CloseReason.BAD_LENGTH),
    (encode(ike(100)[:-1]) * 17, CloseReason.BAD_IKE),
    (b"", CloseReason.FIRST_BYTES_TIMEOUT),
    (encode(esp(20)), CloseReason.IKE_TIMEOUT),
]


@pytest.mark.parametrize(("sent", "reason"), HOSTILE)
def test_a_source_that_goes_on_being_hostile_is_banned_and_comes_back_in_time(
    make: Maker, sent: bytes, reason: CloseReason
) -> None:
    banning = Banning(closes=5, ban_seconds=2.0)
    limits = {"first_bytes_seconds": 0.3, "ike_seconds": 0.3}
    with make(**limits, banning=banning) as rig, in_company(rig) as (_, _, _, strangers):
        for _ in range(5):
            peer = strangers.connect(source(1))
            peer.send_bytes(sent)
            assert rig.closed(peer) is reason
        event = rig.event(EventKind.BAN)
        assert (event.reason, event.remote[0]) == (reason, source(1))
        (ban,) = rig.pump.door.bans()
        assert (str(ban.prefix), ban.reason, ban.by_hand) == (f"{source(1)}/32", reason, False)
        assert rig.pump.counters()["bans"] == rig.pump.counters()["bans_active"] == 1
        refused = strangers.connect(source(1))
        until(lambda: is_over(refused.socket), LONG, "it is refused")
        assert rig.count("closed_banned") == 1
        assert rig.pump.door.bans()[0].refused == 1
        beside = strangers.connect(source(2))
        assert rig.event(EventKind.ACCEPTED, of=beside)
        until_counted(rig, 0, "bans_active")
        again = strangers.connect(source(1))
        assert rig.event(EventKind.ACCEPTED, of=again)


def test_a_client_that_charon_does_not_answer_is_not_hostile(make: Maker) -> None:
    with (
        make(ike_seconds=0.2, banning=Banning(closes=2)) as rig,
        in_company(rig) as (_, charon, _, strangers),
    ):
        charon.answering = False
        for _ in range(4):
            peer = strangers.connect(source(1))
            peer.send(ike(100))
            assert rig.closed(peer) is CloseReason.IKE_TIMEOUT
        assert rig.pump.door.bans() == []


def test_limits_ban_where_that_is_asked_for_and_never_who_is_allowed(make: Maker) -> None:
    options = {"accepts_per_second_per_source": 5, "banning": Banning(closes=10, limits=True)}
    with make(**options) as rig, in_company(rig) as (_, _, _, strangers):
        rig.pump.door.set_access(allow=[ip_network("10.77.1.0/24")])
        friend = "10.77.1.7"
        strangers.knock([friend] * 100 + [source(1)] * 100)
        until_counted(rig, 201, "accepted", "closed_limit_rate", "closed_banned")
        assert [str(ban.prefix) for ban in rig.pump.door.bans()] == [f"{source(1)}/32"]
        assert rig.pump.counters()["closed_banned"] == rig.pump.door.bans()[0].refused


def test_who_is_refused_is_reset_and_who_was_let_in_is_ended_in_order(make: Maker) -> None:
    with make() as rig, in_company(rig) as (_, _, _, strangers):
        inside = strangers.connect(source(1))
        number = rig.event(EventKind.ACCEPTED, of=inside).connection
        rig.pump.door.ban(ip_network(f"{source(1)}/32"), 60)
        (outside,) = strangers.knock([source(1)])
        rig.count("closed_banned")
        error = until(lambda: outside.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), LONG, "it has heard")
        assert error == errno.ECONNRESET
        assert rig.pump.close_connection(number)
        assert inside.socket.recv(1) == b""


def test_bans_by_hand_hold_for_a_prefix_until_they_are_lifted(make: Maker) -> None:
    with make() as rig, in_company(rig) as (_, _, _, strangers):
        before = strangers.connect("10.77.5.1")
        assert rig.event(EventKind.ACCEPTED, of=before)
        prefix = ip_network("10.77.5.0/24")
        rig.pump.door.ban(prefix, 3600)
        peer = strangers.connect("10.77.5.9")
        until(lambda: is_over(peer.socket), LONG, "it is refused")
        assert rig.pump.counters()["connections_open"] == 2  # open ones stay
        (ban,) = rig.pump.door.bans()
        assert (ban.prefix, ban.by_hand, ban.reason) == (prefix, True, CloseReason.CONTROL)
        assert not rig.pump.door.unban(ip_network("10.77.5.9/32"))
        assert rig.pump.door.unban(prefix)
        assert rig.event(EventKind.ACCEPTED, of=strangers.connect("10.77.5.9"))


def test_rules_change_while_peers_arrive_and_each_is_judged_by_one_of_them(make: Maker) -> None:
    with make() as rig, in_company(rig) as (_, _, _, strangers):
        door = rig.pump.door
        thousands = [ip_network((0x64000000 + (number << 8), 24)) for number in range(100_000)]
        closing, opening = [ip_network("10.77.0.0/16")], [ip_network("10.77.0.0/24")]
        for number in range(40):
            # The same is asked for in both turns: 10.77.0.x may come in, 10.77.1.x may not.
            if number % 2:
                door.set_access(deny=[*closing, *thousands[: 2000 * (number % 3)]], allow=opening)
            else:
                door.set_access(deny=[ip_network("10.77.1.0/24")])
            strangers.knock([source(number), "10.77.1.1"])
        until_counted(rig, 81, "accepted", "closed_denied")
        assert closed(rig) == {"denied": 40}
        door.set_access(deny=thousands)
        assert rig.event(EventKind.ACCEPTED, of=strangers.connect("10.77.1.1"))
        door.set_access(deny=[ip_network("::/0"), ip_network("10.77.1.1/32")])
        refused = strangers.connect("10.77.1.1")
        until(lambda: is_over(refused.socket), LONG, "it is refused")


def test_limits_per_source_change_while_it_runs(make: Maker) -> None:
    with make() as rig, in_company(rig) as (_, _, _, strangers):
        rig.pump.door.tune(Limits(half_identified_per_source=2), Banning(closes=1))
        strangers.knock([source(1)] * 4)
        until_counted(rig, 2, "closed_limit_source")
        strangers.connect(source(2)).send_bytes(b"nonsense")
        until_counted(rig, 1, "bans_active")


def test_only_so_many_may_wait_for_charons_first_answer(make: Maker) -> None:
    limits = {"ike_half_open": 20, "ike_half_open_per_source": 8, "workers": 1}
    with make(**limits) as rig, in_company(rig) as (_, charon, good, strangers):
        charon.answering = False
        greedy = [strangers.connect(source(0)) for _ in range(9)]
        for peer in greedy:
            peer.send(ike(100))
        assert rig.closed(greedy[-1]) is CloseReason.LIMIT_SOURCE
        others = [strangers.connect(source(number)) for number in range(1, 13)]
        for peer in others:
            peer.send(ike(100))
        until_counted(rig, 20, "connections_ike_half_open")
        good.goes_on(400)  # well over a second
        late = strangers.connect(source(50))
        late.send(ike(100))
        assert rig.closed(greedy[0]) is CloseReason.LIMIT_IKE  # it waited the longest, and gave way
        rig.event(EventKind.FIRST_IKE, of=late)
        assert rig.pump.counters()["connections_ike_half_open"] == 20
        charon.answering = True
        for where in charon.asked:
            charon.answer(where)
        until_counted(rig, 0, "connections_ike_half_open")
        welcome = strangers.connect(source(51))
        welcome.send(ike(100))
        assert welcome.receive() == ike(100, spi_r=9)
        assert rig.pump.door.bans() == []


def test_a_storm_of_reconnects_is_absorbed_and_charon_gets_no_more_than_it_may(make: Maker) -> None:
    room, seen = 100, [0]
    sources = [source(number) for number in range(MANY)]
    with make(ike_half_open=room) as rig, in_company(rig) as (port, charon, good, _):
        charon.seconds_an_answer = 0.0002  # so that they are more than it can do at once
        with contextlib.closing(Storm(rig.network.ue, port, sources)) as storm:

            def watch() -> None:
                seen[0] = max(seen[0], rig.pump.counters()["connections_ike_half_open"])
                rig.pump.poll_events()

            storm.run(LONG, watch)
            until_counted(rig, MANY + 1, "connections_open")
            good.goes_on()
            storm.scatter()
            storm.run(LONG, watch)
            until_counted(rig, 0, "connections_ike_half_open")
            until_counted(rig, MANY + 1, "connections_open")
        ends = closed(rig)
        assert seen[0] <= room
        assert storm.turned_away == ends["limit_ike"] + ends.get("limit_connections", 0)
        assert ends["limit_ike"] > 0
        assert set(ends) <= {"limit_ike", "limit_connections", "fin", "reset"}
        assert rig.pump.door.bans() == []
