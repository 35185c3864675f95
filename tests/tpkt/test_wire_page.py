# SPDX-License-Identifier: Apache-2.0
"""docs/WIRE.md says what the code does: its byte examples, its names, its figures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tpkt.judge import agrees
from tests.vectors import load
from tpkt.errors import CloseReason
from tpkt.pump.config import Limits
from tpkt.sniff import Protocol
from tpkt.wire import HEADER_LENGTH, MAX_FRAME, MAX_PAYLOAD, RFC9329_HEADER_LENGTH, RFC9329_MAX_PAYLOAD

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "WIRE.md").read_text()
BLOCK = re.compile(r"^```(tpkt|rfc9329|sniff|sniff-tls|kind|ike)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLE = re.compile(r"((?:[0-9a-f]{2} +)+)-> (\S+)")
EXAMPLES = [(what, *line.split("->")) for what, block in BLOCK.findall(PAGE) for line in block.splitlines()]
UDP, TCP, TIMESTAMPS = 8, 20, 12


@pytest.mark.parametrize(("what", "data", "verdict"), EXAMPLES)
def test_an_example_of_the_page(what: str, data: str, verdict: str) -> None:
    assert EXAMPLE.fullmatch(f"{data}->{verdict}")
    assert agrees(what, bytes.fromhex(data), verdict.strip())


def test_the_page_has_examples_of_every_sort() -> None:
    assert {what for what, _, _ in EXAMPLES} == {"tpkt", "rfc9329", "sniff", "sniff-tls", "ike"}


def test_the_page_explains_every_close_reason_in_the_words_of_the_code() -> None:
    table = PAGE.split("## Close reasons")[1].split("\n## ")[0]
    written = re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE)
    assert written == [(reason, reason.sentence) for reason in CloseReason if reason is not CloseReason.NONE]


def test_every_reason_and_protocol_the_page_names_exists() -> None:
    known = {*CloseReason, *Protocol, "ff", "more", "end", "01", "IKETCP"}
    named = {name for name in re.findall(r"`([a-z][a-z0-9_]+)`", PAGE) if "_" in name or name in known}
    assert named <= known
    assert set(Protocol) <= named


def test_the_limits_of_the_page_are_the_defaults() -> None:
    limits = Limits()
    for figure, reason in [
        (f"{limits.first_bytes_seconds:.0f} s", "first_bytes_timeout"),
        (f"{limits.frame_seconds:.0f} s", "frame_timeout"),
        (f"{limits.ike_seconds:.0f} s", "ike_timeout"),
        (f"{limits.half_identified}", "limit_connections"),
        (f"{limits.half_identified_per_source}", "limit_source"),
        (f"{limits.accepts_per_second_per_source}", "limit_rate"),
        (f"{limits.connections}", "limit_connections"),
        (f"{limits.ike_half_open}", "limit_ike"),
        (f"{limits.ike_half_open_per_source}", "limit_source"),
    ]:
        assert f"| {figure} | `{reason}` |" in PAGE
    assert f"| {limits.queue_bytes} | not closed" in PAGE


def test_the_sizes_and_overheads_of_the_page_add_up() -> None:
    assert f"{MAX_FRAME} the largest" in PAGE
    assert f"a payload of {MAX_PAYLOAD} bytes" in PAGE
    assert f"The largest payload has {RFC9329_MAX_PAYLOAD} bytes" in PAGE
    for name, header in (("TPKT'", HEADER_LENGTH), ("RFC 9329", RFC9329_HEADER_LENGTH)):
        plain, stamped = TCP + header, TCP + TIMESTAMPS + header
        assert f"| {name} | {plain} | {stamped} | {plain - UDP} or {stamped - UDP} |" in PAGE


def test_the_page_counts_the_vectors_right() -> None:
    assert f"{len(load())} rows" in PAGE
