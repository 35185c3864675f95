# SPDX-License-Identifier: Apache-2.0
"""What one datagram is, and how it is put on a stream: TPKT' and RFC 9329 framing.

Bytes in, bytes or names out. Knows nothing of streams that arrive in pieces (`decoder`), of which protocol
a connection speaks (`sniff`), of sockets or of time. Lengths on the wire are in network byte order.

    TPKT'      01 00 LL LL payload        LLLL counts the whole frame, its 4-byte header included
    RFC 9329   LL LL payload              LLLL counts the whole frame, its 2-byte header included

The payload is exactly what RFC 3948 puts into a UDP 4500 datagram; `kind_of` tells which of them it is.
`kind_of` looks only at sizes and at the first four bytes. Whether an IKE message's header is sane is a
second question, `ike_header_ok`: the length field of RFC 7296 3.1 must be the size of the message. Nothing
else of the header is a reason to drop it here:

- version: RFC 7296 2.5 has the responder answer a newer major version with INVALID_MAJOR_VERSION. A probe
  that wants an answer without leaving a half-open SA behind does just that, so charon must get to see it;
- initiator SPI zero: RFC 7296 1.5 allows it in the one-way INVALID_SPI notification.

A receiver drops and counts malformed payloads and IKE messages whose header is not ok, and goes on: the
framing is intact. Too many bad IKE headers on one connection close it (`CloseReason.BAD_IKE`).
"""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

from tpkt.errors import CloseReason, MisuseError, PeerError

VERSION = 1
HEADER_LENGTH = 4
RFC9329_HEADER_LENGTH = 2
MAX_FRAME = 65535  # all that a 16-bit length which counts its own header can say
MAX_PAYLOAD = MAX_FRAME - HEADER_LENGTH
RFC9329_MAX_PAYLOAD = MAX_FRAME - RFC9329_HEADER_LENGTH

NON_ESP_MARKER = b"\0" * 4  # RFC 3948 2.2
KEEPALIVE = b"\xff"  # RFC 3948 2.3
RFC9329_PREFIX = b"IKETCP"  # RFC 9329 4: once, before the first frame, by the end that opened the connection
IKE_HEADER_LENGTH = 28  # RFC 7296 3.1
ESP_MIN_LENGTH = 8  # SPI and sequence number, RFC 4303 2

_TPKT_HEADER = struct.Struct("!BBH")
_RFC9329_HEADER = struct.Struct("!H")
_IKE_HEADER = struct.Struct("!8s8sBBBBII")


class Framing(enum.StrEnum):
    """How datagrams are laid on the stream."""

    TPKT = "tpkt"
    RFC9329 = "rfc9329"


class Kind(enum.StrEnum):
    """What a payload is."""

    IKE = "ike"
    ESP = "esp"
    KEEPALIVE = "keepalive"
    EMPTY = "empty"
    MALFORMED = "malformed"


class IkeHeader(NamedTuple):
    """The fixed header of RFC 7296 3.1, every number in host order."""

    spi_i: bytes
    spi_r: bytes
    next_payload: int
    version: int
    exchange: int
    flags: int
    message_id: int
    length: int


def kind_of(payload: bytes | bytearray | memoryview) -> Kind:
    """Say which of RFC 3948's datagrams `payload` is; never fails."""
    size = len(payload)
    if size == 0:
        return Kind.EMPTY
    if size == 1 and payload[0] == KEEPALIVE[0]:
        return Kind.KEEPALIVE
    if payload[:4] == NON_ESP_MARKER:
        # The message must at least be able to hold its header.
        return Kind.IKE if size >= len(NON_ESP_MARKER) + IKE_HEADER_LENGTH else Kind.MALFORMED
    return Kind.ESP if size >= ESP_MIN_LENGTH else Kind.MALFORMED


def parse_ike_header(message: bytes | bytearray | memoryview) -> IkeHeader:
    """Read the header of an IKE message (without the non-ESP marker); PeerError(BAD_IKE) if it has none."""
    if len(message) < IKE_HEADER_LENGTH:
        raise PeerError(
            CloseReason.BAD_IKE,
            f"an IKE message of {len(message)} bytes; its header alone has {IKE_HEADER_LENGTH}",
        )
    return IkeHeader._make(_IKE_HEADER.unpack_from(message))


def ike_header_ok(message: bytes | bytearray | memoryview) -> bool:
    """Say whether an IKE message (without the non-ESP marker) has a header whose length is its own size."""
    return len(message) >= IKE_HEADER_LENGTH and parse_ike_header(message).length == len(message)


def encode(payload: bytes | bytearray | memoryview) -> bytes:
    """One TPKT' frame; MisuseError for what may not be sent on TCP."""
    _check_sendable(payload, MAX_PAYLOAD)
    return _TPKT_HEADER.pack(VERSION, 0, HEADER_LENGTH + len(payload)) + payload


def encode_rfc9329(payload: bytes | bytearray | memoryview) -> bytes:
    """One RFC 9329 frame; MisuseError for what may not be sent on TCP."""
    _check_sendable(payload, RFC9329_MAX_PAYLOAD)
    return _RFC9329_HEADER.pack(RFC9329_HEADER_LENGTH + len(payload)) + payload


def _check_sendable(payload: bytes | bytearray | memoryview, limit: int) -> None:
    if len(payload) > limit:
        raise MisuseError(f"a payload of {len(payload)} bytes; the 16-bit length leaves room for {limit}")
    if kind_of(payload) in (Kind.EMPTY, Kind.KEEPALIVE):
        # RFC 9329 6.6: TCP keeps its own NAT state; received ones are ignored, so sending one only costs.
        raise MisuseError("keep-alives and empty payloads are never sent on TCP; drop them before encoding")
