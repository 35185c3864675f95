# SPDX-License-Identifier: Apache-2.0
"""The main job: IKEv2 and ESP through a firewall that lets only TCP pass, and home to UDP when it opens.

Runs on whatever ESP the machine has; TRIKESEC_ESP=kernel insists on the kernel's.
"""

from __future__ import annotations

import time

import pytest

from tests.e2e import expect
from tests.lab.call import Call
from tests.lab.gateway import esp_engine
from tests.lab.iketap import IkeTap
from tests.lab.lab import Lab
from tests.lab.topology import CORE, UE
from tests.lab.wait import PATIENCE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
LOST_IN_A_MOVE = round(10 * PATIENCE)  # 0.2 s of voice


def test_through_a_firewall_that_drops_udp_and_back_to_udp_in_the_middle_of_a_call(lab: Lab) -> None:
    lab.firewall.drop_udp()
    with IkeTap(lab.topology.gw) as tap:
        client = lab.client(**expect.QUICK)
        client.start()
        client.until_up("tcp")

        tried = [(rung.rung, rung.port, rung.result) for rung in client.rungs_tried()]
        assert tried == [("udp", None, "blocked"), ("tcp", 80, "established")]
        shown = expect.session(lab, client, expect.TPKT)
        assert (shown["client"], shown["inner"]) == (UE, [client.inner_address()])
        assert shown["ike"]["spi_i"] in client.spis()
        assert client.esp() == "kernel" or esp_engine() != "kernel"
        expect.traffic(client)
        up, down = client.esp_frames()
        assert up > 0
        assert down > 0

        before, moving = client.spis(), time.monotonic()
        with Call(client.namespace, CORE, 60, source=client.inner_address()) as call:
            call.until_up()
            lab.firewall.allow_udp()
            client.until_up("udp")
            client.until_heard(expect.SECOND_OF_VOICE)
            heard = call.hang_up()
        assert heard.lost <= LOST_IN_A_MOVE
        assert client.spis() == before
        assert tap.established(since=moving) == set()
        assert expect.session(lab, client, "udp")["client"] == UE
        expect.traffic(client)


def test_where_udp_passes_the_tunnel_stays_on_it(lab: Lab) -> None:
    client = lab.client(**expect.QUICK)
    client.start()
    client.until_up("udp")
    expect.traffic(client)
    assert client.rung() == "udp"
    shown = expect.session(lab, client, "udp")
    assert (shown["client"], shown["connection"]) == (UE, None)
