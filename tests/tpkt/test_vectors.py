# SPDX-License-Identifier: Apache-2.0
"""Every row of the vector table, fed to the Python implementation in every way the table asks for."""

from __future__ import annotations

import re

import pytest

from tests.tpkt.judge import decode, items
from tests.vectors import FRAMES, TRAILING, Vector, load
from tpkt.errors import CloseReason
from tpkt.sniff import ENOUGH, recognise
from tpkt.wire import Kind, ike_header_ok, kind_of

VECTORS = load()


def rows(*what: str, cut_off: bool = True) -> pytest.MarkDecorator:
    """The rows about `what`; without `cut_off` only those that further bytes cannot complete."""
    chosen = [v for v in VECTORS if v.what in what and (cut_off or not v.verdict.endswith("more"))]
    return pytest.mark.parametrize(
        "vector", chosen, ids=[f"{vector.what}: {vector.sentence}" for vector in chosen]
    )


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


@rows("tpkt", "rfc9329")
def test_a_stream_read_whole(vector: Vector) -> None:
    assert decode(vector.what, [vector.data]) == items(vector.verdict)


@rows("tpkt", "rfc9329")
def test_a_stream_read_byte_by_byte(vector: Vector) -> None:
    assert decode(vector.what, byte_by_byte(vector.data)) == items(vector.verdict)


@rows("tpkt", "rfc9329", cut_off=False)
def test_a_stream_read_with_trailing_bytes(vector: Vector) -> None:
    verdict = re.sub("end$", "esp:8,end", vector.verdict)
    assert decode(vector.what, [vector.data + TRAILING[vector.what]]) == items(verdict)


@rows("sniff", "sniff-tls")
def test_first_bytes(vector: Vector) -> None:
    inside_tls = vector.what == "sniff-tls"
    feeds = [vector.data[:size] for size in range(len(vector.data) + 1)]
    if vector.verdict != "more":
        feeds.append(vector.data + TRAILING["tpkt"])
    answers = [recognise(feed, inside_tls=inside_tls) for feed in feeds]
    assert answers[len(vector.data)] == (None if vector.verdict == "more" else vector.verdict)
    decided = [answer for answer in answers if answer is not None]
    assert answers[len(answers) - len(decided) :] == decided, "a decision was taken back"
    assert len(set(decided)) <= 1, "a later byte changed the decision"
    assert len(vector.data) < ENOUGH or decided


@rows("kind")
def test_what_a_payload_is(vector: Vector) -> None:
    assert kind_of(vector.data) == vector.verdict
    assert kind_of(memoryview(vector.data)) == vector.verdict


@rows("ike")
def test_an_ike_header(vector: Vector) -> None:
    assert ike_header_ok(vector.data) == (vector.verdict == "ok")


def test_the_table_keeps_its_own_rules() -> None:
    assert len({vector.sentence for vector in VECTORS if vector.what == "tpkt"}) > 40
    for vector in VECTORS:
        assert len(vector.data) <= 66000
        assert vector.sentence.strip() == vector.sentence != ""
        assert vector.what in ("tpkt", "rfc9329", "sniff", "sniff-tls", "kind", "ike")
    names = [(vector.what, vector.sentence) for vector in VECTORS]
    assert len(names) == len(set(names)), "two rows of one name"


def test_the_table_names_every_kind_and_every_framing_error() -> None:
    kinds = {vector.verdict for vector in VECTORS if vector.what == "kind"}
    assert kinds == set(Kind)
    ends = {vector.verdict.split(",")[-1] for vector in VECTORS if vector.what == "tpkt"}
    assert ends == {"end", "more", "error:bad_version", "error:bad_reserved", "error:bad_length"}


def test_the_table_lists_the_close_reasons_in_the_order_of_the_enum() -> None:
    prose = " ".join(
        line.lstrip("# ") for line in FRAMES.read_text("ascii").splitlines() if line.startswith("#")
    )
    assert " ".join(CloseReason) in prose
