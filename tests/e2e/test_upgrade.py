# SPDX-License-Identifier: Apache-2.0
"""A gateway that is replaced under a call over TCP: nobody on the call notices."""

from __future__ import annotations

import json

import pytest

from tests.e2e import expect
from tests.lab.call import Call
from tests.lab.lab import Lab
from tests.lab.topology import CORE
from tests.lab.wait import PATIENCE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
LOST_AT_MOST = round(10 * PATIENCE)  # 0.2 s of voice, over two hand-overs; TCP itself loses none


def test_a_call_over_tcp_outlives_its_gateway_twice(own_lab: Lab) -> None:
    own_lab.firewall.drop_udp()
    client = own_lab.client(**expect.QUICK)
    client.start()
    client.until_up("tcp")
    spis, charon = client.spis(), own_lab.gateway.charon_pid()
    (before,) = own_lab.gateway.sessions()
    with Call(client.namespace, CORE, 90, source=client.inner_address()) as call:
        call.until_up()
        for _ in range(2):
            done = own_lab.gateway.command("upgrade", "--json", seconds=90)
            assert done.returncode == 0, done
            own_lab.gateway.follow(json.loads(done.stdout)["pid"])
        report = call.hang_up()
    assert report.lost <= LOST_AT_MOST, report
    assert client.spis() == spis
    assert own_lab.gateway.charon_pid() == charon
    (after,) = own_lab.gateway.sessions()
    assert after["connection"]["id"] == before["connection"]["id"], "it is still the same TCP connection"
    expect.traffic(client)
