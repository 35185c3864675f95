# SPDX-License-Identifier: Apache-2.0
"""TLS clients for the pump's tests: Python's ssl over a socket, step by step where a test wants the steps.

`TlsSocket` looks like the socket that `Peer` expects, and does the cryptography in memory, so that a test
decides how the bytes are cut and when they travel. Knows no test.
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.lab.pki import Authority, Identity
from tests.tpkt.pump.rig import GW, Peer, Rig
from tpkt.pump import TlsCertificate, TlsServer
from tpkt.wire import Framing

NAME = "gw.example.org"
OTHER = "other.example.org"


class Pki:
    """An authority and two servers' certificates."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory)
        self.gateway = self.authority.gateway(NAME, [GW])
        self.other = self.authority.gateway(OTHER)

    @property
    def server(self) -> TlsServer:
        return TlsServer(certificates=(certificate(self.gateway), certificate(self.other)))

    def context(self, *, ca: bool = True, **settings: Any) -> ssl.SSLContext:
        """A client's context; settings are attributes of it."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if ca:
            made.load_verify_locations(self.authority.cert)
        for name, value in settings.items():
            setattr(made, name, value)
        return made


def certificate(identity: Identity) -> TlsCertificate:
    leaf = x509.load_pem_x509_certificate(identity.cert.read_bytes())
    return TlsCertificate((leaf.public_bytes(serialization.Encoding.DER),), identity.key.read_bytes())


class TlsSocket:
    """TLS in memory over a connected socket; `step` bytes at most go into one segment."""

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        name: str | None = NAME,
        *,
        session: ssl.SSLSession | None = None,
        step: int = 1 << 20,
    ) -> None:
        self.raw = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = context.wrap_bio(self._in, self._out, server_hostname=name, session=session)
        self._step = step
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def flush(self) -> None:
        """Send what TLS has to say."""
        data = self._out.read()
        for at in range(0, len(data), self._step):
            self.raw.sendall(data[at : at + self._step])

    def _more(self) -> None:
        self.flush()
        data = self.raw.recv(1 << 16)
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()

    def handshake(self) -> None:
        while True:
            try:
                self.ssl.do_handshake()
            except ssl.SSLWantReadError:
                self._more()
            except ssl.SSLError:
                self.flush()  # the alert
                raise
            else:
                self.flush()
                return

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self.ssl.write(view) :]
            self.flush()

    def recv(self, size: int) -> bytes:
        while True:
            try:
                return self.ssl.read(size)
            except ssl.SSLWantReadError:
                self._more()
            except ssl.SSLZeroReturnError:
                return b""

    def good_bye(self) -> None:
        """Send close_notify, and wait for nothing."""
        try:
            self.ssl.unwrap()
        except ssl.SSLWantReadError:
            self.flush()

    def settimeout(self, seconds: float) -> None:
        self.raw.settimeout(seconds)

    def getsockname(self) -> Any:
        return self.raw.getsockname()

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        self.raw.setsockopt(level, option, value)

    def shutdown(self, how: int) -> None:
        self.raw.shutdown(how)

    def close(self) -> None:
        self.raw.close()


class TlsPeer(Peer):
    """A peer inside TLS; `tls` has the steps."""

    def __init__(self, plain: Peer, tls: TlsSocket, framing: Framing = Framing.TPKT) -> None:
        # What a Peer does with its socket, a TlsSocket can do.
        wrapped: Any = tls
        super().__init__(wrapped, framing, plain.tell)
        self.tls = tls


def connect(
    rig: Rig,
    port: int,
    context: ssl.SSLContext,
    name: str | None = NAME,
    *,
    framing: Framing = Framing.TPKT,
    session: ssl.SSLSession | None = None,
    step: int = 1 << 20,
) -> TlsPeer:
    """A peer whose handshake is done."""
    plain = rig.connect(port)
    tls = TlsSocket(plain.socket, context, name, session=session, step=step)
    tls.handshake()
    return TlsPeer(plain, tls, framing)
