# SPDX-License-Identifier: Apache-2.0
"""Datagrams out of a byte stream that arrives in pieces of any size; from where, it must not know.

`next_payload` answers in one of three ways, the same three as the framers in C: a payload, None (need
more), or PeerError (bad; the same error again on every later call). What is wrong is said at the first byte
that shows it, so the answer does not depend on how the stream was cut.

Keep-alives and empty frames are swallowed and counted here, since nobody above wants them. Malformed
payloads are handed out: the frame is intact, and what to do about a peer that sends many is decided above
(`wire.kind_of`). An RFC 9329 stream is decoded from behind its "IKETCP" prefix, which `sniff` has seen;
3GPP's FTT never had one.
"""

from __future__ import annotations

from tpkt.errors import CloseReason, MisuseError, PeerError
from tpkt.wire import HEADER_LENGTH, RFC9329_HEADER_LENGTH, VERSION, Framing, Kind, kind_of

# A reader that takes payloads out between reads holds one frame and one read: whoever meets this has a bug.
MAX_BUFFERED = 1 << 20


class Decoder:
    """One direction of one connection."""

    def __init__(self, framing: Framing) -> None:
        """Start at a frame border."""
        self.framing = framing
        self._header_length = HEADER_LENGTH if framing is Framing.TPKT else RFC9329_HEADER_LENGTH
        self.keepalives = 0
        self.empties = 0
        self._buffer = bytearray()
        self._start = 0  # of the frame that comes next, in _buffer
        self._dropped = 0  # bytes of the stream before _buffer
        self._failed: PeerError | None = None
        self._closed = False

    @property
    def buffered(self) -> int:
        """Bytes held: frames not taken yet, and the part of a frame that has arrived."""
        return len(self._buffer) - self._start

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Add what was read. After a PeerError the bytes are ignored: the stream is lost."""
        if self._closed:
            raise MisuseError("feed() after close(): the stream has ended")
        if self._failed is not None:
            return
        del self._buffer[: self._start]
        self._dropped += self._start
        self._start = 0
        held = len(self._buffer) + len(data)
        if held > MAX_BUFFERED:
            raise MisuseError(f"{held} bytes held, limit {MAX_BUFFERED}: take payloads out between feeds")
        self._buffer += data

    def next_payload(self) -> bytes | None:
        """The next IKE, ESP or malformed payload; None: need more bytes; PeerError: the stream is lost."""
        while True:
            size = self._frame_size()
            if size is None or self.buffered < size:
                return None
            payload = bytes(self._buffer[self._start + self._header_length : self._start + size])
            self._start += size
            kind = kind_of(payload)
            if kind is Kind.KEEPALIVE:
                self.keepalives += 1
            elif kind is Kind.EMPTY:
                self.empties += 1
            else:
                return payload

    def close(self) -> None:
        """The peer has closed its side: PeerError(FIN_IN_FRAME) when that cut a frame in two."""
        size = self._frame_size()
        if size is not None and self.buffered >= size:
            raise MisuseError(
                "close() with whole frames still held: call next_payload() until it answers None"
            )
        self._closed = True
        if self.buffered:
            raise self._fail(CloseReason.FIN_IN_FRAME, f"the stream ended {self.buffered} bytes into it")

    def _frame_size(self) -> int | None:
        """The size of the next frame, header included; None while its header is incomplete."""
        if self._failed is not None:
            raise self._failed
        header = self._buffer[self._start : self._start + self._header_length]
        if self.framing is Framing.TPKT:
            if len(header) > 0 and header[0] != VERSION:
                raise self._fail(CloseReason.BAD_VERSION, f"its version is {header[0]}, TPKT' has {VERSION}")
            if len(header) > 1 and header[1] != 0:
                raise self._fail(CloseReason.BAD_RESERVED, f"its reserved byte is {header[1]}, not 0")
        if len(header) < self._header_length:
            return None
        size = int.from_bytes(header[-2:], "big")
        if size < self._header_length:
            raise self._fail(
                CloseReason.BAD_LENGTH, f"its length is {size}, its header has {self._header_length}"
            )
        return size

    def _fail(self, reason: CloseReason, detail: str) -> PeerError:
        self._failed = PeerError(
            reason, f"the frame at byte {self._dropped + self._start} of the stream: {detail}"
        )
        self._buffer.clear()  # nothing of it means anything any more
        self._start = 0
        return self._failed
