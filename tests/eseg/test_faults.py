# SPDX-License-Identifier: Apache-2.0
"""What keeps a gateway from starting is one line with its cure and status 2, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.eseg.ground import Ground
from tests.lab.topology import GW
from tests.lab.unprivileged import POWERLESS
from tests.lab.wait import until

pytestmark = [pytest.mark.root, pytest.mark.charon]
Obstacle = Callable[[Ground], AbstractContextManager[object]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground(tmp_path_factory.mktemp("faults")) as ground:
        yield ground


@pytest.fixture
def ground(built: Ground) -> Iterator[Ground]:
    """A ground with a gateway that does not run, and a configuration that will be as it was."""
    text = built.gateway.config.read_text()
    built.gateway.log.unlink(missing_ok=True)
    yield built
    built.gateway.config.write_text(text)
    built.gateway.stop()


@contextlib.contextmanager
def listening(ground: Ground, address: str, port: int, kind: int = socket.SOCK_STREAM) -> Iterator[None]:
    with ground.gw.socket(socket.AF_INET, kind) as sock:
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        yield


@contextlib.contextmanager
def routed(ground: Ground, network: str) -> Iterator[None]:
    ground.gw.ip(f"route add {network} dev eth0")
    yield
    ground.gw.ip(f"route del {network} dev eth0")


@contextlib.contextmanager
def configured(ground: Ground, old: str, new: str) -> Iterator[None]:
    text = ground.gateway.config.read_text()
    ground.configure((old, new))
    yield
    ground.gateway.config.write_text(text)


@contextlib.contextmanager
def both(*managers: AbstractContextManager[object]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for manager in managers:
            stack.enter_context(manager)
        yield


@contextlib.contextmanager
def written(path: Path, text: str) -> Iterator[None]:
    path.write_text(text)
    yield
    path.unlink()


ME = f"(pid {os.getpid()})"
OBSTACLES: dict[str, tuple[Obstacle, list[str]]] = {
    "port 80 of its address in use": (
        lambda g: listening(g, GW, 80),
        ["listen[0].port: 198.51.100.2:80 is in use by", ME, "stop it, or choose another port"],
    ),
    "port 80 of all addresses in use": (
        lambda g: listening(g, "0.0.0.0", 80),
        ["listen[0].port: 198.51.100.2:80 is in use by", ME],
    ),
    "an address that is not here": (
        lambda g: configured(g, f'"{GW}", port', '"198.51.100.77", port'),
        ["listen[0].address: 198.51.100.77 is not an address of this machine", "add it to an interface"],
    ),
    "an IKE port in use": (
        lambda g: listening(g, "0.0.0.0", 4500, socket.SOCK_DGRAM),
        ["UDP port 4500 is in use by", ME, 'mode = "system"'],
    ),
    "a pool that somebody routes": (
        lambda g: routed(g, "198.18.64.0/18"),
        ["198.18.0.0/15", "198.18.64.0/18", "eth0"],
    ),
    "a proposal that charon does not know": (
        lambda g: configured(g, "aes128gcm16-prfsha256-x25519", "rot13-md2"),
        ["eseg.toml: charon refuses a part of it", "'certificates'", "proposals"],
    ),
    "a metrics port in use": (
        lambda g: both(
            configured(g, "[gateway]", '[gateway]\nmetrics = "127.0.0.1:9465"'),
            listening(g, "127.0.0.1", 9465),
        ),
        ["gateway.metrics: cannot listen on 127.0.0.1:9465", "choose another"],
    ),
    "a pool too small for so many workers": (
        lambda g: both(
            configured(g, "workers = 2", "workers = 64"),
            configured(g, "[limits]", '[link]\npool4 = "198.18.0.0/26"\n[limits]'),
        ),
        ["link: pool4 198.18.0.0/26 has 64 addresses", "gateway.workers"],
    ),
    "strongswan.conf lines that charon cannot read": (
        lambda g: both(
            written(g.directory / "gw" / "bad.conf", "} } {"),
            configured(g, "[charon]", '[charon]\nsettings_file = "bad.conf"'),
        ),
        ["charon"],
    ),
    "a runtime directory that is a file": (
        lambda g: both(
            written(g.directory / "gw" / "file", ""),
            configured(g, f'runtime = "{g.gateway.runtime}"', f'runtime = "{g.directory}/gw/file"'),
        ),
        ["gw/file: cannot be used as runtime directory", "gateway.runtime"],
    ),
}


@pytest.mark.parametrize(("obstacle", "said"), OBSTACLES.values(), ids=OBSTACLES)
def test_it_is_named_and_nothing_is_left(ground: Ground, obstacle: Obstacle, said: list[str]) -> None:
    with obstacle(ground):
        before = ground.traces()
        line = ground.refused()
        assert line.startswith("error: ")
        assert not [words for words in said if words not in line], line
        assert ground.traces() == before


def test_without_root_it_says_so(ground: Ground) -> None:
    # The installed command, run by an owner of all its files who may do nothing else.
    argv = [str(Path(sys.executable).with_name("eseg")), "run", "--config", str(ground.gateway.config)]
    done = subprocess.run([*POWERLESS, *argv], check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2, done
    (line,) = done.stderr.strip().splitlines()
    assert "needs root" in line
    assert "CAP_NET_ADMIN" in line
    assert "sudo" in line


def test_a_second_gateway_is_refused_and_the_first_lives(ground: Ground) -> None:
    ground.gateway.start()
    before = ground.traces()
    assert "running" in ground.refused()
    # With sockets and ports of its own it would still take the first one's link and charon.
    ground.configure(
        ("[gateway]", f'[gateway]\nadmin = "{ground.directory}/2.sock"'), ("port = 80", "port = 81")
    )
    assert "another gateway runs with this runtime directory" in ground.refused()
    ground.configure((str(ground.gateway.runtime), str(ground.directory / "run2")))
    assert "belongs to process" in ground.refused()
    assert ground.traces() == before
    assert ground.gateway.status()["healthy"]


def test_a_signal_while_it_starts_ends_it_in_order(ground: Ground) -> None:
    with (ground.directory / "early.log").open("wb") as log:
        process = ground.gw.popen(ground.gateway.argv, stderr=log)
        # The link is the first thing that is made; charon, which takes longest, comes after it.
        until(lambda: "eseg0" in ground.traces(), 20, "it has begun")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert "Traceback" not in (ground.directory / "early.log").read_text()
    ground.until_clean()
