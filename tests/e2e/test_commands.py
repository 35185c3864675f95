# SPDX-License-Identifier: Apache-2.0
"""The commands beside `run`, typed as a user would; the exit status is part of the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e import expect
from tests.lab.daemons import Daemon
from tests.lab.gateway import P_CSCF
from tests.lab.lab import Lab
from tests.lab.topology import CORE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def asked(daemon: Daemon, *words: str, status: int = 0) -> Any:
    done = daemon.command(*words, "--json", seconds=60)
    assert done.returncode == status, done
    return json.loads(done.stdout)


def shown(daemon: Daemon, *words: str, status: int = 0) -> str:
    done = daemon.command(*words, seconds=60)
    assert done.returncode == status, done
    return done.stdout


def test_down_ends_the_sa_on_both_sides_and_up_brings_another(lab: Lab) -> None:
    lab.firewall.drop_udp()
    client = lab.client(**expect.QUICK)
    client.start()
    client.until_up("tcp")
    before = client.spis()

    asked(client, "down")
    assert asked(client, "status", status=1)["rung"] is None
    assert all(session["ike"] is None for session in lab.gateway.sessions())

    assert asked(client, "up")["rung"]["transport"] == "tcp"
    assert client.spis() not in ("", before)
    expect.traffic(client)


def test_status_and_sessions_tell_of_the_same_tunnel(lab: Lab) -> None:
    lab.firewall.drop_udp()
    client = lab.client(**expect.QUICK)
    client.start()
    client.until_up("tcp")
    inner = client.inner_address()
    (session,) = asked(lab.gateway, "sessions")["sessions"]
    status = asked(client, "status")
    assert session["inner"] == status["inner_addresses"] == [inner]
    assert session["ike"]["spi_i"] == status["ike_sa"]["spi_i"]
    assert session["protocol"] == expect.TPKT
    assert status["assigned"] == {"dns": [CORE], "p_cscf": [P_CSCF]}
    for daemon, words in ((client, "status"), (lab.gateway, "sessions")):
        assert inner in shown(daemon, words)


def test_netcheck_says_which_ways_pass_without_a_daemon(lab: Lab) -> None:
    lab.firewall.drop_udp()
    client = lab.client()
    (found,) = asked(client, "netcheck")
    answered = {check["name"]: check["answer"] is not None for check in found["checks"]}
    assert answered == {"UDP 500": False, "UDP 4500": False, "TCP 80": True}


def test_check_and_status_find_a_gateway_that_runs_to_be_well(lab: Lab) -> None:
    shown(lab.gateway, "check")
    assert shown(lab.gateway, "status")


def test_a_daemon_that_does_not_run_cannot_be_asked(lab: Lab) -> None:
    client = lab.client()
    done = client.command("status")
    assert done.returncode == 2
    assert "start it with its `run` command" in done.stderr
