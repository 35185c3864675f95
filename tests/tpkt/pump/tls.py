# SPDX-License-Identifier: Apache-2.0
"""The other ends of TLS for the pump's tests: Python's ssl over a socket, in steps where a test wants them.

`TlsSocket` looks like the socket that `Peer` expects, and does the cryptography in memory, so that a test
decides how the bytes are cut and when they travel. Knows no test.
"""

from __future__ import annotations

import hashlib
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


def gateway_context(identity: Identity, *, alpn: bool = True, **settings: Any) -> ssl.SSLContext:
    """A gateway's context, as Python's ssl makes it."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(identity.cert, identity.key)
    if alpn:
        made.set_alpn_protocols(["http/1.1", "trikesec/1"])
    for setting, value in settings.items():
        setattr(made, setting, value)
    return made


def der(path: Path) -> bytes:
    """The certificate in a PEM file."""
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(serialization.Encoding.DER)


def pin(identity: Identity) -> bytes:
    """The SHA-256 of a certificate's key."""
    key = x509.load_pem_x509_certificate(identity.cert.read_bytes()).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).digest()


def certificate(identity: Identity) -> TlsCertificate:
    return TlsCertificate((der(identity.cert),), identity.key.read_bytes())


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
        server: bool = False,
    ) -> None:
        self.raw = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        who: dict[str, Any] = {"server_side": True} if server else {"server_hostname": name}
        self.ssl = context.wrap_bio(self._in, self._out, session=session, **who)
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
