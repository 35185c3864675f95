# SPDX-License-Identifier: Apache-2.0
"""Reads the client's key, certificates and secret, and refuses unfit ones.

What makes them unfit is the business of `tpkt.daemon.certificates`; which of them a client has is said here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tc_client.config import Identity
from tpkt.daemon import certificates
from tpkt.daemon.certificates import der
from tpkt.daemon.configfile import ConfigError
from tpkt.daemon.material import Files


@dataclass(frozen=True)
class Material:
    """What the files held; certificates as DER, the client's own first, the key as it was."""

    certs: tuple[bytes, ...] = ()
    key: bytes = field(default=b"", repr=False)
    cas: tuple[bytes, ...] = ()
    secret: bytes = field(default=b"", repr=False)
    warnings: tuple[ConfigError, ...] = ()


class Reader:
    """Reads the files of one identity; relative names are relative to the configuration's directory."""

    def __init__(self, path: Path, identity: Identity) -> None:
        """Prepare to read what `identity`, found in the file at `path`, names."""
        self._identity, self._files = identity, Files(path)

    def read(self) -> Material:
        """Read everything. Raises ConfigError at the first file that cannot be used."""
        identity, files = self._identity, self._files
        own = certificates.Own()
        if identity.cert is not None and identity.key is not None:
            own = certificates.own(
                files,
                "identity",
                cert=identity.cert,
                key=identity.key,
                chain=identity.chain,
                so_what="the gateway will refuse it",
            )
        cas = [
            certificate
            for name in identity.cas
            for certificate in certificates.authorities(files, "identity.ca", name, "gateway's")
        ]
        secret = b""
        if identity.secret is not None or identity.secret_file is not None:
            secret = files.secret("identity", identity)
        return Material(
            certs=own.ders,
            key=own.key,
            cas=tuple(der(certificate) for certificate in cas),
            secret=secret,
            warnings=tuple(files.warnings),
        )
