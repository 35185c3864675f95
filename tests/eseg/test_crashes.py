# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the gateway and of its charon: what lives on, what comes back, and what is never touched."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.eseg.ground import Ground, until_status
from tests.lab.topology import GW
from tests.lab.wait import until

pytestmark = [pytest.mark.root, pytest.mark.charon]


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with Ground(tmp_path) as ground:
        yield ground


def test_a_killed_gateway_leaves_a_charon_that_the_next_one_adopts_with_its_sas(ground: Ground) -> None:
    ground.gateway.start()
    with ground.client() as client:
        before = client.connect()
        charon = ground.gateway.charon_pid()
        ground.gateway.kill()
        assert client.reaches_core(), "ESP does not need the gateway's control plane"
        ground.gateway.start()
        assert ground.gateway.charon_pid() == charon
        assert ground.gateway.status()["healthy"]
        assert client.reaches_core()
        (session,) = ground.json("sessions")["sessions"]
        assert (session["ike"]["spi_i"], session["ike"]["spi_r"]) == (before.spi_i, before.spi_r)
    assert ground.gateway.stop() == 0
    ground.until_clean()


def test_a_charon_that_does_not_fit_the_new_configuration_is_replaced(ground: Ground) -> None:
    ground.gateway.start()
    charon = ground.gateway.charon_pid()
    ground.gateway.kill()
    ground.configure(("[charon]", "[charon]\nexpected_clients = 5000"))
    ground.gateway.start()
    assert ground.gateway.charon_pid() != charon
    assert ground.gateway.status()["healthy"]
    until(lambda: charon not in ground.gw.pids(), 5, "the old one is gone")


def test_a_killed_charon_comes_back_with_everything_it_held(ground: Ground) -> None:
    ground.gateway.start()
    before = ground.gateway.charon_pid()
    os.kill(before, signal.SIGKILL)
    until_status(ground, lambda s: s["charon"]["pid"] not in (0, None, before), 15, "another charon runs")
    until_status(ground, lambda s: s["charon"]["restarts"] == 1 and s["healthy"], 15, "it is well again")
    with ground.client() as client:
        client.connect()
        assert client.reaches_core()
    assert "Traceback" not in ground.gateway.tail()


def test_a_charon_that_hangs_is_seen_and_connections_are_shown_without_it(ground: Ground) -> None:
    ground.gateway.start()
    charon = ground.gateway.charon_pid()
    os.kill(charon, signal.SIGSTOP)
    try:
        until_status(ground, lambda s: s["charon"]["health"] == "hung", 10, "it is seen")
        assert not ground.gateway.status()["healthy"]
        done = ground.gateway.command("sessions")
        assert done.returncode == 1
        assert "hung" in done.stdout
    finally:
        os.kill(charon, signal.SIGCONT)
    until_status(ground, lambda s: s["healthy"], 10, "it is well again")


def test_a_charon_that_is_to_be_kept_outlives_an_orderly_stop(ground: Ground) -> None:
    ground.configure(("[charon]", "[charon]\nkeep_on_stop = true"))
    ground.gateway.start()
    with ground.client() as client:
        client.connect()
        charon = ground.gateway.charon_pid()
        assert ground.gateway.stop() == 0
        assert client.reaches_core()
        ground.gateway.start()
        assert ground.gateway.charon_pid() == charon
        assert client.reaches_core()
    ground.gateway.stop()
    os.kill(charon, signal.SIGTERM)


def test_the_systems_charon_is_told_and_left_as_it_was(ground: Ground) -> None:
    with ground.charon(ground.gw, "gateway") as system:
        ground.configure(("[charon]", f'[charon]\nmode = "system"\nvici = "{system.managed.vici_path}"'))
        ground.gateway.start()
        status = ground.gateway.status()
        assert (status["charon"]["mode"], status["charon"]["pid"]) == ("system", system.managed.pid)
        with ground.client() as client:
            client.connect()
            assert client.reaches_core()
            assert ground.gateway.stop() == 0
            assert client.reaches_core(), "an SA of somebody else's charon is not ours to end"
        assert system.managed.pid is not None
        listed = ["swanctl", "--list-conns", "--uri", f"unix://{system.managed.vici_path}"]
        assert "certificates" not in ground.gw.run(listed).stdout


def test_the_systems_charon_must_run(ground: Ground) -> None:
    vici = ground.directory / "none.vici"
    ground.configure(("[charon]", f'[charon]\nmode = "system"\nvici = "{vici}"'))
    line = ground.refused()
    assert str(vici) in line
    assert "Is charon running?" in line
    assert ground.traces() == []


def test_a_link_that_somebody_removes_is_seen(ground: Ground) -> None:
    ground.gateway.start()
    ground.gw.ip("link del eseg0")
    until_status(ground, lambda s: not s["healthy"], 5, "it is seen")
    assert not ground.gateway.status()["link"]["works"]
    assert ground.gateway.command("status").returncode == 1
    assert ground.gateway.stop() == 0
    ground.until_clean()
    assert GW in ground.gw.run(["ip", "addr"]).stdout, "what is not ours stays"
