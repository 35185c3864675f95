# SPDX-License-Identifier: Apache-2.0
"""What Python and C share by number has the same names in the same order on both sides."""

from __future__ import annotations

import enum
import re
from pathlib import Path

import pytest

from tpkt import wire
from tpkt.errors import CloseReason
from tpkt.sniff import Protocol
from tpkt.wire import Kind

NATIVE = Path(__file__).resolve().parents[2] / "native"


def c_enum(header: str, name: str) -> list[str]:
    """The enumerators of a C enum, comments and the closing count left out."""
    source = re.sub(r"/\*.*?\*/|//[^\n]*", "", (NATIVE / header).read_text(), flags=re.DOTALL)
    body = re.search(rf"enum {name} *\{{(.*?)\}}", source, re.DOTALL)
    assert body, f"{header} has no enum {name}"
    return [
        entry.strip()
        for entry in body[1].split(",")
        if entry.strip() and not entry.strip().endswith("_COUNT")
    ]


@pytest.mark.parametrize(
    ("header", "name", "prefix", "twin"),
    [
        ("reason.h", "tp_reason", "TP_REASON_", CloseReason),
        ("reason.h", "tp_protocol", "TP_PROTOCOL_", Protocol),
        ("frame.h", "tp_kind", "TP_", Kind),
    ],
)
def test_an_enum_has_one_order_in_both_languages(
    header: str, name: str, prefix: str, twin: type[enum.StrEnum]
) -> None:
    assert c_enum(header, name) == [prefix + member.name for member in twin]


@pytest.mark.parametrize(
    ("constant", "value"),
    [
        ("TP_VERSION", wire.VERSION),
        ("TP_TPKT_HEADER", wire.HEADER_LENGTH),
        ("TP_RFC9329_HEADER", wire.RFC9329_HEADER_LENGTH),
        ("TP_MAX_FRAME", wire.MAX_FRAME),
        ("TP_MARKER", len(wire.NON_ESP_MARKER)),
        ("TP_IKE_HEADER", wire.IKE_HEADER_LENGTH),
        ("TP_ESP_MINIMUM", wire.ESP_MIN_LENGTH),
    ],
)
def test_a_constant_has_one_value_in_both_languages(constant: str, value: int) -> None:
    assert re.search(rf"\b{constant} = {value}\b", (NATIVE / "frame.h").read_text())
