# SPDX-License-Identifier: Apache-2.0
"""The measuring tools measured: voice arithmetic against tables, services and calls over a real cable."""

from __future__ import annotations

import functools
import socket
import subprocess
import threading
import tomllib
from collections.abc import Iterator

import msgspec
import pytest

from tests.lab import services, toml, voice
from tests.lab.call import Call
from tests.lab.netns import Namespace, unique_prefix, veth
from tests.lab.services import Services

MS = 1_000_000


@pytest.fixture
def cable() -> Iterator[tuple[Namespace, Namespace]]:
    prefix = unique_prefix()
    near, far = Namespace(f"{prefix}-near"), Namespace(f"{prefix}-far")
    try:
        veth(near, "eth0", far, "eth0")
        near.ip("addr add 192.0.2.1/24 dev eth0")
        far.ip("addr add 192.0.2.2/24 dev eth0")
        yield near, far
    finally:
        near.delete()
        far.delete()


def test_delays_are_taken_one_way_and_over_both_directions() -> None:
    trips = [voice.Trip(n * 20 * MS, n * 20 * MS + 2 * MS, n * 20 * MS + 8 * MS) for n in range(100)]
    report = voice.evaluate(100, 100, trips)
    assert (report.up.p50_ms, report.down.p50_ms) == (2.0, 6.0)
    assert (report.p50_ms, report.p99_ms) == (6.0, 6.0)
    assert (report.jitter_ms, report.longest_gap_ms, report.lost) == (0.0, 20.0, 0)


def test_a_packet_lost_on_the_way_up_is_not_blamed_on_the_way_down() -> None:
    trips = [voice.Trip(n * MS, n * MS, n * MS) for n in range(9)]
    report = voice.evaluate(12, 10, trips)
    assert (report.up.sent, report.up.received) == (12, 10)
    assert (report.down.sent, report.down.received) == (10, 9)
    assert report.lost == 3


def test_an_interruption_shows_as_the_longest_gap() -> None:
    times = [0, 20, 40, 540, 560]
    report = voice.evaluate(5, 5, [voice.Trip(t * MS, t * MS, t * MS) for t in times])
    assert report.longest_gap_ms == 500.0


def test_jitter_is_smoothed_as_rfc_3550_says() -> None:
    assert voice.jitter([10.0, 26.0]) == 1.0  # a sixteenth of the first difference
    assert voice.jitter([5.0] * 50) == 0.0
    assert voice.jitter([]) == 0.0


def test_a_call_that_never_got_through_has_a_report_too() -> None:
    report = voice.evaluate(50, 0, [])
    assert (report.received, report.lost, report.p99_ms) == (0, 50, 0.0)


@pytest.mark.root
def test_a_call_over_a_cable_loses_nothing_and_says_when_it_is_up(cable: tuple[Namespace, Namespace]) -> None:
    near, far = cable
    with Services(far, "192.0.2.2"):
        command = voice.command("192.0.2.2", 1.0, source="192.0.2.1")
        call = near.popen(command, stdout=subprocess.PIPE, cwd=voice.REPOSITORY)
        output, _ = call.communicate(timeout=20)
    announced, _, result = output.decode().partition("\n")
    report = msgspec.json.decode(result, type=voice.Report)
    assert announced == "up"
    assert (report.sent, report.received, report.up.received) == (50, 50, 50)
    assert 0 < report.p50_ms <= report.p99_ms


@pytest.mark.root
def test_a_call_may_be_hung_up_and_what_was_said_until_then_counts(
    cable: tuple[Namespace, Namespace],
) -> None:
    near, far = cable
    with Services(far, "192.0.2.2"), Call(near, "192.0.2.2", 600, source="192.0.2.1") as call:
        call.until_up()
        report = call.hang_up()
    assert 0 < report.sent < 30_000
    assert report.received >= report.sent - 1


@pytest.mark.root
@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_a_file_arrives_whole(cable: tuple[Namespace, Namespace], size: int) -> None:
    near, far = cable
    with Services(far, "192.0.2.2"):
        assert services.fetch(near, "192.0.2.2", size, source="192.0.2.1") == size


@pytest.mark.root
def test_services_end_with_their_namespace_and_leave_no_process(cable: tuple[Namespace, Namespace]) -> None:
    _, far = cable
    running = Services(far, "192.0.2.2")
    assert len(far.pids()) == 2
    running.stop()
    assert far.pids() == []


def test_wrong_content_is_found_at_its_place() -> None:
    size = 100_000
    good = services.content(size)
    damaged = good[:777] + bytes([good[777] ^ 1]) + good[778:]
    for sent, verdict in ((good, size), (damaged, 777), (good[:-5], size - 5)):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.setblocking(True)
            serve = functools.partial(_answer, theirs, size, sent)
            thread = threading.Thread(target=serve)
            thread.start()
            assert services.check(ours, "host", size) == verdict
            thread.join(5)


def _answer(sock: socket.socket, announced: int, body: bytes) -> None:
    sock.recv(4096)
    sock.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % announced + body)
    sock.shutdown(socket.SHUT_WR)


def test_what_is_written_as_toml_is_read_back_the_same() -> None:
    document: dict[str, toml.Value] = {
        "listen": [{"address": "2001:db8::1", "port": 80}],
        "gateway": {"runtime": '/run/a "b"\\', "workers": 0, "seconds": 2.5, "on": True},
        "connection": [{"name": "c", "local": {"auth": "psk"}, "children": [{"local_ts": ["10.9.0.0/24"]}]}],
    }
    assert tomllib.loads(toml.dumps(document)) == document
