# SPDX-License-Identifier: Apache-2.0
"""A gateway that is replaced while it runs: what clients keep, and that failed successors change nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.eseg.ground import Ground, until_status
from tests.lab.strangers import GOOD
from tests.lab.topology import GW
from tests.lab.wait import until
from tpkt.daemon import api

pytestmark = [pytest.mark.root, pytest.mark.charon, pytest.mark.timeout(180)]


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with Ground(
        tmp_path, {"sa_seconds": 0.0, "ike_seconds": 0.0, "accepts_per_second_per_source": 0}
    ) as ground:
        ground.configure(("[gateway]", '[gateway]\nmetrics = "127.0.0.1:9464"'))
        ground.gateway.start()
        yield ground


def upgrade(ground: Ground) -> int:
    """Replace the gateway; the process that has it now."""
    done = ground.gateway.command("upgrade", "--json")
    assert done.returncode == 0, f"{done.stderr}\n{ground.gateway.tail()}"
    answer = json.loads(done.stdout)
    ground.gateway.follow(answer["pid"])
    return int(answer["pid"])


def connect(ground: Ground) -> socket.socket:
    sock = ground.host.socket()
    sock.settimeout(10)
    sock.connect((GW, 80))
    return sock


def ask(peer: socket.socket) -> bytes:
    """Have charon answer over this connection."""
    peer.sendall(GOOD)
    return peer.recv(65536)


def test_everything_goes_on_and_twice_in_a_row(ground: Ground) -> None:
    charon = ground.gateway.charon_pid()
    with ground.client() as client, connect(ground) as peer:
        client.connect()
        assert ask(peer)
        before = ground.gateway.status()
        pids = {ground.gateway.pid}
        for _ in range(2):
            pids.add(upgrade(ground))
            assert ask(peer), "the same connection is served"
            assert client.reaches_core()
            with connect(ground) as newcomer:
                assert ask(newcomer)
            assert ground.gateway.charon_pid() == charon
        after = ground.gateway.status()
        assert len(pids) == 3
        assert after["pid"] == ground.gateway.pid
        assert after["healthy"]
        assert not [
            trouble for trouble in after["link"]["troubles"] if trouble not in before["link"]["troubles"]
        ]
        assert after["pump"]["accepted"] == before["pump"]["accepted"] + 2
        assert str(ground.gateway.pid) in ground.gw.run(["ip", "link", "show", "eseg0"]).stdout
        page = ground.gw.run(["curl", "-s", "-m", "5", "http://127.0.0.1:9464/metrics"]).stdout
        assert "eseg_healthy 1.0" in page
    assert ground.gateway.stop() == 0
    ground.until_clean()
    assert "Traceback" not in ground.gateway.tail()


def test_listeners_never_refuse_anybody_meanwhile(ground: Ground) -> None:
    over = threading.Event()
    served: list[int] = []
    failures: list[OSError] = []

    def knock() -> None:
        while not over.is_set() and not failures:
            try:
                with contextlib.closing(connect(ground)) as peer:
                    peer.sendall(b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n")  # the pump itself answers
                    if peer.recv(4096).startswith(b"HTTP/1.1 404"):
                        served.append(1)
            except OSError as error:
                failures.append(error)

    thread = threading.Thread(target=knock)
    thread.start()
    try:
        until(lambda: len(served) > 5 or failures, 10, "somebody is served")
        upgrade(ground)
        mark = len(served)
        until(lambda: len(served) > mark + 5 or failures, 10, "somebody is served by the successor")
    finally:
        over.set()
        thread.join(20)
    assert not failures, ground.gateway.tail()


def test_the_successor_has_the_new_configuration(ground: Ground) -> None:
    before = ground.gateway.status()["config_hash"]
    with connect(ground) as peer:
        assert ask(peer)
        ground.configure(("port = 80", "port = 8080"), ("10.66.0.0/16", "10.67.0.0/16"))
        upgrade(ground)
        status = ground.gateway.status()
        assert status["config_hash"] != before
        listening = ground.gw.run(["ss", "-Hlnt"]).stdout
        assert f"{GW}:8080" in listening
        assert f"{GW}:80 " not in listening
        assert ask(peer), "who came by the old port stays"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("workers = 2", "workers = 3", "gateway.workers changed; restart"),
        ("[charon]", "[charon]\nexpected_clients = 77", "charon changed; restart"),
        ("aes128gcm16-prfsha256-x25519", "rot13", "charon refuses"),
    ],
)
def test_a_successor_that_cannot_be_leaves_the_old_one_serving(
    ground: Ground, old: str, new: str, sentence: str
) -> None:
    good = ground.gateway.config.read_text()
    with connect(ground) as peer:
        assert ask(peer)
        pid, charon = ground.gateway.pid, ground.gateway.charon_pid()
        assert old in good
        ground.gateway.config.write_text(good.replace(old, new))
        said = ground.gateway.command("upgrade")
        assert said.returncode == 2, said
        ground.gateway.config.write_text(good)
        assert "the running gateway goes on" in said.stderr
        assert sentence in said.stderr
        assert ask(peer)
        assert (ground.gateway.pid, ground.gateway.charon_pid()) == (pid, charon)
        with ground.client() as client:
            client.connect()
            assert client.reaches_core()
        upgrade(ground)
        assert ask(peer)


def successors(ground: Ground) -> list[int]:
    """The processes that are to replace the gateway, wherever in its threads they were started."""
    found = []
    for task in Path(f"/proc/{ground.gateway.pid}/task").iterdir():
        for word in (task / "children").read_text().split():
            if b"eseg" in Path(f"/proc/{word}/cmdline").read_bytes():
                found.append(int(word))
    return found


@pytest.mark.parametrize("stage", ["at once", "when it has spoken to charon"])
def test_a_successor_that_is_killed_leaves_the_old_one_serving(ground: Ground, stage: str) -> None:
    with connect(ground) as peer:
        assert ask(peer)
        said: list[str] = []
        run = threading.Thread(target=lambda: said.append(ground.gateway.command("upgrade").stderr))
        run.start()
        (successor,) = until(lambda: successors(ground), 20, "there is a successor")
        if stage != "at once":
            vici = str(ground.gateway.runtime / "charon")
            until(lambda: speaks(successor, vici), 20, "it speaks to charon")
        os.kill(successor, signal.SIGKILL)
        run.join(60)
        assert "the running gateway goes on" in said[0], said
        assert ask(peer)
        assert ground.gateway.status()["healthy"]
        upgrade(ground)
        assert ask(peer)


def speaks(pid: int, directory: str) -> bool:
    """Tell whether the process has read a configuration: its link to the gateway's locks is there."""
    with contextlib.suppress(OSError):
        links = [os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir()]
        return any(str(Path(directory).parent) == link for link in links)
    return False


def test_a_successor_that_is_killed_later_leaves_what_any_crash_leaves(ground: Ground) -> None:
    charon = ground.gateway.charon_pid()
    with ground.client() as client:
        client.connect()
        upgrade(ground)
        ground.gateway.kill()
        assert client.reaches_core()
        ground.gateway.start()
        assert ground.gateway.charon_pid() == charon
        assert client.reaches_core()
    assert ground.gateway.stop() == 0
    ground.until_clean()


def test_two_upgrades_at_a_time_are_one_too_many(ground: Ground) -> None:
    said: list[str] = []
    run = threading.Thread(target=lambda: said.append(ground.gateway.command("upgrade", "--json").stdout))
    run.start()
    until(lambda: successors(ground), 20, "there is a successor")
    with pytest.raises(api.ApiError, match="going on"):
        ground.gateway.ask("POST /upgrade")  # at once: a command would take as long as the first upgrade
    run.join(60)
    until_status(ground, lambda s: f'"pid": {s["pid"]}' in said[0], 10, "the first has happened")
    ground.gateway.follow(ground.gateway.status()["pid"])


def test_the_service_manager_is_told_who_the_gateway_is(tmp_path: Path) -> None:
    with (
        Ground(tmp_path) as ground,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        pytest.MonkeyPatch.context() as patch,
    ):
        address = str(tmp_path / "notify")
        manager.bind(address)
        manager.settimeout(20)
        patch.setenv("NOTIFY_SOCKET", address)
        ground.gateway.start()
        assert manager.recv(4096) == b"READY=1"
        pid = upgrade(ground)
        assert {manager.recv(4096), manager.recv(4096)} == {f"MAINPID={pid}".encode(), b"READY=1"}
        assert ground.gateway.stop() == 0
        assert manager.recv(4096) == b"STOPPING=1"
