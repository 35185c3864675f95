# SPDX-License-Identifier: Apache-2.0
"""The admin API over a real Unix socket: what is answered, what is refused, and in which words."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tpkt.daemon import api


async def _echo(body: Mapping[str, Any]) -> object:
    return {"got": dict(body)}


async def _refuse(_: Mapping[str, Any]) -> object:
    raise api.ApiError("the tunnel is down; run `up` first")


async def _break(_: Mapping[str, Any]) -> object:
    raise KeyError("a fault of ours")


ROUTES: dict[str, api.Handler] = {"POST /echo": _echo, "GET /refuse": _refuse, "GET /break": _break}


async def test_an_object_goes_there_and_back(tmp_path: Path) -> None:
    async with api.Server(tmp_path / "s", ROUTES):
        assert await api.call(tmp_path / "s", "POST /echo", {"a": [1, "ü"]}) == {"got": {"a": [1, "ü"]}}


async def test_only_the_owner_may_connect(tmp_path: Path) -> None:
    async with api.Server(tmp_path / "run" / "s", ROUTES):
        assert stat.S_IMODE((tmp_path / "run" / "s").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700


async def test_a_refusal_arrives_in_the_daemons_own_words(tmp_path: Path) -> None:
    async with api.Server(tmp_path / "s", ROUTES):
        with pytest.raises(api.ApiError, match="the tunnel is down; run `up` first"):
            await api.call(tmp_path / "s", "GET /refuse")


async def test_a_fault_of_the_daemon_points_to_its_log(tmp_path: Path) -> None:
    async with api.Server(tmp_path / "s", ROUTES):
        with pytest.raises(api.ApiError, match="HTTP 500; see its log"):
            await api.call(tmp_path / "s", "GET /break")


@pytest.mark.parametrize("body", [b"[1]", b"{", b"\xff"])
async def test_a_request_that_is_no_json_object_is_refused_by_name(tmp_path: Path, body: bytes) -> None:
    async with api.Server(tmp_path / "s", ROUTES):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(tmp_path / "s"))
            raw.setblocking(False)
            request = b"POST /echo HTTP/1.1\r\nHost: d\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            raw.send(request)
            answer = await _receive(raw)
    assert answer.startswith(b"HTTP/1.1 409")
    assert b"is not a JSON object" in answer


async def _receive(raw: socket.socket) -> bytes:
    async with asyncio.timeout(5):
        answer = b""
        while b"error" not in answer:
            answer += await asyncio.get_running_loop().sock_recv(raw, 4096)
    return answer


async def test_no_daemon_is_said_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(api.ApiError, match="no daemon answers; start it with its `run` command"):
        await api.call(tmp_path / "s", "GET /status")


async def test_a_hung_daemon_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "s"))
        deaf.listen()
        with pytest.raises(api.ApiError, match=r"no answer within 0\.2 s"):
            await api.call(tmp_path / "s", "GET /status", seconds=0.2)


async def test_a_second_daemon_is_refused_and_the_first_keeps_its_socket(tmp_path: Path) -> None:
    async with api.Server(tmp_path / "s", ROUTES):
        with pytest.raises(api.AlreadyRunning, match="stop it first"):
            async with api.Server(tmp_path / "s", ROUTES):
                pass
        assert await api.call(tmp_path / "s", "POST /echo") == {"got": {}}


async def test_the_socket_of_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
    async with api.Server(tmp_path / "s", ROUTES):
        assert await api.call(tmp_path / "s", "POST /echo") == {"got": {}}
    assert not (tmp_path / "s").exists()
