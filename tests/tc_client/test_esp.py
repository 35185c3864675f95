# SPDX-License-Identifier: Apache-2.0
"""When ESP counts as seen, and when a path that stands counts as dead, with an SA that a test holds.

Loopback is the network behind the gateway: 127.0.0.0/8 answers pings, 192.0.2.0/24 does not.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

import pytest

from charon import ChildSa, IkeSa, Method
from charon.attributes import Attributes
from charon.nudge import Nudge
from tc_client import esp as esp_module
from tc_client.esp import UNKNOWN, Esp
from tc_client.rungs import Failure, Rung, RungError, Why
from tests.charon import samples
from tests.tc_client.play import TCP, UDP

pytestmark = pytest.mark.root
ANSWERS, SILENT = "127.0.0.53", "192.0.2.53"
CHILD = samples.child(local_ts=("127.0.0.1/32",), remote_ts=("127.0.0.0/8", "192.0.2.0/24"))
IKE = samples.ike(initiator=True, local_vips=("127.0.0.1",), remote_vips=())


class Held:
    """An SA whose counters move each time they are read."""

    def __init__(
        self,
        *,
        each_in: int = 0,
        each_out: int = 0,
        answers_ike: bool = True,
        dns: tuple[str, ...] = (),
        p_cscf: tuple[str, ...] = (),
    ) -> None:
        self.attributes = Attributes(dns=dns, p_cscf=p_cscf)
        self.each_in, self.each_out, self.answers_ike = each_in, each_out, answers_ike
        self.ike, self.child = IKE, CHILD
        self.nudges = 0

    async def sa(self) -> tuple[IkeSa, ChildSa] | None:
        found = self.ike, self.child
        self.child = dataclasses.replace(
            self.child,
            packets_in=self.child.packets_in + self.each_in,
            packets_out=self.child.packets_out + self.each_out,
        )
        return found

    async def nudge(self, _: float) -> Nudge:
        self.nudges += 1
        return Nudge(Method.CHECK, answered=self.answers_ike)


def esp(held: Held, probe: str | None = None, *, rungs: tuple[Rung, ...] = (UDP, TCP)) -> Esp:
    return Esp(held, rungs, probe, silence_seconds=0.1)


async def test_an_answer_from_the_probe_address_is_the_proof() -> None:
    note = await esp(Held(), ANSWERS).verify(UDP, 2)
    assert note.startswith("ESP seen both ways: the probe address 127.0.0.53 answered in")


async def test_a_probe_address_that_is_silent_fails_its_rung_on_streams_as_well() -> None:
    for rung in (UDP, TCP):
        with pytest.raises(RungError, match="IKE works and ESP does not") as caught:
            await esp(Held(), SILENT).verify(rung, 0.2)
        assert caught.value.failure.why is Why.ESP_SILENT
        assert ("does the gateway forward" in str(caught.value)) is rung.stream


async def test_packets_that_came_in_meanwhile_are_as_good() -> None:
    assert await esp(Held(each_in=1), SILENT).verify(UDP, 0.2) == "ESP seen both ways: packets came in"


@pytest.mark.parametrize(
    ("held", "name"),
    [
        (Held(p_cscf=(ANSWERS,)), "the P-CSCF"),
        (Held(dns=(ANSWERS,)), "the DNS server"),
        (Held(dns=(SILENT,), p_cscf=(ANSWERS,)), "the P-CSCF"),
    ],
    ids=["P-CSCF", "DNS", "both"],
)
async def test_what_the_gateway_assigned_is_asked_where_nothing_is_configured(held: Held, name: str) -> None:
    assert f"{name} 127.0.0.53 answered" in await esp(held).verify(UDP, 2)


async def test_a_learned_address_that_is_silent_fails_udp_and_is_forgotten_once_tcp_has_it_too() -> None:
    asked = esp(Held(dns=(SILENT,)))
    with pytest.raises(RungError, match="IKE works and ESP does not"):
        await asked.verify(UDP, 0.2)
    assert "the DNS server 192.0.2.53 answers no ping" in await asked.verify(TCP, 0.2)
    assert await asked.verify(UDP, 0.2) == UNKNOWN


async def test_where_udp_is_the_only_rung_a_silent_learned_address_does_not_close_it() -> None:
    assert "answers no ping" in await esp(Held(dns=(SILENT,)), rungs=(UDP,)).verify(UDP, 0.2)


@pytest.mark.parametrize("dns", [(), ("203.0.113.9",), ("2001:db8::1",)], ids=["nothing", "outside", "other"])
async def test_nothing_known_inside_the_tunnel_is_said(dns: tuple[str, ...]) -> None:
    assert await esp(Held(dns=dns)).verify(UDP, 0.2) == UNKNOWN


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(esp_module, "MONITOR_SECONDS", 0.05)
    monkeypatch.setattr(esp_module, "DOUBT_SECONDS", 0.3)


async def watched(held: Held, rung: Rung, probe: str | None = None) -> Failure | None:
    """What the watch reports within a few of its rounds."""
    try:
        async with asyncio.timeout(0.8):
            return await esp(held, probe).watch(rung)
    except TimeoutError:
        return None


Story = tuple[str, Callable[[], Held], Rung, Why | None]
STORIES: list[Story] = [
    ("nothing is sent", Held, UDP, None),
    ("packets go both ways", lambda: Held(each_in=1, each_out=1), UDP, None),
    ("the gateway is gone", lambda: Held(each_out=1, answers_ike=False), UDP, Why.SILENT),
    ("the gateway is gone behind TCP", lambda: Held(each_out=1, answers_ike=False), TCP, Why.SILENT),
    ("IKE works and ESP never came", lambda: Held(each_out=1), UDP, Why.ESP_SILENT),
    ("one-sided traffic over TCP", lambda: Held(each_out=1), TCP, None),
]


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize(("sentence", "held", "rung", "why"), STORIES, ids=[story[0] for story in STORIES])
async def test_a_path_is_given_up_only_when_it_was_asked_and_did_not_answer(
    sentence: str, held: Callable[[], Held], rung: Rung, why: Why | None
) -> None:
    failure = await watched(held(), rung)
    assert (failure.why if failure else None) is why, sentence


@pytest.mark.usefixtures("_hasty")
async def test_one_sided_traffic_on_a_path_where_esp_was_seen_is_no_crime() -> None:
    held = Held(each_out=1, each_in=1, dns=(SILENT,))
    watcher = esp(held)
    await watcher.verify(UDP, 0.2)  # packets came in
    held.each_in, held.attributes = 0, Attributes()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.8):
            await watcher.watch(UDP)
    assert held.nudges


@pytest.mark.usefixtures("_hasty")
async def test_an_unanswered_ike_request_is_a_reason_to_ask() -> None:
    held = Held(answers_ike=False)
    held.ike = dataclasses.replace(IKE, tasks_active=("IKE_DPD",))
    failure = await watched(held, UDP)
    assert failure is not None
    assert failure.why is Why.SILENT


@pytest.mark.usefixtures("_hasty")
async def test_a_ping_that_is_answered_keeps_the_path() -> None:
    held = Held(each_out=1)
    assert await watched(held, UDP, ANSWERS) is None
    assert held.nudges == 0
