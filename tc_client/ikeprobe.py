# SPDX-License-Identifier: Apache-2.0
"""A question that every IKEv2 responder answers and none remembers: does the path lead to IKE?

The request is a whole and well-formed IKE_SA_INIT (RFC 7296 1.2) whose only proposal nobody can accept, since
its cipher is a number for private use. The answer is NO_PROPOSAL_CHOSEN, or a cookie when the responder is
under load; either way no half-open SA is left behind. Any response that carries our initiator SPI counts.
Bytes in, bytes out: no socket, no clock, and the randomness is given.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tpkt.wire import IKE_HEADER_LENGTH, NON_ESP_MARKER, IkeHeader, ike_header_ok, parse_ike_header

RANDOM_LENGTH = 8 + 32 + 32  # initiator SPI, public value, nonce

IKE_SA_INIT = 34
FLAG_INITIATOR, FLAG_RESPONSE = 0x08, 0x20
VERSION = 0x20
SA, KE, NONCE, NOTIFY, NO_NEXT_PAYLOAD = 33, 34, 40, 41, 0
CURVE25519 = 31  # RFC 8031
PROTOCOL_IKE = 1
TRANSFORMS = (  # type, number (RFC 7296 3.3.2)
    (1, 65_535),  # a cipher of the private range: nobody has it
    (2, 5),  # PRF_HMAC_SHA2_256
    (3, 12),  # AUTH_HMAC_SHA2_256_128
    (4, CURVE25519),
)
NOTIFICATIONS = {
    5: "INVALID_MAJOR_VERSION",
    7: "INVALID_SYNTAX",
    14: "NO_PROPOSAL_CHOSEN",
    17: "INVALID_KE_PAYLOAD",
    24: "AUTHENTICATION_FAILED",
    43: "TEMPORARY_FAILURE",
    16390: "COOKIE",
    16407: "REDIRECT",
}
MAX_PAYLOADS = 16  # more than any answer to this request has

_HEADER = struct.Struct("!8s8sBBBBII")
_GENERIC = struct.Struct("!BBH")


@dataclass(frozen=True, slots=True)
class Question:
    """One request: what is sent (without the non-ESP marker), and how its answer is known."""

    spi: bytes
    message: bytes

    @property
    def datagram(self) -> bytes:
        """The request as UDP 4500 and a frame of a stream carry it."""
        return NON_ESP_MARKER + self.message


def ask(random: bytes) -> Question:
    """Make a request out of RANDOM_LENGTH random bytes."""
    # An initiator SPI is never zero (RFC 7296 3.1), and the first byte of an ephemeral one is free.
    spi = bytes((random[0] | 1,)) + random[1:8]
    transforms = b"".join(
        struct.pack("!BxHBxH", 3 if index < len(TRANSFORMS) - 1 else 0, 8, kind, number)
        for index, (kind, number) in enumerate(TRANSFORMS)
    )
    proposal = struct.pack("!BxHBBBB", 0, 8 + len(transforms), 1, PROTOCOL_IKE, 0, len(TRANSFORMS))
    body = _payload(KE, proposal + transforms)
    body += _payload(NONCE, struct.pack("!Hxx", CURVE25519) + random[8:40])
    body += _payload(NO_NEXT_PAYLOAD, random[40:72])
    length = _HEADER.size + len(body)
    header = _HEADER.pack(spi, bytes(8), SA, VERSION, IKE_SA_INIT, FLAG_INITIATOR, 0, length)
    return Question(spi, header + body)


def _payload(following: int, content: bytes) -> bytes:
    return _GENERIC.pack(following, 0, _GENERIC.size + len(content)) + content


def answer(question: Question, message: bytes) -> str | None:
    """Say in a word what `message` (without the marker) answers; None when it is no answer to `question`."""
    if not ike_header_ok(message):
        return None
    header = parse_ike_header(message)
    if (
        header.spi_i != question.spi
        or not header.flags & FLAG_RESPONSE
        or header.version >> 4 != VERSION >> 4
    ):
        return None
    return _meaning(header, message)


def answer_on_stream(question: Question, payload: bytes) -> str | None:
    """Answer the same for a payload of a stream or of UDP 4500, marker included."""
    if not payload.startswith(NON_ESP_MARKER):
        return None
    return answer(question, payload[len(NON_ESP_MARKER) :])


def _meaning(header: IkeHeader, message: bytes) -> str:
    """Name the first notification, or what else is there."""
    kind, offset = header.next_payload, IKE_HEADER_LENGTH
    for _ in range(MAX_PAYLOADS):
        if kind == NO_NEXT_PAYLOAD or len(message) - offset < _GENERIC.size:
            break
        following, _, length = _GENERIC.unpack_from(message, offset)
        if length < _GENERIC.size or len(message) - offset < length:
            break
        if kind == NOTIFY and length >= 8:
            number = int.from_bytes(message[offset + 6 : offset + 8], "big")
            return NOTIFICATIONS.get(number, f"notification {number}")
        kind, offset = following, offset + length
    return "an IKE_SA_INIT response" if header.next_payload == SA else "an IKE response"
