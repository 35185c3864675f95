# SPDX-License-Identifier: Apache-2.0
"""Reads who may connect: prefixes in the configuration, and in files that hold one a line.

What is wrong is named with its file and line. Knows no pump; what the rules mean is the pump's business.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import NoReturn

from eseg.config import Access
from tpkt.daemon.configfile import ConfigError

Network = IPv4Network | IPv6Network
MOST = 1_000_000  # of all rules; ten times of what anybody has been seen to need


@dataclasses.dataclass(frozen=True)
class Rules:
    """Of the prefixes that hold an address the longest decides; none of them is in both."""

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.allow) + len(self.deny)


class RulesReader:
    """Reads the rules of one configuration."""

    def __init__(self, path: Path, access: Access) -> None:
        """Read for the configuration at `path`, beside which relative names lie."""
        self._path, self._access = path, access
        self._seen: dict[Network, tuple[str, str]] = {}

    def read(self) -> Rules:
        """Give the rules. Raises ConfigError."""
        access = self._access
        allow = (*self._listed("allow", access.allow), *self._files("allow", access.allow_files))
        deny = (*self._listed("deny", access.deny), *self._files("deny", access.deny_files))
        rules = Rules(tuple(dict.fromkeys(allow)), tuple(dict.fromkeys(deny)))
        if rules.count > MOST:
            self._refuse("access", f"{rules.count} prefixes", f"join some: at most {MOST} can be used")
        return rules

    def _listed(self, kind: str, texts: tuple[str, ...]) -> Iterator[Network]:
        for index, text in enumerate(texts):
            yield self._prefix(kind, f"access.{kind}[{index}]", text)

    def _files(self, kind: str, names: tuple[str, ...]) -> Iterator[Network]:
        for index, name in enumerate(names):
            key = f"access.{kind}_files[{index}]"
            try:
                text = (self._path.parent / name).read_text(encoding="utf-8")
            except OSError as error:
                self._refuse(key, f"{name} cannot be read ({error.strerror})", "name a readable file")
            except UnicodeDecodeError as error:
                self._refuse(key, f"{name} is not UTF-8 ({error.reason})", "save it as UTF-8")
            for number, line in enumerate(text.splitlines(), 1):
                prefix = line.partition("#")[0].strip()
                if prefix:
                    yield self._prefix(kind, f"{key}: {name}:{number}", prefix)

    def _prefix(self, kind: str, where: str, text: str) -> Network:
        found = prefix_of(text)
        if isinstance(found, str):
            self._refuse(where, found, "write a prefix such as 203.0.113.0/24, or an address")
        other, at = self._seen.setdefault(found, (kind, where))
        if other != kind:
            self._refuse(where, f"{found} is in {other} as well ({at})", "remove one of the two")
        return found

    def _refuse(self, key: str, problem: str, cure: str) -> NoReturn:
        raise ConfigError(self._path, key, problem, cure)


def prefix_of(text: str) -> Network | str:
    """Read a prefix or an address, IPv4 mapped into IPv6 as what it is; or say what is wrong."""
    try:
        found = ip_network(text)
    except ValueError as error:
        return str(error)
    mapped = found.network_address.ipv4_mapped if isinstance(found, IPv6Network) else None
    if mapped is not None and found.prefixlen >= 96:
        return IPv4Network((mapped, found.prefixlen - 96))
    return found
