# SPDX-License-Identifier: Apache-2.0
"""TLS as the pump is told of it, and as it tells of it: certificates and keys in, versions and ciphers out.

Frozen data; a repr never shows a key. Files, names and their checks are the caller's. Must not know the
compiled module.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from tpkt.errors import MisuseError

VERSIONS = {0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}
# The profile of native/profile.c by IANA's numbers and names.
CIPHERS = {
    0x1301: "TLS_AES_128_GCM_SHA256",
    0x1302: "TLS_AES_256_GCM_SHA384",
    0x1303: "TLS_CHACHA20_POLY1305_SHA256",
    0xC02B: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    0xC02C: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    0xC02F: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    0xC030: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    0xCCA8: "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    0xCCA9: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
}
PIN_BYTES = 32
MAX_CERTIFICATES = 64  # a client's name is compared with each of them

TlsVersion = Literal["1.2", "1.3"]


@dataclasses.dataclass(frozen=True, slots=True)
class TlsCertificate:
    """One certificate of ours: its chain as DER, our own first, and its private key as PEM or DER."""

    chain: tuple[bytes, ...]
    key: bytes = dataclasses.field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what is no certificate at all."""
        if not self.chain or not self.key:
            raise MisuseError("a TLS certificate needs its chain and its key")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TlsServer:
    """How a gateway serves TLS. The first certificate is for clients that name none of the others'."""

    certificates: tuple[TlsCertificate, ...]
    minimum: TlsVersion = "1.2"
    tickets: bool = True
    ktls: bool = False  # let the kernel encrypt where kernel and OpenSSL can

    def __post_init__(self) -> None:
        """Refuse what cannot be served."""
        if not 1 <= len(self.certificates) <= MAX_CERTIFICATES:
            raise MisuseError(
                f"{len(self.certificates)} TLS certificates: there must be 1 to {MAX_CERTIFICATES}"
            )
        if self.minimum not in ("1.2", "1.3"):
            raise MisuseError(f"minimum is {self.minimum!r}: it is '1.2' or '1.3'")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TlsTrust:
    """Whom a client believes: `server_name` (or address) by these authorities, its key by pins, or both.

    `authorities` are DER; None are those of this machine, but where there are pins: then the key alone
    decides and the certificate's name, dates and issuer mean nothing. A pin is the SHA-256 of the key (SPKI).
    """

    server_name: str
    authorities: tuple[bytes, ...] | None = None
    pins: tuple[bytes, ...] = ()
    minimum: TlsVersion = "1.2"
    ktls: bool = False

    def __post_init__(self) -> None:
        """Refuse what would believe everybody or nobody."""
        if not self.server_name or "\0" in self.server_name:
            raise MisuseError(f"server_name is {self.server_name!r}: give the gateway's name or address")
        if self.authorities is not None and not self.authorities:
            raise MisuseError("authorities is empty: give some, or None for this machine's")
        if any(len(pin) != PIN_BYTES for pin in self.pins):
            raise MisuseError(f"a pin is the {PIN_BYTES} bytes of a SHA-256")
        if self.minimum not in ("1.2", "1.3"):
            raise MisuseError(f"minimum is {self.minimum!r}: it is '1.2' or '1.3'")


@dataclasses.dataclass(frozen=True, slots=True)
class TlsInfo:
    """What the handshake of a connection came to."""

    version: str
    cipher: str
    trikesec: bool  # the client offered `trikesec/1` (ALPN): TPKT' inside is agreed, not guessed
    resumed: bool
    kernel_send: bool
    kernel_receive: bool
