# SPDX-License-Identifier: Apache-2.0
"""The vector table as data: `frames.tsv` defines its own format, this reads it and refuses what breaks it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

FRAMES = Path(__file__).with_name("frames.tsv")
TRAILING = {
    "tpkt": bytes.fromhex("0100000cc0ffee0100000001"),
    "rfc9329": bytes.fromhex("000ac0ffee0100000001"),
}
_HEX = re.compile(r"(?:[0-9a-f]{2})+")
_REPEAT = re.compile(r"([0-9a-f]{2})\*([1-9][0-9]*)")


class Vector(NamedTuple):
    """One row."""

    what: str
    data: bytes
    verdict: str
    sentence: str


def load() -> list[Vector]:
    """Every row of the table, in order."""
    vectors = []
    for number, line in enumerate(FRAMES.read_text("ascii").splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != len(Vector._fields):
            raise ValueError(f"{FRAMES}:{number}: {len(fields)} fields, not {len(Vector._fields)}")
        what, groups, verdict, sentence = fields
        vectors.append(Vector(what, _bytes(groups, f"{FRAMES}:{number}"), verdict, sentence))
    return vectors


def _bytes(groups: str, where: str) -> bytes:
    if groups == "-":
        return b""
    data = bytearray()
    for group in groups.split(" "):
        if repeat := _REPEAT.fullmatch(group):
            data += bytes.fromhex(repeat[1]) * int(repeat[2])
        elif _HEX.fullmatch(group):
            data += bytes.fromhex(group)
        else:
            raise ValueError(f"{where}: {group!r} is neither pairs of lower-case hex digits nor hh*N")
    return bytes(data)
