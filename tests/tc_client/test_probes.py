# SPDX-License-Identifier: Apache-2.0
"""Probes against real sockets: what each kind of peer is recognised as, and in which words."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from tc_client.probes import open_tcp, probe_stream, probe_udp
from tc_client.rungs import RungError, Why
from tests.tc_client import responder
from tpkt.wire import NON_ESP_MARKER

HERE, HERE_V6 = ip_address("127.0.0.1"), ip_address("::1")


def answers(request: bytes) -> list[bytes]:
    """A gateway on any port: the marker belongs to 4500 alone."""
    return [responder.response(request)]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_responder_on_udp_is_heard(host: str) -> None:
    async with responder.udp(answers, host=host) as (port, _):
        answer = await probe_udp(ip_address(host), port, seconds=2)
    assert answer.meaning == "NO_PROPOSAL_CHOSEN"
    assert 0 < answer.rtt < 2


@pytest.mark.parametrize("lost", [1, 2])
async def test_a_lost_datagram_is_not_a_blocked_path(lost: int) -> None:
    async with responder.udp(answers, lost=lost) as (port, heard):
        await probe_udp(HERE, port, seconds=1.0)
    assert len(heard.received) == lost + 1
    assert len(set(heard.received)) == 1, "a retransmission is the same message"


async def test_on_udp_4500_the_question_has_the_marker_and_the_answer_must_have_it() -> None:
    def marked(request: bytes) -> list[bytes]:
        assert request.startswith(NON_ESP_MARKER)
        bare = responder.response(request[4:])
        return [bare, NON_ESP_MARKER + bare]

    try:
        async with responder.udp(marked, port=4500, host="127.0.0.45") as (port, _):
            await probe_udp(ip_address("127.0.0.45"), port, seconds=1)
    except OSError:
        pytest.skip("somebody has UDP 4500 of all addresses here")


UDP_FAILURES: list[tuple[str, Callable[[bytes], list[bytes]], Why, str]] = [
    ("a box that drops", lambda _: [], Why.SILENT, r"UDP \d+: no answer in 0.4 s"),
    ("an echo", lambda r: [r], Why.NOT_IKE, r"UDP \d+: something answers that does not speak IKE"),
    ("DNS, say", lambda _: [b"\x12\x34\x81\x80"], Why.NOT_IKE, r"does not speak IKE"),
    (
        "an answer to somebody else",
        lambda r: [responder.response(r, spi=b"somebody")],
        Why.NOT_IKE,
        r"does not speak IKE",
    ),
]


@pytest.mark.parametrize(("sentence", "behaviour", "why", "words"), UDP_FAILURES)
async def test_what_udp_meets_is_told_apart(
    sentence: str, behaviour: Callable[[bytes], list[bytes]], why: Why, words: str
) -> None:
    async with responder.udp(behaviour) as (port, _):
        with pytest.raises(RungError, match=words) as caught:
            await probe_udp(HERE, port, seconds=0.4)
    assert caught.value.failure.why is why


@pytest.mark.parametrize("host", [HERE, HERE_V6])
async def test_an_icmp_refusal_ends_a_udp_probe_at_once_and_names_who_sent_it(host: object) -> None:
    address = ip_address(str(host))
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as taken:
        taken.bind((str(address), 0))
        port = taken.getsockname()[1]
    async with asyncio.timeout(5):  # the deadline of the probe is far away
        with pytest.raises(RungError, match=rf"{address} refuses it \(ICMP port unreachable\)") as caught:
            await probe_udp(address, port, seconds=60)
    assert caught.value.failure.why is Why.REFUSED


async def test_a_gateway_on_tcp_is_heard_on_the_connection_that_is_then_used() -> None:
    async with responder.tcp(responder.ike) as port:
        sock = await open_tcp(HERE, port, seconds=2)
        stream = await probe_stream(sock, "TCP 80", seconds=2)
        assert stream.sock is sock
        assert stream.leftover == b""
        assert stream.answer.meaning == "NO_PROPOSAL_CHOSEN"
        sock.close()


async def test_what_comes_before_the_answer_is_skipped_and_what_comes_behind_it_is_kept() -> None:
    async with responder.tcp(responder.ike_and_more) as port:
        sock = await open_tcp(HERE, port, seconds=2)
        stream = await probe_stream(sock, "TCP 80", seconds=2)
        received = stream.leftover
        while len(received) < len(b"\x01\x00\x00\x0ctail-"):
            received += await asyncio.get_running_loop().sock_recv(sock, 100)
        assert received == b"\x01\x00\x00\x0ctail-"
        sock.close()


STREAM_FAILURES = [
    (responder.silent, Why.SILENT, r"TCP 80: connects, and its first frame is not answered in 0.3 s"),
    (responder.closing, Why.CLOSED, r"TCP 80: connects, and is closed at its first frame"),
    (responder.resetting, Why.RESET, r"TCP 80: connects, and is reset at its first frame"),
    (responder.http, Why.NOT_IKE, r"a web server or proxy answers \(HTTP/1.1 400 Bad Request\)"),
    (responder.babbling, Why.NOT_IKE, r"does not speak TPKT' \(SSH-2.0-OpenSSH_9.2\)"),
    (responder.babbling_in_frames, Why.NOT_IKE, r"answers \d+ bytes that are no IKE, and closes"),
]


@pytest.mark.parametrize(("behaviour", "why", "words"), STREAM_FAILURES)
async def test_what_a_stream_meets_is_told_apart(
    behaviour: responder.Behaviour, why: Why, words: str
) -> None:
    async with responder.tcp(behaviour) as port:
        sock = await open_tcp(HERE, port, seconds=2)
        with pytest.raises(RungError, match=words) as caught:
            await probe_stream(sock, "TCP 80", seconds=0.3)
        assert caught.value.failure.why is why
        assert sock.fileno() == -1, "a connection that failed is closed"


async def test_a_port_where_nobody_listens_is_told_from_one_that_swallows() -> None:
    async with responder.tcp(responder.silent) as port:
        pass
    with pytest.raises(RungError, match=r"TCP .*refuses it") as caught:
        await open_tcp(HERE, port, seconds=2)
    assert caught.value.failure.why is Why.REFUSED


async def test_a_cancelled_probe_leaves_no_socket() -> None:
    async with responder.tcp(responder.silent) as port:
        sock = await open_tcp(HERE, port, seconds=2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await probe_stream(sock, "TCP 80", seconds=30)
        assert sock.fileno() == -1
