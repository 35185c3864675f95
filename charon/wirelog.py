# SPDX-License-Identifier: Apache-2.0
"""Finds P-CSCF addresses (RFC 7651) in charon's log of decoded IKE messages, group `enc` at level 3.

charon hands attributes to plugins, and Debian ships none that handles these. What a gateway sends is decoded
all the same, and at level 3 the decoder logs every field: type, length, value. That log holds the decoded
messages (identities, certificates, EAP exchanges; no keys), so it lives in the private runtime directory and
is emptied once read. Should a version of charon log differently, no address is found; nothing else breaks.
"""

from __future__ import annotations

import contextlib
import re
from collections import deque
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from charon.types import P_CSCF_IP4_ADDRESS, P_CSCF_IP6_ADDRESS

# Emptied when it has been read to its end and is larger than this; one IKE_AUTH exchange logs about 100 KiB.
WIRE_LOG_LIMIT: Final = 512 * 1024

# "… 10[ENC] <ue|1>   parsing rule 1 ATTRIBUTE_TYPE": thread, connection, unique id of the IKE_SA, the rest
_LINE: Final = re.compile(r"(\d+)\[ENC\] <([^>]*)\|(\d+)>\s+(.*)")
# What a thread logs of an attribute that we look for, on seven lines in a row.
_ATTRIBUTE: Final = re.compile(
    r"parsing rule \d ATTRIBUTE_TYPE\n"
    rf"=> ({P_CSCF_IP4_ADDRESS}|{P_CSCF_IP6_ADDRESS})\n"
    r"parsing rule \d ATTRIBUTE_LENGTH\n"
    r"=> (4|16)\n"
    r"parsing rule \d ATTRIBUTE_VALUE\n"
    r"=> (?:4|16) bytes @ \S+\n"
    r"0: ((?:[0-9A-F]{2} ){4,16})"
)
_ATTRIBUTE_LINES: Final = 7
_ADDRESS: Final = {
    (P_CSCF_IP4_ADDRESS, 4): IPv4Address,
    (P_CSCF_IP6_ADDRESS, 16): IPv6Address,
}


class WireLog:
    """Follows one log file."""

    def __init__(self, path: Path) -> None:
        """Follow the log at `path`, which need not exist yet."""
        self._path = path
        self._offset = 0
        self._rest = b""
        # By connection: its newest IKE_SA, and what that was assigned.
        self._found: dict[str, tuple[int, list[str]]] = {}
        self._recent: dict[str, deque[str]] = {}  # by thread: its last lines

    def p_cscf(self, connection: str) -> tuple[str, ...]:
        """Give the addresses that the newest IKE_SA of `connection` was assigned, as far as read."""
        return tuple(self._found.get(connection, (0, []))[1])

    def read(self) -> None:
        """Take in what has been logged since the last time."""
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
            self._offset += len(data)
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                match = _LINE.search(line.decode(errors="replace"))
                if match:
                    self._take(match[1], match[2], int(match[3]), match[4])

    def trim(self) -> None:
        """Empty the log when all of it is read; charon appends, so it goes on at the beginning."""
        with contextlib.suppress(FileNotFoundError):
            if self._offset > WIRE_LOG_LIMIT and self._path.stat().st_size == self._offset:
                with self._path.open("r+b") as file:
                    file.truncate()
                self._offset = 0

    def _take(self, thread: str, connection: str, ike: int, line: str) -> None:
        recent = self._recent.setdefault(thread, deque(maxlen=_ATTRIBUTE_LINES))
        recent.append(line)
        match = _ATTRIBUTE.match("\n".join(recent)) if line.startswith("0: ") else None
        if match is None:
            return
        length = int(match[2])
        address = _ADDRESS.get((int(match[1]), length))
        packed = bytes.fromhex(match[3])
        if address is not None and len(packed) == length:
            self._note(connection, ike, str(address(packed)))

    def _note(self, connection: str, ike: int, address: str) -> None:
        newest, addresses = self._found.get(connection, (ike, []))
        if ike != newest:
            addresses = []
        if address not in addresses:
            addresses.append(address)
        self._found[connection] = (ike, addresses)
