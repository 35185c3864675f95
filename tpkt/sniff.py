# SPDX-License-Identifier: Apache-2.0
"""Which protocol a connection speaks, told from its first bytes.

`recognise` is asked again with everything read so far until it answers; six bytes always suffice. It must
not know what is then done with the connection, nor how long one waits for six bytes.

Candidates are asked in a fixed order and each answers yes, no, or not yet; a "not yet" holds back all that
come after it. Outside TLS the openings exclude each other. Inside TLS two of them carry no magic number,
and the order with these rules keeps them apart:

- EFTF (TS 24.322) is `01`, a 16-bit length, an IP packet. `01 00` is also how TPKT' begins, so the length
  must hold the envelope's 3 bytes and an IP header. What is both would be a first TPKT' frame of 5952 bytes
  or more, which no IKE message or ESP packet that fits a path MTU is.
- TPKT' must say a legal length (>= 4) here; `01 00 00 00 00 00` is an FTT IKE message of 256 bytes.
- FTT (TS 24.302 annex F) is a bare RFC 9329 frame: a length that can hold what the marker or SPI behind it
  promises, or the 3-byte keep-alive. It is what remains, hence last.
- TLS in TLS is not served, hence unknown.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from tpkt.wire import (
    ESP_MIN_LENGTH,
    HEADER_LENGTH,
    IKE_HEADER_LENGTH,
    KEEPALIVE,
    NON_ESP_MARKER,
    RFC9329_HEADER_LENGTH,
    RFC9329_PREFIX,
    VERSION,
)

ENOUGH = 6  # no decision needs more bytes than this

_TPKT_OPENING = bytes((VERSION, 0))
_TLS_OPENING = b"\x16\x03"  # a handshake record of any SSL 3 / TLS version
# Four bytes of each method: those of RFC 9110 and RFC 5789, the preface of HTTP/2, then WebDAV and CalDAV.
_HTTP_OPENINGS = (
    *(b"GET ", b"POST", b"HEAD", b"CONN", b"OPTI", b"PRI ", b"PUT ", b"DELE", b"PATC", b"TRAC"),
    *(b"PROP", b"MKCO", b"COPY", b"MOVE", b"LOCK", b"UNLO", b"REPO", b"SEAR", b"MKCA"),
)
_EFTF_TYPE_IP = 1  # the envelope type that holds one whole IP packet
_EFTF_HEADER_LENGTH = 3
_IP_HEADER_LENGTHS = {4: 20, 6: 40}


class Protocol(enum.StrEnum):
    """What a connection speaks; `enum tp_protocol` in C has the same order."""

    UNKNOWN = "unknown"
    TPKT = "tpkt"
    RFC9329 = "rfc9329"
    TLS = "tls"
    HTTP = "http"
    FTT = "ftt"
    EFTF = "eftf"


def recognise(first: bytes, *, inside_tls: bool = False) -> Protocol | None:
    """Name the protocol whose connection begins with `first`; None when more bytes are needed."""
    for is_it, protocol in _INSIDE_TLS if inside_tls else _OUTSIDE:
        answer = is_it(first)
        if answer is None:
            return None
        if answer:
            return protocol
    return Protocol.UNKNOWN


def _begins(first: bytes, opening: bytes) -> bool | None:
    """Yes, no, or not yet."""
    if first.startswith(opening):
        return True
    return None if opening.startswith(first) else False


def _tpkt(first: bytes) -> bool | None:
    return _begins(first, _TPKT_OPENING)


def _rfc9329(first: bytes) -> bool | None:
    return _begins(first, RFC9329_PREFIX)


def _tls(first: bytes) -> bool | None:
    return _begins(first, _TLS_OPENING)


def _http(first: bytes) -> bool | None:
    answers = [_begins(first, opening) for opening in _HTTP_OPENINGS]
    if True in answers:
        return True
    return None if None in answers else False


def _eftf(first: bytes) -> bool | None:
    if not first:
        return None
    if first[0] != _EFTF_TYPE_IP:
        return False
    if len(first) < _EFTF_HEADER_LENGTH + 1:
        return None
    ip_header = _IP_HEADER_LENGTHS.get(first[_EFTF_HEADER_LENGTH] >> 4)
    return ip_header is not None and int.from_bytes(first[1:3], "big") >= _EFTF_HEADER_LENGTH + ip_header


def _tpkt_in_tls(first: bytes) -> bool | None:
    opening = _tpkt(first)
    if opening and len(first) < HEADER_LENGTH:
        return None
    return opening and int.from_bytes(first[2:HEADER_LENGTH], "big") >= HEADER_LENGTH


def _ftt(first: bytes) -> bool | None:
    if len(first) < RFC9329_HEADER_LENGTH:
        return None
    size = int.from_bytes(first[:RFC9329_HEADER_LENGTH], "big") - RFC9329_HEADER_LENGTH
    if size == len(KEEPALIVE):
        return _begins(first[RFC9329_HEADER_LENGTH:], KEEPALIVE)
    if size < ESP_MIN_LENGTH:
        return False
    if len(first) < ENOUGH:
        return None
    is_ike = first[RFC9329_HEADER_LENGTH:ENOUGH] == NON_ESP_MARKER
    return not is_ike or size >= len(NON_ESP_MARKER) + IKE_HEADER_LENGTH


_Candidate = tuple[Callable[[bytes], bool | None], Protocol]

_OUTSIDE: tuple[_Candidate, ...] = (
    (_tpkt, Protocol.TPKT),
    (_rfc9329, Protocol.RFC9329),
    (_tls, Protocol.TLS),
    (_http, Protocol.HTTP),
)
_INSIDE_TLS: tuple[_Candidate, ...] = (
    (_eftf, Protocol.EFTF),
    (_tpkt_in_tls, Protocol.TPKT),
    (_rfc9329, Protocol.RFC9329),
    (_http, Protocol.HTTP),
    (_tls, Protocol.UNKNOWN),
    (_ftt, Protocol.FTT),
)
