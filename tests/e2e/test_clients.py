# SPDX-License-Identifier: Apache-2.0
"""Every kind of client, one beside the other, over both address families; and those who must not get in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import expect
from tests.lab.client import Auth
from tests.lab.gateway import EAP_USER, PSK_ID
from tests.lab.lab import Lab
from tests.lab.pki import Authority
from tests.lab.topology import FW_WAN, GW_V6, UE_V6
from tests.lab.wait import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.mark.parametrize(
    ("auth", "connection", "name"), [("psk", "shared", PSK_ID), ("eap", "users", EAP_USER)]
)
def test_shared_secrets_and_users_come_through_as_certificates_do(
    lab: Lab, auth: Auth, connection: str, name: str
) -> None:
    lab.firewall.drop_udp()
    client = lab.client(auth=auth, **expect.QUICK)
    client.start()
    client.until_up("tcp")
    ike = expect.session(lab, client, expect.TPKT)["ike"]
    assert ike["connection"] == connection
    assert name in (ike["remote_id"], ike["eap_id"])
    expect.traffic(client)


def test_a_gateway_on_ipv6_is_reached_by_both_rungs(lab: Lab) -> None:
    lab.firewall.drop_udp()
    client = lab.client(gateway=GW_V6, **expect.QUICK)
    client.start()
    client.until_up("tcp")
    shown = expect.session(lab, client, expect.TPKT)
    assert (shown["client"], ":" in shown["flow"]) == (UE_V6, True)
    expect.traffic(client)
    before = client.spis()
    lab.firewall.allow_udp()
    client.until_up("udp")
    expect.traffic(client)
    assert client.spis() == before


def test_two_clients_behind_one_nat_have_flow_and_inner_addresses_of_their_own(lab: Lab) -> None:
    lab.firewall.masquerade()
    lab.firewall.drop_udp()
    clients = [
        lab.client(**expect.QUICK),
        lab.client(namespace=lab.neighbour(), auth="psk", **expect.QUICK),
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.until_up("tcp")
        expect.traffic(client)
    shown = [expect.session(lab, client, expect.TPKT) for client in clients]
    assert {session["client"] for session in shown} == {FW_WAN}
    assert len({session["client_port"] for session in shown}) == 2
    assert len({session["flow"] for session in shown}) == 2
    before = [client.spis() for client in clients]
    lab.firewall.allow_udp()
    for client in clients:
        client.until_up("udp")
        expect.traffic(client)
    assert [client.spis() for client in clients] == before
    clients[0].stop()
    expect.traffic(clients[1])


@pytest.mark.parametrize("flaw", ["expired", "of another authority"])
def test_a_certificate_that_is_not_good_does_not_get_in_and_the_client_says_why(
    lab: Lab, flaw: str, tmp_path: Path
) -> None:
    if flaw == "expired":
        identity = lab.authority.client("old@example", expired=True)
    else:
        identity = Authority(tmp_path, "Somebody else").client("stranger@example")
    client = lab.client(identity=identity, **expect.QUICK)
    client.start()
    problem = until(client.problem, 30, "the client names the problem")
    assert "AUTHENTICATION_FAILED" in problem or "authenticat" in problem.lower()
    assert client.rung() is None
    assert all(session["ike"] is None for session in lab.gateway.sessions())
