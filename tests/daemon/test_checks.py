# SPDX-License-Identifier: Apache-2.0
"""What both daemons' configurations are asked, and what their tables are made of."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec
import pytest

from tpkt.daemon import checks
from tpkt.daemon.schema import HIDDEN, Daemon, SecretHolder

WORD, PLACE = "swordfish", "/etc/word"


class Service(Daemon, frozen=True, kw_only=True):
    runtime: str = "/run/service"


class User(SecretHolder, frozen=True, kw_only=True):
    id: str


@pytest.mark.parametrize(
    ("path", "below", "problems"),
    [
        ("/run/x", "", []),
        ("run/x", "", ["`run/x` is not an absolute path"]),
        ("/" + "x" * 106, "", []),
        ("/" + "x" * 107, "", ["is too long: sockets there would exceed 107 bytes"]),
        ("/" + "ä" * 54, "", ["is too long: sockets there would exceed 107 bytes"]),
        ("/" + "x" * 95, "charon.vici", ["is too long: sockets there would exceed 107 bytes"]),
        ("/" + "x" * 94, "charon.vici", []),
    ],
)
def test_paths_of_sockets(path: str, below: str, problems: list[str]) -> None:
    assert [found.problem for found in checks.socket_path("a.b", path, below)] == problems


def test_the_longest_path_is_what_the_system_binds(tmp_path: Path) -> None:
    room = checks.SUN_PATH - len(str(tmp_path)) - 1
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{tmp_path}/{'x' * room}")
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(OSError, match="too long"):
        sock.bind(f"{tmp_path}/{'x' * (room + 1)}")


def test_addresses_and_no_names() -> None:
    [found] = checks.addresses("pool.dns", ["10.9.0.1", "2001:db8::1", "dns.example"])
    assert found == ("pool.dns", "`dns.example` is not an IP address", "write addresses, not names")


@pytest.mark.parametrize(
    ("user", "found"),
    [
        (User(id="u", secret=WORD), None),
        (User(id="u", secret_file=PLACE), None),
        (User(id="u"), ("user.secret_file", "is missing")),
        (User(id="u", secret=WORD, secret_file=PLACE), ("user.secret_file", "stands beside secret")),
        (User(id="u", secret=""), ("user.secret", "is empty")),
    ],
)
def test_a_secret_is_in_one_place(user: User, found: tuple[str, str] | None) -> None:
    assert [problem[:2] for problem in checks.one_secret("user", user)] == ([found] if found else [])


def test_a_repr_shows_who_and_where_and_never_the_secret() -> None:
    assert repr(User(id="u", secret=WORD)) == f"User(secret={HIDDEN}, secret_file=None, id='u')"
    assert repr(User(id="u", secret_file=PLACE)) == f"User(secret=None, secret_file={PLACE!r}, id='u')"


def test_the_admin_socket_lies_in_the_runtime_directory_unless_it_is_named() -> None:
    assert Service().socket == Path("/run/service/admin.sock")
    assert Service(runtime="/run/other").socket == Path("/run/other/admin.sock")
    assert Service(admin="/run/a.sock").socket == Path("/run/a.sock")
    assert Service().directory == Path("/run/service")


@pytest.mark.parametrize("field", ["instance", "other"])
def test_names_that_need_care_and_keys_that_nobody_knows_are_refused(field: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"regex|unknown field"):
        msgspec.convert({field: "a/b"}, Service)
