# SPDX-License-Identifier: Apache-2.0
"""Event messages as charon sends them, what becomes of them, and a queue that never grows without limit."""

from __future__ import annotations

import threading
from typing import Any

from charon import ChildRekey, ChildUpDown, IkeRekey, IkeUpdate, IkeUpDown, Log, Missed, Subscription
from charon.events import parse

CHILD: dict[str, Any] = {"name": b"net", "uniqueid": b"7", "spi-in": b"c0000001", "bytes-in": b"84"}
SA: dict[str, Any] = {
    "uniqueid": b"3",
    "state": b"ESTABLISHED",
    "remote-host": b"198.18.0.7",
    "remote-port": b"4500",
    "initiator": b"yes",
    "remote-vips": [b"10.66.0.1"],
    "tasks-active": [b"IKE_DPD"],
    "a-key-of-the-future": b"1",
}


def test_ike_up_and_down() -> None:
    [up] = parse("ike-updown", {"up": b"yes", "clients": SA})
    assert isinstance(up, IkeUpDown)
    assert up.up
    assert (up.sa.name, up.sa.unique_id, up.sa.remote_host) == ("clients", 3, "198.18.0.7")
    assert up.sa.remote_vips == ("10.66.0.1",)
    assert up.sa.tasks == ("IKE_DPD",)
    assert up.sa.established_seconds is None
    [down] = parse("ike-updown", {"clients": SA})
    assert isinstance(down, IkeUpDown)
    assert not down.up


def test_a_child_comes_with_its_sa() -> None:
    [event] = parse("child-updown", {"up": b"yes", "clients": {**SA, "child-sas": {"net-7": CHILD}}})
    assert isinstance(event, ChildUpDown)
    assert event.child.unique_id == 7
    assert event.child.bytes_in == 84
    assert event.child.use_in is None
    assert event.sa.children == (event.child,)


def test_rekeying_tells_old_and_new() -> None:
    [ike] = parse("ike-rekey", {"clients": {"old": SA, "new": {**SA, "uniqueid": b"4"}}})
    assert isinstance(ike, IkeRekey)
    assert (ike.old.unique_id, ike.new.unique_id) == (3, 4)
    pair = {"old": CHILD, "new": {**CHILD, "uniqueid": b"8"}}
    [child] = parse("child-rekey", {"clients": {**SA, "child-sas": {"net": pair}}})
    assert isinstance(child, ChildRekey)
    assert (child.old.unique_id, child.new.unique_id) == (7, 8)


def test_an_update_tells_where_to_and_the_sa_where_from() -> None:
    addresses = {
        "local-host": b"192.0.2.1",
        "local-port": b"4500",
        "remote-host": b"198.18.0.9",
        "remote-port": b"4500",
    }
    [event] = parse("ike-update", {**addresses, "clients": SA})
    assert isinstance(event, IkeUpdate)
    assert (event.sa.remote_host, event.remote_host) == ("198.18.0.7", "198.18.0.9")


def test_log_lines_may_hold_any_byte() -> None:
    [event] = parse("log", {"group": b"IKE", "level": b"1", "thread": b"9", "msg": b"caf\xe9"})
    assert event == Log(group="IKE", level=1, thread=9, ike_name="", ike_id=None, message="caf\\xe9")


def test_events_of_another_kind_are_skipped() -> None:
    assert parse("alert", {"clients": SA}) == []


async def test_a_full_queue_becomes_one_word_about_it() -> None:
    events = Subscription(limit=3)
    for number in range(5):
        events.put(Missed(str(number)))
    events.close()
    assert [event async for event in events] == [Missed("the queue of 3 events was full"), Missed("4")]


async def test_a_reader_is_woken_from_another_thread_and_ended_by_close() -> None:
    events = Subscription()

    def charon() -> None:
        events.put(Missed("there"))
        events.close()

    thread = threading.Thread(target=charon)
    thread.start()
    assert [event async for event in events] == [Missed("there")]
    thread.join()
    events.put(Missed("too late"))
    assert [event async for event in events] == []
