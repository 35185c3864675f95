# SPDX-License-Identifier: Apache-2.0
"""The command: what people and programs read, and the exit status; its daemons say what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from click.testing import CliRunner, Result

from tc_client import report
from tc_client.cli import main
from tests.charon import samples
from tests.tc_client import responder
from tests.tc_client.conftest import CERTIFICATE
from tpkt.daemon import api

T = TypeVar("T")


@contextlib.contextmanager
def beside(context: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """Run an asyncio context on a thread of its own: the command under test has a loop itself."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="beside")
    thread.start()

    def there(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(10)

    entered = context()
    try:
        value: T = there(entered.__aenter__())
        try:
            yield value
        finally:
            there(entered.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, [*words])


# netcheck


def netcheck(behaviour: responder.Behaviour, *words: str) -> Result:
    with beside(lambda: responder.tcp(behaviour)) as port:
        return invoke("netcheck", "--gateway", "127.0.0.1", "--port", str(port), "--seconds", "0.5", *words)


def test_netcheck_shows_each_way_the_firewall_and_the_advice() -> None:
    done = netcheck(responder.ike)
    assert done.exit_code == 0, done.output
    for words in ("UDP 4500", "refuses it (ICMP port", "UDP 500", "passes", "NO_PROPOSAL", "Advice:"):
        assert words in " ".join(done.output.split()), words
    assert "Firewall: UDP is blocked, TCP passes" in done.output


@pytest.mark.parametrize(
    ("behaviour", "firewall"),
    [(responder.http, "captive portal"), (responder.silent, "type 9"), (responder.resetting, "type 9")],
)
def test_netcheck_that_finds_no_way_says_so_with_its_status(
    behaviour: responder.Behaviour, firewall: str
) -> None:
    done = netcheck(behaviour, "--json")
    assert done.exit_code == 1
    [found] = json.loads(done.stdout)
    assert firewall in found["verdict"]["firewall"]
    assert not found["verdict"]["usable"]
    assert {check["failure"]["why"] for check in found["checks"] if check["protocol"] == "udp"} == {"refused"}


def test_netcheck_asks_the_configured_gateway_and_needs_none_of_its_keys(tmp_path: Path) -> None:
    file = tmp_path / "tc-client.toml"
    with beside(lambda: responder.tcp(responder.ike)) as port:
        text = CERTIFICATE.replace('"198.51.100.2"', f'"127.0.0.1"\ntcp_ports = [{port}]')
        file.write_text(text)
        done = invoke("netcheck", "--config", str(file), "--json")
    assert done.exit_code == 0, done.output
    assert [check["port"] for check in json.loads(done.stdout)[0]["checks"]] == [4500, 500, port]


@pytest.mark.parametrize("gateway", ["300.1.2.3", "not a name", "0.0.0.0"])
def test_netcheck_of_what_is_no_gateway_is_refused_in_one_line(gateway: str) -> None:
    done = invoke("netcheck", "--gateway", gateway)
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1


def test_netcheck_without_gateway_and_configuration_says_what_to_do(tmp_path: Path) -> None:
    done = invoke("netcheck", "--config", str(tmp_path / "absent"))
    assert (done.exit_code, "--config" in done.stderr) == (2, True)


# A daemon

DAY = "2026-01-01T00:00:00.000Z"
STANDING = report.Standing(
    name="tcp-80",
    transport="tcp",
    port=80,
    since="2026-01-01T00:00:00.000Z",
    seconds=65.0,
    why="UDP is blocked",
)
RUNG = report.Rung(
    name="udp",
    transport="udp",
    port=4500,
    result="failed",
    why="silent",
    reason="UDP 4500: no answer",
    seconds=1.8,
    at=None,
)
DOWN = report.Status(
    state="probing",
    wanted=True,
    rung=None,
    why="looking",
    next_try_seconds=None,
    gateway=report.Gateway(name="gw.example", address="198.51.100.2", way="eth0 from 192.0.2.2"),
    ike_sa=None,
    child_sa=None,
    inner_addresses=(),
    assigned=report.Assigned(),
    connection=None,
    rungs=(RUNG,),
    changes=(report.Change(at=DAY, rung="udp", what="failed", reason="no answer"),),
    charon=report.Charon(
        mode="managed", health="up", reason="", pid=7, restarts=0, esp="kernel", esp_reason="it has it"
    ),
    instance="default",
    version="0",
    problems=(),
)
UP = msgspec.structs.replace(
    DOWN,
    state="up",
    rung=STANDING,
    ike_sa=report.ike(samples.ike(initiator=True)),
    child_sa=report.child(samples.child(bytes_in=2048, packets_in=3)),
    inner_addresses=("10.66.0.1",),
    assigned=report.Assigned(dns=("10.9.0.53",), p_cscf=("10.9.0.5",)),
)
WAITING = msgspec.structs.replace(DOWN, state="waiting", why="no way to the gateway", next_try_seconds=4.2)


class Daemon:
    """Answers `GET /status` with one status after the other, the last for ever; notes what it is told."""

    def __init__(self, directory: Path, *statuses: report.Status) -> None:
        self.config = directory / "tc-client.toml"
        self.config.write_text(f'{CERTIFICATE}\n[client]\nruntime = "{directory}"\n')
        self._admin, self._statuses = directory / "admin.sock", list(statuses)
        self.told: list[str] = []

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        routes: dict[str, api.Handler] = {
            "GET /status": self._status,
            "POST /up": self._told("up"),
            "POST /down": self._told("down"),
        }
        async with api.Server(self._admin, routes):
            yield

    async def _status(self, _: Mapping[str, Any]) -> object:
        return self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]

    def _told(self, word: str) -> api.Handler:
        async def handle(_: Mapping[str, Any]) -> object:
            self.told.append(word)
            return {"state": "idle"}

        return handle

    def command(self, *words: str) -> Result:
        with beside(self.serve):
            return invoke(*words, "--config", str(self.config))


def test_status_begins_with_the_way_since_when_and_why(tmp_path: Path) -> None:
    done = Daemon(tmp_path, UP).command("status")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == "TCP 80 carries the tunnel since 1 min 5 s: UDP is blocked"
    for words in (
        "10.66.0.1",
        "10.9.0.53",
        "10.9.0.5",
        "2.0 KiB in 3 packets",
        "0011223344556677_i",
        "no answer",
    ):
        assert words in done.stdout, words


def test_status_of_a_tunnel_that_is_down_says_what_comes_next(tmp_path: Path) -> None:
    done = Daemon(tmp_path, WAITING).command("status")
    assert done.exit_code == 1
    assert done.stdout.splitlines()[0] == "waiting: no way to the gateway; next try in 4 s"


def test_status_for_programs_is_the_answer_as_it_came(tmp_path: Path) -> None:
    done = Daemon(tmp_path, UP).command("status", "--json")
    assert json.loads(done.stdout) == json.loads(msgspec.json.encode(UP))


def test_problems_are_shown_at_the_top(tmp_path: Path) -> None:
    broken = msgspec.structs.replace(UP, problems=("device tric0: is down",))
    done = Daemon(tmp_path, broken).command("status")
    assert done.stdout.splitlines()[1] == "problem: device tric0: is down"


def test_up_waits_tells_what_failed_on_the_way_and_which_way_it_took(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, DOWN, DOWN, UP)
    done = daemon.command("up")
    assert (done.exit_code, daemon.told) == (0, ["up"])
    assert "TCP 80 carries the tunnel" in done.stdout
    assert "UDP 4500: no answer" in done.stderr


def test_up_ends_when_the_client_has_found_no_way(tmp_path: Path) -> None:
    done = Daemon(tmp_path, DOWN, WAITING).command("up")
    assert done.exit_code == 1
    assert "no way to the gateway" in done.stdout


def test_up_ends_when_its_time_is_over(tmp_path: Path) -> None:
    assert Daemon(tmp_path, DOWN).command("up", "--seconds", "0.1").exit_code == 1


def test_up_need_not_wait(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, DOWN)
    assert daemon.command("up", "--no-wait").exit_code == 0
    assert daemon.told == ["up"]


def test_up_for_programs_prints_nothing_but_json(tmp_path: Path) -> None:
    done = Daemon(tmp_path, DOWN, UP).command("up", "--json")
    assert (json.loads(done.stdout)["state"], done.stderr) == ("up", "")


def test_down_takes_it_down(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, UP)
    done = daemon.command("down")
    assert (done.exit_code, daemon.told, done.stdout) == (0, ["down"], "the tunnel is down\n")


@pytest.mark.parametrize("word", ["up", "down", "status"])
def test_without_a_daemon_the_cure_is_said(tmp_path: Path, word: str) -> None:
    daemon = Daemon(tmp_path, UP)
    done = invoke(word, "--config", str(daemon.config))
    assert done.exit_code == 2
    assert (
        done.stderr == f"error: {tmp_path}/admin.sock: no daemon answers; start it with its `run` command\n"
    )
