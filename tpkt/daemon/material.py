# SPDX-License-Identifier: Apache-2.0
"""The files that a configuration names: read within bounds, and complained of under the key that names them.

Secrets, and the bytes of any file; what is in a certificate or a private key is `tpkt.daemon.certificates`'.
Nothing that is secret enters a message.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import NoReturn

from tpkt.daemon.configfile import ConfigError
from tpkt.daemon.schema import SecretHolder

MAX_FILE = 1 << 20  # far above any chain of certificates; a device or a disk image would be read for ever


class Files:
    """The files of one configuration; relative names are relative to the configuration's directory."""

    def __init__(self, path: Path) -> None:
        """Read for the configuration at `path`."""
        self.path = path
        self.warnings: list[ConfigError] = []

    def read(self, key: str, name: str) -> bytes:
        """Give what the file `name` holds. Raises ConfigError."""
        try:
            with self._at(name).open("rb") as file:
                data = file.read(MAX_FILE + 1)
        except OSError as error:
            problem = f"{name} cannot be read ({error.strerror})"
            self.refuse(key, problem, "check the name and its permissions")
        if len(data) > MAX_FILE:
            self.refuse(key, f"{name} is larger than {MAX_FILE} bytes", "name the right file")
        return data

    def private(self, key: str, name: str) -> bytes:
        """Give what the file `name` holds, and warn when others may have read it too. Raises ConfigError."""
        data = self.read(key, name)
        self._warn_if_open(key, name)
        return data

    def secret(self, key: str, holder: SecretHolder) -> bytes:
        """Give the secret of the table `key`, from whichever of its two places. Raises ConfigError."""
        if holder.secret is not None:
            key, raw = f"{key}.secret", holder.secret.encode()
            self._warn_if_open(key, str(self.path))
        else:
            key = f"{key}.secret_file"
            raw = self.private(key, holder.secret_file or "").rstrip(b"\r\n")
        try:
            # The two prefixes of swanctl.conf(5), so that secrets move between the two unchanged.
            if raw.startswith(b"0x"):
                raw = binascii.unhexlify(raw[2:])
            elif raw.startswith(b"0s"):
                raw = base64.b64decode(raw[2:], validate=True)
        except binascii.Error:
            self.refuse(key, "is neither hex after 0x nor base64 after 0s", "mend it, or drop the prefix")
        if not raw:
            self.refuse(key, "is empty", "write the secret there")
        return raw

    def warn(self, key: str, problem: str, cure: str) -> None:
        """Note what works and should not stay as it is."""
        self.warnings.append(ConfigError(self.path, key, problem, cure))

    def refuse(self, key: str, problem: str, cure: str) -> NoReturn:
        """Raise ConfigError."""
        # `from None`: what a parser says about a private key's bytes is nothing for a log.
        raise ConfigError(self.path, key, problem, cure) from None

    def _at(self, name: str) -> Path:
        return self.path.parent / name

    def _warn_if_open(self, key: str, name: str) -> None:
        path = self._at(name)
        if path.stat().st_mode & 0o004:
            self.warn(key, f"{name} can be read by everybody on this machine", f"chmod 600 {path}")
