# SPDX-License-Identifier: Apache-2.0
"""Who may connect: what an operator says with `eseg ban` and in [access], and what becomes of it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from eseg.access import RulesReader, prefix_of
from eseg.config import Access
from tests.eseg.ground import HOST, Ground, until_status
from tests.lab.strangers import GOOD
from tests.lab.topology import GW
from tests.lab.wait import until
from tpkt.daemon.configfile import ConfigError

SECTIONS = """
[access]
deny_files = ["deny"]
allow = []

[bans]
closes = 4
ban_seconds = 12.0
"""


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A gateway that runs, with a file of denied prefixes, and bans that come soon."""
    with Ground(tmp_path_factory.mktemp("strangers")) as ground:
        (ground.gateway.config.parent / "deny").write_text("# nobody yet\n")
        with ground.gateway.config.open("a") as config:
            config.write(SECTIONS)
        ground.gateway.start()
        yield ground


def connect(ground: Ground, address: str = HOST) -> socket.socket:
    sock = ground.host.socket()
    sock.settimeout(10)
    sock.bind((address, 0))
    with contextlib.suppress(ConnectionResetError):
        sock.connect((GW, 80))
    return sock


def is_let_in(ground: Ground, address: str = HOST) -> bool:
    """Whether a connection from there gets as far as telling what it speaks."""
    before = ground.gateway.status()["pump"]["accepted"]
    with connect(ground, address) as sock, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        if sock.recv(100).startswith(b"HTTP/1.1 404"):
            assert ground.gateway.status()["pump"]["accepted"] == before + 1
            return True
    assert ground.gateway.status()["pump"]["accepted"] == before
    return False


@pytest.mark.root
@pytest.mark.charon
def test_an_operator_bans_lists_and_lifts(ground: Ground) -> None:
    with connect(ground) as there:
        there.sendall(GOOD)
        until(ground.gateway.sessions, 5, "it is there")
        answer = ground.json("ban", "198.51.100.0/24", "--seconds", "600")
        assert answer == {"prefix": "198.51.100.0/24", "seconds": 600.0, "closed": 0}
        assert not is_let_in(ground)
        assert ground.gateway.sessions()  # open ones stay, unless
        assert ground.json("ban", "198.51.100.0/24", "--seconds", "600", "--close")["closed"] == 1
        assert there.recv(4096) == b"" or there.recv(4096) == b""  # after what charon had to say
    (ban,) = ground.json("bans")["bans"]
    assert (ban["prefix"], ban["by_hand"], ban["reason"]) == ("198.51.100.0/24", True, "control")
    assert 0 < ban["left_seconds"] <= 600
    assert "198.51.100.0/24" in ground.gateway.command("bans").stdout
    status = ground.gateway.status()["pump"]
    assert status["bans"] == 1
    assert status["closed"]["banned"] >= 2
    assert (
        "eseg_bans_active 1.0"
        in ground.gw.run(
            ["curl", "-s", "-m", "5", "--unix-socket", str(ground.gateway.admin), "http://eseg/metrics"]
        ).stdout
    )
    assert ground.gateway.command("unban", "198.51.100.0/24").returncode == 0
    assert is_let_in(ground)
    assert ground.json("ban", "203.0.113.7")["seconds"] == 12.0  # as configured
    ground.json("unban", "203.0.113.7/32")
    assert "is not banned" in ground.refused("unban", "198.51.100.0/24")
    assert "give a prefix such as" in ground.refused("ban", "198.51.100.1/24")


@pytest.mark.root
@pytest.mark.charon
def test_who_goes_on_being_hostile_is_banned_for_a_while_and_that_is_said(ground: Ground) -> None:
    for _ in range(4):
        with connect(ground) as sock:
            sock.sendall(b"nonsense")
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(100) == b""
    assert not is_let_in(ground)
    (ban,) = ground.json("bans")["bans"]
    assert (ban["prefix"], ban["reason"]) == (f"{HOST}/32", "unknown_protocol")
    assert f"banned the source of {HOST}" in ground.gateway.log.read_text()
    until_status(ground, lambda s: s["pump"]["bans"] == 0, 20, "it is over")
    assert is_let_in(ground)


@pytest.mark.root
@pytest.mark.charon
def test_a_reload_reads_the_rules_again_and_clients_stay(ground: Ground) -> None:
    text, listed = ground.gateway.config.read_text(), ground.gateway.config.parent / "deny"
    try:
        with ground.client() as client:
            client.connect()
            assert is_let_in(ground)
            listed.write_text(f"203.0.113.0/24\n198.51.100.0/24 # and {HOST} with it\n\n2001:db8::/32\n")
            ground.json("reload")
            assert not is_let_in(ground)
            assert ground.gateway.status()["pump"]["rules"] == 3
            ground.configure(("allow = []", f'allow = ["{HOST}"]'))
            os.kill(ground.gateway.pid, signal.SIGHUP)
            until_status(ground, lambda s: s["pump"]["rules"] == 4, 5, "SIGHUP reloads as well")
            assert is_let_in(ground)
            ground.configure(
                ("closes = 4", "closes = 0"), ("[limits]", "[limits]\nike_half_open_per_source = 3")
            )
            ground.json("reload")
            ground.configure(("[limits]", "[limits]\nconnections = 7"))
            assert "limits.connections changed; restart" in ground.refused("reload")
            listed.write_text("203.0.113.0/24\n203.0.113.1/24\n")
            ground.configure(("connections = 7\n", ""))
            line = ground.refused("reload")
            assert "the old configuration holds" in line
            assert "access.deny_files[0]: deny:2" in line
            assert "has host bits set" in line
            assert client.reaches_core()
    finally:
        ground.gateway.config.write_text(text)
        listed.write_text("")
    ground.json("reload")
    assert ground.gateway.status()["pump"]["rules"] == 0


def write(directory: Path, text: str) -> tuple[str, ...]:
    (directory / "list").write_text(text)
    return ("list",)


def test_files_hold_one_prefix_a_line_with_comments(tmp_path: Path) -> None:
    names = write(
        tmp_path, "# all of them\n203.0.113.0/24\n\n  192.0.2.1 # one\n2001:db8::/32\n203.0.113.0/24\n"
    )
    rules = RulesReader(tmp_path / "eseg.toml", Access(deny_files=names, allow=("::/0",))).read()
    assert [str(prefix) for prefix in rules.deny] == ["203.0.113.0/24", "192.0.2.1/32", "2001:db8::/32"]
    assert [str(prefix) for prefix in rules.allow] == ["::/0"]


@pytest.mark.parametrize(
    ("access", "said"),
    [
        ({"deny": ("203.0.113.0/33",)}, ["access.deny[0]", "203.0.113.0/33"]),
        ({"allow": ("gw.example.org",)}, ["access.allow[0]", "write a prefix such as"]),
        ({"allow": ("192.0.2.1",), "deny": ("192.0.2.1/32",)}, ["access.deny[0]", "in allow as well"]),
        ({"deny_files": ("nowhere",)}, ["access.deny_files[0]", "No such file"]),
    ],
)
def test_what_is_wrong_with_the_rules_is_named(
    tmp_path: Path, access: dict[str, tuple[str, ...]], said: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        RulesReader(tmp_path / "eseg.toml", Access(**access)).read()
    assert not [words for words in said if words not in str(caught.value)], caught.value


def test_a_mapped_address_is_the_ipv4_one_it_stands_for() -> None:
    assert str(prefix_of("::ffff:192.0.2.1")) == "192.0.2.1/32"
    assert str(prefix_of("::ffff:0:0/96")) == "0.0.0.0/0"
