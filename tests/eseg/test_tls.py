# SPDX-License-Identifier: Apache-2.0
"""A gateway that serves TLS: what it shows, and certificates that are renewed under living connections."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator

import pytest

from tests.eseg.ground import Ground
from tests.lab.strangers import GOOD
from tests.lab.topology import GW
from tests.lab.wait import until

pytestmark = [pytest.mark.root, pytest.mark.charon]
FIRST, OTHER = "web.example.org", "tls.example.org"


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A gateway with TLS, and deadlines that leave strangers alone."""
    limits = {"sa_seconds": 0.0, "ike_seconds": 0.0}
    with Ground(tmp_path_factory.mktemp("tls"), limits) as ground:
        own = ground.authority.gateway(FIRST, [GW])
        table = f'[tls]\ncertificate = [{{ cert = "{own.cert}", key = "{own.key}" }}]\n'
        ground.configure(("[gateway]", f'{table}\n[gateway]\nmetrics = "127.0.0.1:9464"'))
        ground.gateway.start()
        yield ground


def client(ground: Ground, name: str) -> ssl.SSLSocket:
    """A TLS connection to the gateway that believes it to be `name`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ground.authority.cert)
    context.set_alpn_protocols(["trikesec/1"])
    sock = ground.host.socket()
    sock.settimeout(10)
    sock.connect((GW, 80))
    return context.wrap_socket(sock, server_hostname=name)


def sessions(ground: Ground) -> list[dict[str, object]]:
    return [session["connection"] for session in ground.gateway.sessions() if session["connection"]]


def test_status_doctor_sessions_and_metrics_show_it(ground: Ground) -> None:
    with client(ground, FIRST) as peer:
        peer.sendall(GOOD)
        shown = until(lambda: sessions(ground), 5, "it is a session")
        assert (shown[0]["tls"], shown[0]["cipher"]) == ("TLSv1.3", "TLS_AES_128_GCM_SHA256")
        assert "in TLS" in ground.gateway.command("sessions").stdout
        status = ground.json("status")
        assert [listener["tls"] for listener in status["listeners"]] == [True, True]
        assert (status["tls"]["open"], status["tls"]["established"]) == (1, 1)
        assert [one["names"] for one in status["tls"]["certificates"]] == [[FIRST, GW]]
        assert status["tls"]["kernel_reason"]
        assert f"{FIRST}, {GW} until " in ground.gateway.command("status").stdout
        metrics = ground.gw.run(["curl", "-sf", "http://127.0.0.1:9464/metrics"]).stdout
        assert "eseg_connections_tls 1.0" in metrics
        assert "eseg_tls_established_total 1.0" in metrics
    until(lambda: not sessions(ground), 5, "it is gone")
    checks = {check["name"]: check for check in ground.json("doctor")["checks"]}
    assert checks["kernel TLS"]["found"]
    assert "PRIVATE" not in ground.gateway.log.read_text()


def test_a_renewed_certificate_is_served_after_a_reload_and_nobody_is_cut_off(ground: Ground) -> None:
    renewed = ground.authority.gateway(OTHER)
    text = ground.gateway.config.read_text()
    own = json.loads(text.partition("certificate = [{ cert = ")[2].partition(", key")[0])
    with client(ground, FIRST) as old:
        old.sendall(GOOD)
        until(lambda: sessions(ground), 5, "it is a session")
        before = sessions(ground)
        # A key that does not belong to it: refused, and everything stays.
        ground.configure((own, str(renewed.cert)))
        assert "does not belong to" in ground.refused("reload")
        client(ground, FIRST).close()
        # As a tool renews it: other files under the same names, and the configuration as it was.
        ground.gateway.config.write_text(text)
        key = own.removesuffix("pem") + "key"
        for new, name in ((renewed.cert, own), (renewed.key, key)):
            new.rename(name)
        assert ground.gateway.command("reload").returncode == 0
        assert ground.json("status")["tls"]["certificates"][0]["names"] == [OTHER]
        with client(ground, OTHER) as new_one:
            new_one.sendall(GOOD)
            until(lambda: len(sessions(ground)) == 2, 5, "both are sessions")
            with pytest.raises(ssl.SSLCertVerificationError):
                client(ground, FIRST)
            old.sendall(GOOD)
            until(
                lambda: sum(int(str(one["stream_to_link_frames"])) for one in sessions(ground)) == 3,
                5,
                "all pass",
            )
        assert before[0]["id"] in [one["id"] for one in sessions(ground)]


def test_tls_can_be_taken_away_and_a_plain_client_never_notices(ground: Ground) -> None:
    text = ground.gateway.config.read_text()
    section, _, rest = text.partition("[gateway]")
    without = section.partition("[tls]")[0] + "[gateway]" + rest
    plain = ground.host.socket()
    with plain:
        plain.settimeout(10)
        plain.connect((GW, 80))
        plain.sendall(GOOD)
        shown = until(lambda: [one for one in sessions(ground) if not one["tls"]], 5, "it is a session")
        try:
            ground.gateway.config.write_text(without)
            assert ground.gateway.command("reload").returncode == 0
            assert ground.json("status")["tls"] is None
            before = ground.gateway.closed()["tls_not_configured"]
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                client(ground, OTHER)
            assert ground.gateway.closed()["tls_not_configured"] == before + 1
        finally:
            ground.gateway.config.write_text(text)
            assert ground.gateway.command("reload").returncode == 0
        client(ground, OTHER).close()
        assert shown[0]["id"] in [one["id"] for one in sessions(ground)]
