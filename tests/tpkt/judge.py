# SPDX-License-Identifier: Apache-2.0
"""The verdict of the Python implementation on some bytes, in the words of the vector table."""

from __future__ import annotations

from collections.abc import Iterable

from tpkt.decoder import Decoder
from tpkt.errors import CloseReason, PeerError
from tpkt.sniff import recognise
from tpkt.wire import Framing, ike_header_ok, kind_of

SWALLOWED = ("keepalive", "empty")


def decode(framing: str, pieces: Iterable[bytes]) -> list[str]:
    """What a decoder makes of a stream; what it swallows has no place among the payloads and comes first."""
    decoder = Decoder(Framing(framing))
    said: list[str] = []
    end = "end"
    try:
        for piece in pieces:
            decoder.feed(piece)
            while (payload := decoder.next_payload()) is not None:
                said.append(f"{kind_of(payload)}:{len(payload)}")
        decoder.close()
    except PeerError as error:
        end = "more" if error.reason is CloseReason.FIN_IN_FRAME else f"error:{error.reason}"
    return ["keepalive"] * decoder.keepalives + ["empty"] * decoder.empties + [*said, end]


def items(verdict: str) -> list[str]:
    """A verdict on a stream as `decode` puts it."""
    written = verdict.split(",")
    swallowed = [item for name in SWALLOWED for item in written if item == name]
    return swallowed + [item for item in written if item not in SWALLOWED]


def agrees(what: str, data: bytes, verdict: str) -> bool:
    """Say whether the code comes to `verdict` on `data`, read whole."""
    match what:
        case "tpkt" | "rfc9329":
            return decode(what, [data]) == items(verdict)
        case "sniff" | "sniff-tls":
            return (recognise(data, inside_tls=what == "sniff-tls") or "more") == verdict
        case "kind":
            return kind_of(data) == verdict
        case "ike":
            return ("ok" if ike_header_ok(data) else "bad") == verdict
    raise ValueError(f"{what!r}: the table knows no such rows")
