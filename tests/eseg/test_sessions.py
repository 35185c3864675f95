# SPDX-License-Identifier: Apache-2.0
"""Who is connected: connections and IKE_SAs joined by flow address, as a table."""

from __future__ import annotations

from ipaddress import ip_network

import msgspec
import pytest

from charon.sas import IkeSa
from eseg import sessions
from tests.charon.samples import child, ike
from tests.eseg.samples import connection
from tpkt.pump import ConnectionInfo, ConnectionState
from tpkt.sniff import Protocol

POOLS = (ip_network("198.18.0.0/15"), ip_network("2001:2::/64"))
# what a row shows of a session: protocol, real client, connection, IKE_SA, inner addresses
Row = tuple[str, str, int | None, int | None, tuple[str, ...]]

TABLE: dict[str, tuple[list[ConnectionInfo], list[IkeSa], list[Row]]] = {
    "nobody": ([], [], []),
    "a client over TCP": (
        [connection(id=7)],
        [ike(unique_id=3)],
        [("tpkt", "192.0.2.2", 7, 3, ("10.66.0.1",))],
    ),
    "an RFC 9329 client over IPv6": (
        [connection(protocol=Protocol.RFC9329, remote=("2001:db8::2", 1), flow="2001:2::20")],
        [ike(remote_host="2001:2::20")],
        [("rfc9329", "2001:db8::2", 1, 1, ("10.66.0.1",))],
    ),
    "a client over plain UDP": (
        [],
        [ike(remote_host="192.0.2.9", remote_port=61000)],
        [("udp", "192.0.2.9", None, 1, ("10.66.0.1",))],
    ),
    "a client whose TCP connection is gone": (
        [],
        [ike(remote_host="198.18.0.99")],
        [("detached", "", None, 1, ("10.66.0.1",))],
    ),
    "a stranger who has not told the protocol": (
        [connection(protocol=Protocol.UNKNOWN, state=ConnectionState.NEW, flow="")],
        [],
        [("unknown", "192.0.2.2", 1, None, ())],
    ),
    "a client that came back on a new connection, the old one still open": (
        [connection(id=1), connection(id=2, flow="198.18.0.21", since=200.0)],
        [ike(remote_host="198.18.0.21")],
        [("tpkt", "192.0.2.2", 1, None, ()), ("tpkt", "192.0.2.2", 2, 1, ("10.66.0.1",))],
    ),
    "an IKE_SA that is being replaced by its successor": (
        [connection()],
        [ike(unique_id=1, state="REKEYED"), ike(unique_id=2)],
        [("tpkt", "192.0.2.2", 1, 2, ("10.66.0.1",))],
    ),
    "an IKE_SA that is not yet authenticated": (
        [connection()],
        [ike(state="CONNECTING", remote_vips=())],
        [("tpkt", "192.0.2.2", 1, 1, ())],
    ),
    "two IKE_SAs of one client on one connection": (
        [connection()],
        [ike(unique_id=1), ike(unique_id=2, remote_vips=("10.66.0.2",))],
        [("tpkt", "192.0.2.2", 1, 1, ("10.66.0.1",)), ("tpkt", "192.0.2.2", 1, 2, ("10.66.0.2",))],
    ),
    "a connection charon tries to reach": (
        [],
        [ike(remote_host="%any", state="CONNECTING")],
        [("udp", "%any", None, 1, ("10.66.0.1",))],
    ),
}


@pytest.mark.parametrize(("connections", "sas", "rows"), TABLE.values(), ids=TABLE)
def test_sessions_of(connections: list[ConnectionInfo], sas: list[IkeSa], rows: list[Row]) -> None:
    joined = sessions.join(connections, sas, pools=POOLS, now=300.0)
    assert [
        (
            session.protocol,
            session.client,
            session.connection.id if session.connection else None,
            session.ike.unique_id if session.ike else None,
            session.inner,
        )
        for session in joined
    ] == rows


def test_a_session_carries_what_either_side_counted() -> None:
    (session,) = sessions.join(
        [connection(stream_to_link_esp_frames=4, link_to_stream_bytes=900, last_active=290.0)],
        [ike(children=(child(bytes_in=700, packets_out=3),))],
        pools=POOLS,
        now=300.0,
    )
    shown = msgspec.to_builtins(session)
    assert shown["flow"] == "198.18.0.20"
    assert shown["client_port"] == 40000
    assert shown["connection"]["connected_seconds"] == 200.0
    assert shown["connection"]["idle_seconds"] == 10.0
    assert shown["connection"]["stream_to_link_esp_frames"] == 4
    assert shown["connection"]["link_to_stream_bytes"] == 900
    assert shown["connection"]["listener"] == "198.51.100.2"
    assert shown["children"][0]["bytes_in"] == 700
    assert shown["children"][0]["packets_out"] == 3
    assert shown["ike"]["established_seconds"] == 5
    assert shown["ike"]["remote_id"] == "ue@example.org"


def test_only_sessions_with_an_ike_sa_are_counted_by_protocol() -> None:
    joined = sessions.join(
        [connection(), connection(id=2, flow="198.18.0.21")],
        [ike(), ike(unique_id=2, remote_host="192.0.2.9")],
        pools=POOLS,
        now=300.0,
    )
    assert sessions.protocols(joined) == {"tpkt": 1, "udp": 1}
