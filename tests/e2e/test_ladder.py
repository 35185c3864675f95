# SPDX-License-Identifier: Apache-2.0
"""What firewalls do to UDP and TCP, at the start and in the middle, and where the tunnel stands then."""

from __future__ import annotations

import time

import pytest

from tests.e2e import expect
from tests.lab.call import Call
from tests.lab.iketap import IkeTap
from tests.lab.lab import Lab
from tests.lab.topology import CORE
from tests.lab.wait import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
LOST_IN_A_REPAIR = 100  # packets: two seconds, for a machine that is busy; the repair takes a tenth
SILENCE_SECONDS = 12.0  # in which silence would be believed: what comes sooner was not silence


def test_udp_that_is_refused_with_icmp_is_given_up_without_waiting(lab: Lab) -> None:
    lab.firewall.reject_udp()
    client = lab.client(udp_probe_seconds=SILENCE_SECONDS, **expect.QUICK)
    client.start()
    client.until_up("tcp")
    udp = client.tried("udp")
    assert udp is not None
    assert udp.result == "blocked"
    assert udp.seconds is not None
    assert udp.seconds < SILENCE_SECONDS / 2
    expect.traffic(client)


def test_udp_that_passes_ike_and_swallows_esp_is_no_rung_to_stand_on(lab: Lab) -> None:
    lab.firewall.drop_esp_in_udp()
    with IkeTap(lab.topology.gw) as tap:
        client = lab.client(**expect.QUICK)
        client.start()
        client.until_up("tcp")
        expect.traffic(client)
        # The IKE_SA that came up over UDP is the one that now runs over TCP.
        assert len(tap.established()) == 1


def test_udp_that_stops_in_mid_call_moves_the_sa_to_tcp(lab: Lab) -> None:
    client = lab.client(**expect.QUICK)
    client.start()
    client.until_up("udp")
    before = client.spis()
    with Call(client.namespace, CORE, 60, source=client.inner_address()) as call:
        call.until_up()
        lab.firewall.drop_udp()
        client.until_up("tcp")
        client.until_heard(expect.SECOND_OF_VOICE)
    assert client.spis() == before
    expect.traffic(client)


def test_a_tcp_connection_that_is_cut_is_repaired_and_the_sa_lives_on(lab: Lab) -> None:
    lab.firewall.drop_udp()
    with IkeTap(lab.topology.gw) as tap:
        client = lab.client(**expect.QUICK)
        client.start()
        client.until_up("tcp")
        before, flow = client.spis(), expect.session(lab, client, expect.TPKT)["flow"]
        cut = time.monotonic()
        with Call(client.namespace, CORE, 60, source=client.inner_address()) as call:
            call.until_up()
            lab.firewall.cut_tcp()
            until(
                lambda: expect.session(lab, client, expect.TPKT)["flow"] != flow,
                20,
                "the SA is on another connection",
            )
            client.until_heard(expect.SECOND_OF_VOICE)
            heard = call.hang_up()
        assert heard.lost <= LOST_IN_A_REPAIR
        assert client.spis() == before
        assert tap.established(since=cut) == set()
    expect.traffic(client)


def test_when_nothing_passes_the_client_says_so_and_goes_on_when_something_does(lab: Lab) -> None:
    lab.firewall.drop_udp()
    lab.firewall.swallow_tcp(80)
    client = lab.client(attempt_seconds=2.0, tcp_probe_seconds=1.0, **expect.QUICK)
    client.start()
    until(lambda: client.tried("tcp"), 20, "TCP is tried and given up")
    assert client.rung() is None
    lab.firewall.allow_tcp()
    client.until_up("tcp")
    expect.traffic(client)
