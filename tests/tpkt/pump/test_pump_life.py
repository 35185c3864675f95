# SPDX-License-Identifier: Apache-2.0
"""A pump's life: how it starts, what it refuses and with which cure, its events, and that nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import threading
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from tests.lab.wait import until, until_async
from tests.tpkt.pump.rig import GW, POOL4, SECONDS, Maker, esp, ike
from tpkt.daemon.tasks import create_task
from tpkt.errors import CloseReason, MisuseError
from tpkt.pump import Banning, EventKind, Limits, Pump, PumpConfig, PumpError, PumpEvent

pytestmark = pytest.mark.root


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def pump_threads(file: str = "comm") -> dict[str, str]:
    """The pump's threads by name, with what /proc says in `file`."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # one that has just ended
            name = Path(task, "comm").read_text().strip()
            if name.startswith("pump-"):
                found[name] = Path(task, file).read_text()
    return found


def test_nothing_is_left_of_a_closed_pump(make: Maker) -> None:
    with make() as warm_up:
        warm_up.listen()
    before = descriptors()
    for workers in (1, 3):
        with make(workers=workers) as rig:
            port, charon = rig.listen(), rig.charon()
            assert sorted(pump_threads()) == [f"pump-{number}" for number in range(workers)]
            for number in range(10):
                peer = rig.connect(port)
                peer.send(esp(50, number))
                flow = charon.recvfrom(100)[1]
            for _ in range(2000):
                charon.sendto(esp(1400), flow)  # something is queued when it ends
            rig.connect(port).send_bytes(b"\x01\x00\x08\x00half a frame")
            rig.pump.close()
            # A thread that was joined is listed for a moment longer.
            until(lambda: not pump_threads(), SECONDS, "the threads are gone")
            assert {event.reason for event in rig.pump.poll_events() if event.kind is EventKind.CLOSED} == {
                CloseReason.SHUTDOWN
            }
            assert peer.read_all() is not None
            rig.pump.close()  # a second time is harmless
        assert descriptors() == before


def test_worker_threads_leave_signals_to_python(make: Maker) -> None:
    with make(workers=2):
        statuses = pump_threads("status").values()
        assert len(statuses) == 2
        for status in statuses:
            blocked = int(dict(line.split(":", 1) for line in status.splitlines())["SigBlk"], 16)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
                assert blocked & 1 << (number - 1)


async def test_events_are_given_as_they_happen_and_end_with_the_pump(make: Maker) -> None:
    seen: list[PumpEvent] = []
    with make() as rig:

        async def read() -> None:
            async for event in rig.pump.events():
                seen.append(event)

        before = descriptors()
        reader = create_task(read(), name="events")
        port, charon = rig.listen(), rig.charon()
        peer = rig.connect(port)
        peer.send(ike(100))
        await until_async(
            lambda: any(event.kind is EventKind.FIRST_IKE for event in seen), SECONDS, "the first IKE message"
        )
        rig.pump.close()
        async with asyncio.timeout(SECONDS):
            await reader
        assert charon.fileno() != -1
        assert len(descriptors() - before) < 5
    assert [event.kind for event in seen] == [
        EventKind.ACCEPTED,
        EventKind.IDENTIFIED,
        EventKind.FIRST_IKE,
        EventKind.CLOSED,
    ]
    assert [event.at for event in seen] == sorted(event.at for event in seen)
    assert seen[-1].reason is CloseReason.SHUTDOWN
    assert [event async for event in rig.pump.events()] == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(rig.pump.event_fd)


def test_the_event_descriptor_is_readable_while_there_are_events(make: Maker) -> None:
    with make() as rig:
        os.set_blocking(rig.pump.event_fd, True)
        port = rig.listen()
        rig.connect(port)
        assert os.eventfd_read(rig.pump.event_fd) >= 1
        os.set_blocking(rig.pump.event_fd, False)
        assert [event.kind for event in rig.pump.poll_events()] == [EventKind.ACCEPTED]
        assert rig.pump.poll_events() == []


def test_unread_events_are_bounded_and_their_loss_is_told(make: Maker) -> None:
    kept = 16_384
    with make(
        accepts_per_second_per_source=0, half_identified_per_source=1024, banning=Banning(closes=0)
    ) as rig:
        port = rig.listen()
        for _ in range(kept):  # each gives up to three: accepted, identified, closed
            peer = rig.connect(port)
            peer.send_bytes(b"\x01\x00\x00\x00")
            peer.reset()
            if rig.pump.counters()["events_lost"]:
                break
        events = rig.pump.poll_events()
        assert len(events) == kept + 1
        assert events[-1].kind is EventKind.LOST
        rig.connect(port)
        assert rig.event(EventKind.ACCEPTED).connection != 0


def test_a_port_that_is_taken_is_named(make: Maker) -> None:
    with make(workers=2) as rig:
        port = rig.listen()
        with pytest.raises(PumpError, match=rf"listen {GW}:{port}: cannot bind: .*in use; .*`ss -lntup`"):
            rig.home.call(rig.pump.listen, GW, port)
        with pytest.raises(PumpError, match=r"cannot bind: .*; no interface has this address"):
            rig.home.call(rig.pump.listen, "203.0.113.9", 80)
        with pytest.raises(MisuseError, match="no IPv4 or IPv6 address"):
            rig.pump.listen("gateway.example", 80)
        with pytest.raises(MisuseError, match="port 70000"):
            rig.pump.listen(GW, 70_000)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_pump_on_the_same_link_is_refused(make: Maker, workers: int) -> None:
    with make(workers=workers):
        before = descriptors()
        with (
            pytest.raises(PumpError, match=r"link: cannot bind UDP port 500 over IPv4: .*in use"),
            make(workers=workers),
        ):
            raise AssertionError("it started")
        assert descriptors() == before


def config(namespace: str, **options: Any) -> PumpConfig:
    return PumpConfig(role="gateway", namespace=namespace, pool4=POOL4, **options)


@pytest.mark.parametrize(
    ("namespace", "options", "sentence"),
    [
        ("/run/netns/there-is-none", {}, "namespace /run/netns/there-is-none: .*; bring the link up first"),
        ("/dev/null", {}, "cannot enter its network namespace /dev/null: .*; bring the link up first"),
        ("/proc/self/ns/net", {"congestion": "owl"}, "congestion control 'owl': .*; load its module"),
    ],
)
def test_what_keeps_a_pump_from_starting_is_named(
    namespace: str, options: dict[str, Any], sentence: str
) -> None:
    before = descriptors()
    pump = Pump(config(namespace, **options))
    with pytest.raises(PumpError, match=sentence):
        pump.start()
    until(lambda: not pump_threads(), SECONDS, "the threads are gone")
    pump.close()
    assert descriptors() == before


def test_a_pump_without_privileges_says_which_it_needs(make: Maker) -> None:
    with make() as rig:
        namespace = rig.pump.config.namespace
    said: list[str] = []

    def unprivileged() -> None:
        _drop_capabilities_of_this_thread()
        pump = Pump(config(namespace))
        try:
            pump.start()
        except PumpError as error:
            said.append(str(error))
        finally:
            pump.close()

    thread = threading.Thread(target=unprivileged)
    thread.start()
    thread.join()
    assert len(said) == 1
    assert "cannot enter its network namespace" in said[0]
    assert said[0].endswith("run as root, or with CAP_NET_ADMIN and CAP_SYS_ADMIN")


def _drop_capabilities_of_this_thread() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    nothing = (ctypes.c_uint32 * 6)()
    if libc.capset(header, nothing) == -1:
        raise OSError(ctypes.get_errno(), "capset")


def test_a_pump_that_does_not_run_can_be_asked_nothing() -> None:
    pump = Pump(config("/run/netns/none"))
    for ask in (pump.counters, pump.connections, lambda: pump.close_connection(1)):
        with pytest.raises(PumpError, match="the pump does not run; start\\(\\) it first"):
            ask()
    assert pump.poll_events() == []
    pump.close()
    with pytest.raises(MisuseError, match="lives once"):
        pump.start()


def test_an_unknown_connection_is_not_found(make: Maker) -> None:
    with make(workers=2) as rig:
        for number in (0, 1, -1 & (1 << 63) - 1, 1 << 32, 63 << 24):
            assert rig.pump.connection(number) is None
            assert not rig.pump.close_connection(number)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"role": "proxy"}, "role is 'proxy'"),
        ({"namespace": ""}, "namespace is empty"),
        ({"workers": 0}, "workers is 0: it must be between 1 and 64"),
        ({"pool4": None}, "a gateway needs pool4, pool6 or both"),
        ({"role": "client"}, "a client has no pools"),
        ({"pool4": IPv4Network("198.18.0.0/28")}, "pool4 198.18.0.0/28 has 16 addresses: too few"),
        ({"pool4": None, "pool6": IPv6Network("2001:2::/127")}, "pool6 2001:2::/127 has 2 addresses"),
        ({"reserved": 0}, "reserved is 0"),
        ({"notsent_lowat": 1}, "notsent_lowat is 1"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_by_name(options: dict[str, Any], sentence: str) -> None:
    whole = {"role": "gateway", "namespace": "/run/netns/x", "pool4": POOL4} | options
    with pytest.raises(MisuseError, match=sentence):
        PumpConfig(**whole)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"connections": 0}, "connections is 0"),
        ({"half_identified": 0}, "half_identified is 0"),
        ({"half_identified_per_source": 0}, "half_identified_per_source is 0"),
        ({"accepts_per_second_per_source": -1}, "accepts_per_second_per_source is -1"),
        ({"first_bytes_seconds": 0}, "first_bytes_seconds is 0"),
        ({"frame_seconds": float("nan")}, "frame_seconds is nan"),
        ({"ike_seconds": -3}, "ike_seconds is -3"),
        ({"queue_bytes": 100}, "queue_bytes is 100"),
        ({"worker_queue_bytes": 100_000}, "worker_queue_bytes is 100000: it must be between 262144"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused_by_name(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(MisuseError, match=sentence):
        Limits(**options)
