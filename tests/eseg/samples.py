# SPDX-License-Identifier: Apache-2.0
"""Connections as the pump reports them; fields that a test does not name are filled in."""

from __future__ import annotations

import dataclasses
from typing import Any

from tpkt.pump import ConnectionInfo, ConnectionState
from tpkt.sniff import Protocol

_CONNECTION = ConnectionInfo(
    id=1,
    worker=0,
    state=ConnectionState.OPEN,
    protocol=Protocol.TPKT,
    remote=("192.0.2.2", 40000),
    local=("198.51.100.2", 80),
    flow="198.18.0.20",
    since=100.0,
    last_active=100.0,
    stream_to_link_bytes=0,
    stream_to_link_frames=0,
    stream_to_link_esp_frames=0,
    link_to_stream_bytes=0,
    link_to_stream_frames=0,
    link_to_stream_esp_frames=0,
    queued_bytes=0,
    dropped=0,
    dropped_late=0,
    dropped_full=0,
    queued_expedited=0,
    queued_bulk=0,
    unsent_limit=0,
)


def connection(**fields: Any) -> ConnectionInfo:
    """Give a connection of a TPKT' client."""
    return dataclasses.replace(_CONNECTION, **fields)
