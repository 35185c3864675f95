# SPDX-License-Identifier: Apache-2.0
"""The demo's judgement: a good run passes, and each thing that goes wrong fails under its own name."""

from __future__ import annotations

import msgspec
import pytest

from tests.lab.report import EspFrames, Moved, Ping, Report, Rung, Voice, verdicts

SIZE = 1000
GOOD = Report(
    rungs=[
        Rung(rung="udp", result="blocked", seconds=1.8),
        Rung(rung="tcp", port=80, result="established", seconds=0.1),
    ],
    inner_address="10.66.0.1",
    ping=Ping(sent=10, received=10),
    download_bytes=SIZE,
    voice=Voice(sent=500, received=500, p50_ms=0.5, p99_ms=4.0),
    esp_frames=EspFrames(up=7, down=9),
    moved_to_udp=Moved(ok=True, lost_packets=2, new_ike_sa=False),
    esp="userspace",
)
TCP = GOOD.rungs[1]
ROWS: list[tuple[str, dict[str, object]]] = [
    ("UDP 4500", {"rungs": [Rung(rung="udp", result="blocked", seconds=3.1), TCP]}),
    ("UDP 4500", {"rungs": [Rung(rung="udp", result="blocked"), TCP]}),
    ("UDP 4500", {"rungs": [Rung(rung="udp", result="established", seconds=0.1), TCP]}),
    ("UDP 4500", {"rungs": [TCP]}),
    ("TCP 80", {"rungs": GOOD.rungs[:1]}),
    ("TCP 80", {"rungs": [GOOD.rungs[0], Rung(rung="tcp", port=443, result="established", seconds=1)]}),
    ("inner address", {"inner_address": ""}),
    ("ping", {"ping": Ping(sent=10, received=9)}),
    ("ping", {"ping": Ping(sent=0, received=0)}),
    ("HTTP download", {"download_bytes": SIZE - 1}),
    ("voice", {"voice": Voice(sent=500, received=490, p50_ms=0.5, p99_ms=4.0)}),
    ("voice", {"voice": Voice(sent=0, received=0, p50_ms=0, p99_ms=0)}),
    ("ESP in frames", {"esp_frames": EspFrames(up=0, down=9)}),
    ("back on UDP", {"moved_to_udp": Moved(ok=False, lost_packets=0, new_ike_sa=False)}),
    ("back on UDP", {"moved_to_udp": Moved(ok=True, lost_packets=11, new_ike_sa=False)}),
    ("IKE_SA", {"moved_to_udp": Moved(ok=True, lost_packets=0, new_ike_sa=True)}),
]


def test_a_good_run_holds_in_every_line() -> None:
    assert all(verdict.held for verdict in verdicts(GOOD, download_size=SIZE, first_esp_seconds=3.0))


@pytest.mark.parametrize(("what", "change"), ROWS)
def test_whatever_goes_wrong_fails_its_own_line_and_no_other(what: str, change: dict[str, object]) -> None:
    report = msgspec.structs.replace(GOOD, **change)
    found = verdicts(report, download_size=SIZE, first_esp_seconds=3.0)
    assert [verdict.what for verdict in found if not verdict.held] == [what]


def test_esp_that_comes_late_fails_its_own_line() -> None:
    found = verdicts(GOOD, download_size=SIZE, first_esp_seconds=5.1)
    assert [verdict.what for verdict in found if not verdict.held] == ["first ESP over TCP"]


def test_the_file_has_the_agreed_keys_and_a_port_only_where_there_is_one() -> None:
    written = msgspec.to_builtins(GOOD)
    assert written["rungs"][0] == {"rung": "udp", "result": "blocked", "seconds": 1.8}
    assert written["rungs"][1] == {"rung": "tcp", "port": 80, "result": "established", "seconds": 0.1}
    assert list(written)[1:] == [
        "inner_address",
        "ping",
        "download_bytes",
        "voice",
        "esp_frames",
        "moved_to_udp",
        "esp",
    ]
