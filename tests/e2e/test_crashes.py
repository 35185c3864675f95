# SPDX-License-Identifier: Apache-2.0
"""kill -9 of everything that can be killed: the next start finds a way, and nothing is left lying about."""

from __future__ import annotations

import os
import signal

import pytest

from tests.e2e import expect
from tests.lab import netns
from tests.lab.client import Client
from tests.lab.lab import Lab
from tests.lab.wait import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@pytest.fixture
def client(own_lab: Lab) -> Client:
    own_lab.firewall.drop_udp()
    client = own_lab.client(**expect.QUICK)
    client.start()
    client.until_up("tcp")
    return client


def test_a_gateway_that_crashed_finds_its_charon_and_the_sas_live_on(own_lab: Lab, client: Client) -> None:
    before = client.spis()
    charon = own_lab.gateway.charon_pid()
    own_lab.gateway.kill()
    own_lab.gateway.start()
    assert own_lab.gateway.charon_pid() == charon
    until(lambda: carries(client), 30, "traffic passes again")
    assert client.spis() == before


def test_a_client_that_crashed_begins_anew_where_its_predecessor_left_everything(
    own_lab: Lab, client: Client
) -> None:
    client.kill()
    client.start()
    client.until_up("tcp")
    expect.traffic(client)
    # The SA that the crash left at the gateway gave way to the new one.
    assert [s["ike"]["spi_i"] for s in own_lab.gateway.sessions() if s["ike"]] == [client.ike()["spi_i"]]


@pytest.mark.parametrize("side", ["gateway", "client"])
def test_a_charon_that_crashed_is_started_again_and_clients_come_back(
    own_lab: Lab, client: Client, side: str
) -> None:
    daemon = own_lab.gateway if side == "gateway" else client
    before = daemon.charon_pid()
    os.kill(before, signal.SIGKILL)
    until(lambda: daemon.charon_pid() not in (0, before), 20, "another charon runs")
    until(lambda: carries(client), 60, "traffic passes again")


def test_daemons_that_are_stopped_leave_nothing_behind(own_lab: Lab, client: Client) -> None:
    prefix = own_lab.topology.prefix
    assert client.stop() == 0
    assert own_lab.gateway.stop() == 0
    for namespace in (own_lab.topology.ue, own_lab.topology.gw):
        assert namespace.pids() == []
        shown = namespace.run(["ip", "rule"]).stdout + namespace.run(["ip", "-br", "link"]).stdout
        assert not [word for word in ("4500", "eseg0", "tric0", "ipsec0") if word in shown], shown
    assert not [name for name in netns.names() if prefix in name and name.startswith(("eseg", "tric"))]
    assert list(own_lab.gateway.runtime.glob("*.sock")) == list(client.runtime.glob("*.sock")) == []


def carries(client: Client) -> bool:
    """Tell whether the tunnel answers; the client may be in the middle of getting it back."""
    return client.rung() is not None and expect.answers(client)
