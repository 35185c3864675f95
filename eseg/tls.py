# SPDX-License-Identifier: Apache-2.0
"""TLS as the gateway serves it: from the configuration to the pump, and what can be said of it.

Keys pass through here and are shown nowhere. Must not know how files are read.
"""

from __future__ import annotations

import errno
import socket
from typing import NamedTuple

import msgspec
from cryptography import x509

from eseg.loader import Loaded
from tpkt.daemon.certificates import names
from tpkt.pump import TlsCertificate, TlsServer, ktls_built

TCP_ULP = 31  # linux/tcp.h; not in the socket module


class Kernel(NamedTuple):
    """Whether the kernel can do the cryptography of established connections (kTLS), or why not."""

    can: bool
    why: str


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate that is served: for which names, and until when."""

    names: tuple[str, ...]
    not_after: str


class TlsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """TLS at this moment; `certificates` in the order of the configuration, the first is the default."""

    minimum: str
    tickets: bool
    certificates: tuple[Shown, ...]
    kernel: bool
    kernel_reason: str
    open: int
    established: int
    resumed: int


def server_of(loaded: Loaded) -> TlsServer | None:
    """Give what the pump is to serve; None where TLS is not configured."""
    tls = loaded.config.tls
    if tls is None:
        return None
    return TlsServer(
        certificates=tuple(TlsCertificate(chain, key) for chain, key in loaded.material.tls),
        minimum=tls.minimum,
        tickets=tls.tickets,
        ktls=tls.kernel == "auto",
    )


def kernel(setting: str) -> Kernel:
    """Find out about kTLS on this machine, under the setting of `tls.kernel`."""
    if setting == "off":
        return Kernel(can=False, why="tls.kernel is off")
    if not ktls_built():
        return Kernel(can=False, why="this OpenSSL is built without it")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
        except OSError as error:
            # The kernel's tls takes connected sockets alone: that it says so shows that it is there.
            if error.errno != errno.ENOTCONN:
                return Kernel(can=False, why="the kernel has no module tls")
    return Kernel(can=True, why="the kernel has it")


def status_of(loaded: Loaded, counters: dict[str, int]) -> TlsStatus | None:
    """Give what is shown of TLS; None where it is not configured."""
    tls = loaded.config.tls
    if tls is None:
        return None
    found = kernel(tls.kernel)
    leaves = [x509.load_der_x509_certificate(chain[0]) for chain, _ in loaded.material.tls]
    return TlsStatus(
        minimum=tls.minimum,
        tickets=tls.tickets,
        certificates=tuple(
            Shown(names=tuple(names(leaf)), not_after=leaf.not_valid_after_utc.isoformat()) for leaf in leaves
        ),
        kernel=found.can,
        kernel_reason=found.why,
        open=counters.get("connections_tls", 0),
        established=counters.get("tls_established", 0),
        resumed=counters.get("tls_resumed", 0),
    )
