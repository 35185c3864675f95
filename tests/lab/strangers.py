# SPDX-License-Identifier: Apache-2.0
"""Peers that no gateway wants: what they say on port 80, and how to see that they were shown the door.

    Stranger   a TCP connection that says something and is then watched until the gateway closes it

Knows the frame layout from the protocol's documentation, not from the product's code.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from typing import NamedTuple, Self

from tests.lab.netns import Namespace

MARKER = bytes(4)


def frame(payload: bytes, *, version: int = 1, reserved: int = 0, length: int | None = None) -> bytes:
    """Frame `payload` as TPKT' does, or wrongly where told so."""
    return struct.pack("!BBH", version, reserved, len(payload) + 4 if length is None else length) + payload


def ike_init(spi: int = 0x1122334455667788) -> bytes:
    """Give an IKE_SA_INIT request of which only the header is true."""
    body = b"nothing that charon could read  "
    return MARKER + struct.pack("!QQBBBBLL", spi, 0, 33, 0x20, 34, 0x08, 0, 28 + len(body)) + body


class Row(NamedTuple):
    """A way to misbehave: what is sent first, what then, and the reason the gateway will count."""

    sentence: str
    first: bytes
    then: bytes
    reason: str


GOOD = frame(ike_init())
ROWS = (
    Row("noise", b"\x80\x81\x82\x83\x84\x85\x86\x87", b"", "unknown_protocol"),
    Row("a version-3 TPKT first", frame(b"\x0e\xe0\0\0\0\x01\0", version=3), b"", "unknown_protocol"),
    Row("a version-3 TPKT later", GOOD, frame(b"x" * 40, version=3), "bad_version"),
    Row("a reserved byte later", GOOD, frame(b"x" * 40, reserved=7), "bad_reserved"),
    Row("a length below its own header", GOOD, frame(b"", length=3), "bad_length"),
    Row("a huge length and then silence", GOOD, frame(b"x" * 40, length=65535), "frame_timeout"),
    Row("nothing at all", b"", b"", "first_bytes_timeout"),
    Row("half of the first bytes", b"\x01", b"", "first_bytes_timeout"),
    Row("no IKE, only ESP", frame(b"\x12\x34\x56\x78" + bytes(40)), b"", "ike_timeout"),
    Row("a web browser", b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n", b"", "http"),
    Row("a TLS client", bytes.fromhex("160301010001"), b"", "tls_not_configured"),
)


class Stranger:
    """A TCP connection from somewhere to the gateway; a context manager."""

    def __init__(self, namespace: Namespace, address: str, port: int = 80) -> None:
        """Connect; a gateway that resets at once is noted, not raised."""
        self._refused = False
        self.socket = namespace.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.socket.settimeout(5)
        try:
            self.socket.connect((address, port))
        except ConnectionResetError:
            self._refused = True
        except BaseException:
            self.socket.close()
            raise

    def say(self, data: bytes) -> None:
        """Send `data`; that the gateway has closed already is no error of ours."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if not self._refused:
                self.socket.sendall(data)

    def closed_within(self, seconds: float) -> bool:
        """Read until the gateway closes; tell whether it did in time."""
        end = time.monotonic() + seconds
        if self._refused:
            return True
        while (rest := end - time.monotonic()) > 0:
            self.socket.settimeout(rest)
            try:
                if not self.socket.recv(65536):
                    return True
            except ConnectionResetError:
                return True
            except TimeoutError:
                break
        return False

    def close(self) -> None:
        """Leave."""
        self.socket.close()

    def __enter__(self) -> Self:
        """Give the connection."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave."""
        self.close()
