# SPDX-License-Identifier: Apache-2.0
"""The main job inside TLS: a real client's IKE and ESP on the gateway's port 443, beside plain TCP on 80."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e import expect
from tests.lab.call import Call
from tests.lab.lab import Lab
from tests.lab.tlsrelay import TlsRelay
from tests.lab.topology import CORE, GW, INTERNET_FW
from tests.lab.wait import PATIENCE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
NAME = "tls.example.org"
LOST_OVER_A_RELOAD = round(5 * PATIENCE)


@pytest.fixture(scope="module")
def tls_lab() -> Iterator[Lab]:
    with Lab(tls=NAME) as lab:
        yield lab


def test_a_tunnel_inside_tls_carries_traffic_and_a_reload_of_certificates_is_not_heard(tls_lab: Lab) -> None:
    lab = tls_lab
    lab.firewall.drop_udp()
    relay = TlsRelay(lab.topology.internet, (INTERNET_FW, 80), (GW, 443), NAME, lab.authority.cert)
    with relay:
        client = lab.client(gateway=INTERNET_FW, **expect.QUICK)
        client.start()
        client.until_up("tcp")
        shown = expect.session(lab, client, expect.TPKT)
        assert (shown["connection"]["tls"], shown["connection"]["listener_port"]) == ("TLSv1.3", 443)
        expect.traffic(client)
        with Call(client.namespace, CORE, 60, source=client.inner_address()) as call:
            call.until_up()
            client.until_heard(expect.SECOND_OF_VOICE)
            lab.authority.gateway(NAME)  # renewed: other files under the same names
            assert lab.gateway.command("reload").returncode == 0
            client.until_heard(expect.SECOND_OF_VOICE)
            heard = call.hang_up()
        assert heard.lost <= LOST_OVER_A_RELOAD
        assert expect.session(lab, client, expect.TPKT)["connection"]["id"] == shown["connection"]["id"]
        status = lab.gateway.status()
        assert status["tls"]["open"] == 1
        assert status["healthy"]
        client.stop()
