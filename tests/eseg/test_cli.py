# SPDX-License-Identifier: Apache-2.0
"""The command line without a gateway: what it prints, and the status it ends with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from eseg import display
from eseg.cli import main
from eseg.config import Http
from eseg.report import CharonStatus, LinkStatus, Listener, SessionList, Status, http_status, pump_status
from eseg.sessions import join
from eseg.tls import Shown, TlsStatus
from tests.charon.samples import ike
from tests.eseg.samples import connection
from tests.eseg.test_config import GOOD, LISTEN
from tpkt.pump import ConnectionState

Run = Callable[..., Result]


@pytest.fixture
def run(keys: Path) -> Run:
    """Run the command with a configuration of this text."""

    def run(text: str, *words: str) -> Result:
        path = keys / "cli.toml"
        path.write_text(f'[gateway]\nruntime = "{keys}/nobody-is-here"\n{text}')
        return CliRunner().invoke(main, [*words, "--config", str(path)])

    return run


def test_a_good_configuration_passes_the_check(run: Run) -> None:
    done = run(GOOD, "check")
    assert done.exit_code == 0
    assert "fit for use" in done.stdout
    assert json.loads(run(GOOD, "check", "--json").stdout) == {"ok": True, "errors": [], "warnings": []}


def test_a_bad_configuration_shows_every_error_on_a_line(run: Run) -> None:
    done = run(LISTEN + LISTEN, "check")
    assert done.exit_code == 2
    assert not done.stdout
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: /") and "; " in line for line in lines)
    answer = json.loads(run(LISTEN + LISTEN, "check", "--json").stdout)
    assert answer["ok"] is False
    assert len(answer["errors"]) == 2


@pytest.mark.parametrize("command", ["status", "sessions", "reload"])
def test_a_gateway_that_does_not_run_cannot_be_asked(run: Run, command: str) -> None:
    done = run(GOOD, command)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "start it with its `run` command" in line


@pytest.mark.parametrize("command", ["run", "check", "status", "sessions", "reload"])
def test_a_file_that_is_not_there_is_named(command: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, [command, "--config", str(tmp_path / "none.toml")])
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert str(tmp_path / "none.toml") in line or "needs root" in line


def test_the_doctor_looks_at_a_machine_without_a_gateway(run: Run) -> None:
    done = run(GOOD, "doctor", "--json")
    answer = json.loads(done.stdout)
    assert done.exit_code == (0 if answer["ok"] else 1)
    names = {check["name"] for check in answer["checks"]}
    assert {"configuration", "rights", "strongSwan", "AppArmor", "UDP offload", "gateway"} <= names
    assert {check["result"] for check in answer["checks"]} <= {"ok", "warn", "fail"}
    assert all(check["cure"] for check in answer["checks"] if check["result"] != "ok")
    shown = run(GOOD, "doctor").stdout
    assert "eseg run" in shown


def test_the_doctor_names_what_is_wrong_with_the_configuration(run: Run) -> None:
    done = run(LISTEN, "doctor")
    assert done.exit_code == 1
    assert "there is none" in done.stdout


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"]])
def test_help_needs_nothing(words: list[str]) -> None:
    assert CliRunner().invoke(main, words).exit_code == 0


def sample_status() -> Status:
    counters = {
        "connections_open": 3,
        "accepted": 9,
        "closed_fin": 4,
        "closed_http": 2,
        "relays_open": 6,
        "relays_failed": 11,
        "relay_to_client_bytes": 5000,
        "identified_tpkt": 5,
        "link_to_stream_queue_full": 7,
        "stream_to_link_bytes": 1000,
    }
    return Status(
        instance="default",
        version="0.1.0",
        pid=1,
        uptime_seconds=90061.0,
        config="/etc/eseg/eseg.toml",
        config_hash="0123456789ab",
        healthy=False,
        listeners=(Listener("198.51.100.2", 80, tls=False), Listener("2001:db8::2", 443, tls=True)),
        link=LinkStatus(
            device="eseg0",
            namespace="/run/netns/eseg-default",
            works=True,
            pools=("198.18.0.0/15",),
            troubles=("does not forward; set it",),
        ),
        charon=CharonStatus(
            mode="managed",
            health="gone",
            reason="nobody answers",
            since_seconds=3.0,
            restarts=1,
            esp="kernel",
            esp_reason="the kernel took an SA",
            vici="/run/eseg/charon/charon.vici",
            version="5.9.8",
            pid=None,
            ike_sas=None,
            half_open=None,
        ),
        pump=pump_status(counters, workers=2),
        tls=TlsStatus(
            minimum="1.2",
            tickets=True,
            certificates=(Shown(names=("gw.example.org",), not_after="2027-01-31T00:00:00+00:00"),),
            kernel=False,
            kernel_reason="the kernel has no module tls",
            open=3,
            established=8,
            resumed=5,
        ),
        http=http_status(counters, Http(backend="127.0.0.1:8080", proxy_protocol=True)),
        deadlines={"no_ike_sa": 1, "ike_sa_left": 0},
    )


def test_a_status_shows_all_that_an_operator_looks_for(capsys: pytest.CaptureFixture[str]) -> None:
    display.status(msgspec.to_builtins(sample_status()))
    shown = capsys.readouterr().out
    for word in (
        "NOT WELL, up 1 d 1 h",
        "6 open to 127.0.0.1:8080",
        "11 failed",
        "198.51.100.2:80, [2001:db8::2]:443",
        "does not forward",
        "gone for 3 s",
        "nobody answers",
        "not known",
        "an HTTP client",
        "no_ike_sa",
        "queue_full",
        "1.2 or later, 3 open, 8 handshakes, 5 by ticket",
        "gw.example.org until 2027-01-31",
        "kernel TLS: no, the kernel has no module tls",
    ):
        assert word in shown, word
    assert "ike_sa_left" not in shown


def test_the_pumps_counters_are_grouped() -> None:
    pump = sample_status().pump
    assert pump.closed == {"fin": 4, "http": 2}
    assert pump.identified == {"tpkt": 5}
    assert pump.dropped == {"link_to_stream_queue_full": 7}
    assert (pump.connections, pump.accepted, pump.half_identified) == (3, 9, 0)


def test_sessions_fit_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    joined = join(
        [connection()], [ike(), ike(remote_host="192.0.2.9", remote_eap_id="alice")], pools=(), now=200.0
    )
    stranger = join([connection(id=2, flow="198.18.0.21")], [], pools=(), now=200.0)
    web = join(
        [connection(id=3, flow="198.18.0.22", state=ConnectionState.RELAYING)], [], pools=(), now=200.0
    )
    display.sessions(msgspec.to_builtins(SessionList(joined + stranger + web, "charon is hung")))
    shown = capsys.readouterr().out
    for word in (
        "192.0.2.2:40000",
        "ue@example.org",
        "alice",
        "nobody yet",
        "a web client",
        "198.18.0.20",
        "hung",
    ):
        assert word in shown, word
