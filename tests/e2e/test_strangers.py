# SPDX-License-Identifier: Apache-2.0
"""Whoever misbehaves on port 80 is closed for a counted reason, and a call beside it notices nothing."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.e2e import expect
from tests.lab.call import Call
from tests.lab.client import Client
from tests.lab.lab import Lab
from tests.lab.strangers import ROWS, Row, Stranger
from tests.lab.topology import CORE, GW, GW_V6
from tests.lab.wait import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
LIMITS = {
    "first_bytes_seconds": 1.0,
    "frame_seconds": 1.0,
    "ike_seconds": 1.5,
    "half_identified_per_source": 32,
}
CLOSED_SECONDS = 6.0
CROWD = 200


@pytest.fixture(scope="module")
def strict_lab() -> Iterator[Lab]:
    with Lab(limits=LIMITS) as lab:
        yield lab


@pytest.fixture(scope="module")
def citizen(strict_lab: Lab) -> Client:
    """A good client on TCP, whose traffic all of them must leave alone."""
    strict_lab.firewall.drop_udp()
    client = strict_lab.client(**expect.QUICK)
    client.start()
    client.until_up("tcp")
    return client


@pytest.mark.parametrize("address", [GW, GW_V6])
def test_every_way_to_misbehave_is_closed_for_its_own_counted_reason_beside_a_call(
    strict_lab: Lab, citizen: Client, address: str
) -> None:
    lab, flow = strict_lab, expect.session(strict_lab, citizen, expect.TPKT)["flow"]
    before = lab.gateway.closed()
    with (
        Call(citizen.namespace, CORE, 60, source=citizen.inner_address()) as call,
        contextlib.ExitStack() as stack,
    ):
        call.until_up()
        visitors = [(row, stack.enter_context(Stranger(lab.topology.internet, address))) for row in ROWS]
        for row, stranger in visitors:
            stranger.say(row.first)
            stranger.say(row.then)
        still_open = [
            row.sentence for row, stranger in visitors if not stranger.closed_within(CLOSED_SECONDS)
        ]
        heard = call.hang_up()
    assert still_open == []
    assert heard.lost <= heard.sent // 100
    wanted = Counter(row.reason for row in ROWS)
    assert_counted(lab, before, wanted)
    assert expect.session(lab, citizen, expect.TPKT)["flow"] == flow


def assert_counted(lab: Lab, before: Counter[str], wanted: Counter[str]) -> None:
    def counted() -> bool:
        return lab.gateway.closed() - before >= wanted

    try:
        until(counted, 5, "all are counted")
    except TimeoutError:
        assert lab.gateway.closed() - before == wanted  # shows both


def test_a_frame_that_trickles_in_byte_by_byte_is_given_its_time_and_no_more(
    strict_lab: Lab, citizen: Client
) -> None:
    before = strict_lab.gateway.closed()
    huge = Row("slow", b"", b"", "frame_timeout")
    with Stranger(strict_lab.topology.internet, GW) as stranger:
        stranger.say(b"\x01\x00\xff\xff")
        while not stranger.closed_within(0.1):
            stranger.say(b"z")
    assert_counted(strict_lab, before, Counter([huge.reason]))
    expect.traffic(citizen, size=100_000)


def test_a_crowd_from_one_source_is_held_to_its_share(strict_lab: Lab, citizen: Client) -> None:
    before = strict_lab.gateway.closed()
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(Stranger(strict_lab.topology.internet, GW)) for _ in range(CROWD)]
        expect.traffic(citizen)
        assert all(stranger.closed_within(CLOSED_SECONDS) for stranger in crowd)
    counted = strict_lab.gateway.closed() - before
    assert counted["limit_source"] + counted["limit_rate"] >= CROWD - 64
    assert counted["first_bytes_timeout"] >= 1
