# SPDX-License-Identifier: Apache-2.0
"""What is asked of the machine before anything is made: ports; and what is told of it."""

from __future__ import annotations

import logging
import os
import socket
from ipaddress import ip_address
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from eseg.config import Config, Http, Listen
from eseg.findings import Machine
from eseg.front import log
from eseg.listener import holder, unusable
from eseg.machine import web_backend
from eseg.metrics import page
from eseg.ranges import endpoint
from eseg.systemd import notify
from tests.eseg.test_cli import sample_status
from tpkt.errors import CloseReason
from tpkt.pump import EventKind, PumpEvent
from tpkt.sniff import Protocol


@pytest.mark.parametrize(
    ("taken", "wanted", "collides"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.2", "127.0.0.1", False),
        ("::1", "::1", True),
        ("::1", "::", True),
    ],
)
def test_a_port_in_use_is_told_with_its_holder(taken: str, wanted: str, collides: bool) -> None:
    family = socket.AF_INET6 if ":" in taken else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        # As another gateway would: without asking first, a second socket could be bound beside it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((taken, 0))
        sock.listen()
        port = sock.getsockname()[1]
        problems = list(unusable([Listen(address=wanted, port=port)]))
    if not collides:
        assert problems == []
        return
    ((key, problem, cure),) = problems
    assert key == "listen[0].port"
    assert f"(pid {os.getpid()})" in problem
    assert cure


def test_a_port_that_nobody_has_has_no_holder() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # bound and not listening
        assert holder(ip_address("127.0.0.1"), sock.getsockname()[1]) is None


@pytest.mark.parametrize("listens", [True, False])
def test_the_doctor_asks_whether_the_web_backend_answers(listens: bool) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        if listens:
            sock.listen()
        backend = f"127.0.0.1:{sock.getsockname()[1]}"
        config = Config(listen=(Listen(address="127.0.0.1"),), http=Http(backend=backend))
        (check,) = web_backend(Machine(path=Path("eseg.toml"), config=config, status=None))
    assert check.result == ("ok" if listens else "warn")
    assert backend in check.found
    assert listens or check.cure


def test_without_a_web_backend_there_is_nothing_to_ask() -> None:
    config = Config(listen=(Listen(address="127.0.0.1"),))
    assert list(web_backend(Machine(path=Path("eseg.toml"), config=config, status=None))) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("[::1]:9464", ("::1", 9464)),
        ("::1:9464", None),
        ("[127.0.0.1]:1", None),
        ("127.0.0.1", None),
        ("127.0.0.1:0", None),
        ("127.0.0.1:65536", None),
        ("localhost:80", None),
        ("127.0.0.1:²", None),
        ("", None),
    ],
)
def test_endpoints(text: str, found: tuple[str, int] | None) -> None:
    assert endpoint(text) == found


def test_a_scrape_is_what_prometheus_reads() -> None:
    families = {
        family.name: {frozenset(sample.labels.values()): sample.value for sample in family.samples}
        for family in text_string_to_metric_families(page(sample_status(), {"tpkt": 2}).decode())
    }
    assert families["eseg_healthy"] == {frozenset(): 0.0}
    assert families["eseg_closed"][frozenset({"http"})] == 2.0
    assert families["eseg_dropped"][frozenset({"link_to_stream", "queue_full"})] == 7.0
    assert families["eseg_bytes"][frozenset({"stream_to_link"})] == 1000.0
    assert families["eseg_relays_open"] == {frozenset(): 6.0}
    assert families["eseg_relay_to_client_bytes"] == {frozenset(): 5000.0}
    assert families["eseg_sessions"] == {frozenset({"tpkt"}): 2.0}
    assert families["eseg_deadline_closed"][frozenset({"no_ike_sa"})] == 1.0
    assert "eseg_ike_sas" not in families, "what is not known is not 0"


def event(kind: EventKind, reason: CloseReason = CloseReason.NONE) -> PumpEvent:
    remote, local = ("192.0.2.2", 40000), ("198.51.100.2", 80)
    return PumpEvent(kind, 1, reason, Protocol.TPKT, remote, local, "198.18.0.20", "0011", 1.0)


@pytest.mark.parametrize(
    ("told", "news", "level"),
    [
        (event(EventKind.FIRST_IKE), False, logging.INFO),
        (event(EventKind.CLOSED, CloseReason.FIN), True, logging.INFO),
        (event(EventKind.CLOSED, CloseReason.HTTP), False, logging.DEBUG),
        (event(EventKind.LIMIT, CloseReason.LIMIT_RATE), False, logging.WARNING),
        (event(EventKind.LINK_DOWN), False, logging.ERROR),
        (event(EventKind.ACCEPTED), False, logging.DEBUG),
    ],
)
def test_strangers_cannot_fill_the_log(
    caplog: pytest.LogCaptureFixture, told: PumpEvent, news: bool, level: int
) -> None:
    with caplog.at_level(logging.DEBUG, "eseg.front"):
        log(told, news=news)
    (record,) = caplog.records
    assert record.levelno == level


def test_systemd_is_told_when_it_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notify("READY=1")  # nobody asked
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1", "STATUS=ready")
        assert manager.recv(100) == b"READY=1\nSTATUS=ready"
    notify("READY=1")  # whoever asked is gone
