# SPDX-License-Identifier: Apache-2.0
"""A gateway that runs: what it shows, what it closes, what a reload changes, how it ends."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.eseg.ground import HOST, Ground, until_status
from tests.lab.gateway import EAP_PASSWORD, PSK
from tests.lab.strangers import GOOD
from tests.lab.topology import GW, GW_V6
from tests.lab.wait import until
from tpkt.daemon import api

pytestmark = [pytest.mark.root, pytest.mark.charon]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A gateway that runs, with short deadlines and a metrics page."""
    limits = {"sa_seconds": 2.0, "ike_seconds": 0.0}
    with Ground(tmp_path_factory.mktemp("life"), limits) as ground:
        ground.configure(("[gateway]", '[gateway]\nmetrics = "127.0.0.1:9464"'))
        ground.gateway.start()
        yield ground


def connect(ground: Ground, address: str = GW) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = ground.gw.socket(family) if family == socket.AF_INET6 else ground.host.socket(family)
    sock.settimeout(10)
    sock.connect((address, 80))
    return sock


def test_it_shows_what_it_is(ground: Ground) -> None:
    status = ground.json("status")
    assert status["healthy"]
    assert status["link"]["works"]
    assert status["config"] == str(ground.gateway.config)
    assert status["charon"]["health"] == "up"
    assert status["charon"]["esp"] in ("kernel", "libipsec")
    assert status["charon"]["version"]
    assert status["pump"]["workers"] == 2
    assert [listener["address"] for listener in status["listeners"]] == [GW, GW_V6]


@pytest.mark.parametrize("command", ["status", "sessions", "doctor", "check"])
def test_every_command_speaks_to_people_too(ground: Ground, command: str) -> None:
    done = ground.gateway.command(command)
    assert done.returncode == 0, done
    assert done.stdout
    assert not done.stderr


def test_the_doctor_finds_the_running_gateway_well(ground: Ground) -> None:
    answer = ground.json("doctor")
    assert answer["ok"], answer
    found = {check["name"]: check for check in answer["checks"]}
    assert found["gateway"]["result"] == "ok"
    assert found["charon"]["result"] == "ok"
    assert found["listeners"]["found"].endswith(f"(pid {ground.gateway.pid})")
    assert all(check["cure"] for check in answer["checks"] if check["result"] != "ok")


@pytest.mark.parametrize("address", [GW, GW_V6])
def test_a_connection_without_an_ike_sa_is_shown_then_closed_and_counted(
    ground: Ground, address: str
) -> None:
    before = ground.gateway.status()["deadlines"]["no_ike_sa"]
    with connect(ground, address) as stranger:
        stranger.sendall(GOOD)
        shown = until(ground.gateway.sessions, 5, "it is shown")
        assert shown[0]["protocol"] == "tpkt"
        assert shown[0]["ike"] is None
        assert shown[0]["connection"]["listener"] == address
        while stranger.recv(4096):  # what charon has to say, then the end
            pass
    until_status(ground, lambda s: s["deadlines"]["no_ike_sa"] == before + 1, 5, "it is counted")


def test_a_client_over_udp_is_a_session_and_reaches_the_core(ground: Ground) -> None:
    with ground.client() as client:
        sa = client.connect()
        assert client.reaches_core()
        (session,) = ground.json("sessions")["sessions"]
        assert (session["protocol"], session["client"], session["flow"]) == ("udp", HOST, None)
        assert session["inner"] == list(sa.local_vips)
        assert session["ike"]["remote_id"] == "ue@example"
        assert session["ike"]["connection"] == "certificates"
        (child,) = session["children"]
        assert child["packets_in"] >= 3
        assert child["packets_out"] >= 3
        assert "ue@example" in ground.gateway.command("sessions").stdout


def test_metrics_are_on_the_admin_socket_and_on_their_own_port(ground: Ground) -> None:
    with connect(ground) as browser:
        browser.sendall(b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n")
        assert browser.recv(4096).startswith(b"HTTP/1.1 404")
    over_tcp = ["curl", "-s", "-m", "5", "http://127.0.0.1:9464/metrics"]
    over_unix = [*over_tcp[:-1], "--unix-socket", str(ground.gateway.admin), "http://eseg/metrics"]
    for argv in (over_tcp, over_unix):
        page = ground.gw.run(argv).stdout
        assert "eseg_healthy 1.0" in page
        assert 'eseg_identified_total{protocol="http"}' in page
        assert 'direction="stream_to_link"' in page


def test_a_reload_changes_who_may_connect_and_nothing_else(ground: Ground) -> None:
    text = ground.gateway.config.read_text()
    before = ground.gateway.status()["config_hash"]
    try:
        ground.configure(("10.66.0.0/16", "10.67.0.0/16"))
        answer = ground.json("reload")
        assert answer["config_hash"] != before
        assert ground.gateway.status()["config_hash"] == answer["config_hash"]

        ground.configure(("workers = 2", "workers = 1"))
        assert "gateway changed; restart" in ground.refused("reload")
        ground.configure(("workers = 1", "workers = 2"), ('name = "inner"', 'name = "outer"'))
        assert "the old configuration holds" in ground.refused("reload")
        ground.configure(('name = "outer"', 'name = "inner"'), ("aes128gcm16-prfsha256-x25519", "rot13"))
        assert "the old configuration holds" in ground.refused("reload")
        assert ground.gateway.status()["config_hash"] == answer["config_hash"]
    finally:
        ground.gateway.config.write_text(text)
    os.kill(ground.gateway.pid, signal.SIGHUP)
    until_status(ground, lambda s: s["config_hash"] == before, 5, "SIGHUP reloads as well")


def test_no_secret_is_in_a_log_or_in_an_answer(ground: Ground) -> None:
    written = [path.read_bytes() for path in ground.gateway.runtime.rglob("*") if path.is_file()]
    written.append(ground.gateway.log.read_bytes())
    for command in ("status", "sessions", "doctor", "check"):
        written.append(ground.gateway.command(command, "--json").stdout.encode())
    assert len(written) > 6
    for secret in (PSK, EAP_PASSWORD, "PRIVATE KEY"):
        assert not [text for text in written if secret.encode() in text]


def test_what_the_api_does_not_know_is_an_error(ground: Ground) -> None:
    with pytest.raises(api.ApiError, match="404"):
        ground.gateway.ask("POST /nonsense")


def test_it_ends_in_order_and_leaves_nothing(tmp_path: Path) -> None:
    with Ground(tmp_path) as ground:
        ground.gateway.start()
        assert ground.traces()
        assert ground.gateway.stop() == 0
        ground.until_clean()
        assert "Traceback" not in ground.gateway.tail()
        assert "no daemon answers" in ground.refused("status")
