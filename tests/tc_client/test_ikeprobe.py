# SPDX-License-Identifier: Apache-2.0
"""The question a probe asks, byte by byte, and which answers count."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tc_client import ikeprobe
from tests.tc_client.responder import response
from tpkt.wire import NON_ESP_MARKER, Kind, ike_header_ok, kind_of, parse_ike_header

randoms = st.binary(min_size=ikeprobe.RANDOM_LENGTH, max_size=ikeprobe.RANDOM_LENGTH)
QUESTION = ikeprobe.ask(bytes(range(ikeprobe.RANDOM_LENGTH)))


@given(randoms)
def test_every_question_is_a_sound_ike_sa_init_with_a_spi(random: bytes) -> None:
    question = ikeprobe.ask(random)
    header = parse_ike_header(question.message)
    assert ike_header_ok(question.message)
    assert kind_of(question.datagram) is Kind.IKE
    assert (header.exchange, header.version, header.flags, header.message_id) == (34, 0x20, 0x08, 0)
    assert header.spi_i == question.spi != bytes(8)
    assert header.spi_r == bytes(8)


def test_the_payloads_are_sa_ke_and_nonce_and_fill_the_message() -> None:
    kinds, kind, offset = [], 33, 28
    while kind:
        kinds.append(kind)
        following = QUESTION.message[offset]
        offset += int.from_bytes(QUESTION.message[offset + 2 : offset + 4], "big")
        kind = following
    assert kinds == [33, 34, 40]
    assert offset == len(QUESTION.message)


def test_nothing_of_a_question_is_used_twice() -> None:
    questions = {ikeprobe.ask(os.urandom(ikeprobe.RANDOM_LENGTH)).spi for _ in range(64)}
    assert len(questions) == 64


@pytest.mark.parametrize(
    ("notification", "meaning"),
    [
        (14, "NO_PROPOSAL_CHOSEN"),
        (16390, "COOKIE"),
        (17, "INVALID_KE_PAYLOAD"),
        (12345, "notification 12345"),
    ],
)
def test_any_response_to_our_spi_is_an_answer(notification: int, meaning: str) -> None:
    assert ikeprobe.answer(QUESTION, response(QUESTION.message, notification)) == meaning


def changed(message: bytes, offset: int, value: int) -> bytes:
    return message[:offset] + bytes((value,)) + message[offset + 1 :]


SOUND = response(QUESTION.message)


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("the question itself, thrown back", QUESTION.message),
        ("the answer to somebody else", response(QUESTION.message, spi=b"somebody")),
        ("another version of IKE", changed(SOUND, 17, 0x10)),
        ("a length that is not its own", SOUND + b"\0"),
        ("a part", SOUND[:-1]),
        ("nothing", b""),
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    ],
)
def test_what_is_no_answer_is_none(sentence: str, message: bytes) -> None:
    assert ikeprobe.answer(QUESTION, message) is None, sentence


def test_on_udp_4500_and_on_streams_an_answer_carries_the_marker() -> None:
    assert ikeprobe.answer_on_stream(QUESTION, NON_ESP_MARKER + SOUND) == "NO_PROPOSAL_CHOSEN"
    assert ikeprobe.answer_on_stream(QUESTION, SOUND) is None


@given(st.binary(max_size=64), st.integers(0, 255))
def test_whatever_follows_a_sound_header_is_read_without_harm(body: bytes, kind: int) -> None:
    header = SOUND[:16] + bytes((kind,)) + SOUND[17:24] + (28 + len(body)).to_bytes(4, "big")
    assert ikeprobe.answer(QUESTION, header + body)
