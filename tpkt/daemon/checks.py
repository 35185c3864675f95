# SPDX-License-Identifier: Apache-2.0
"""What both daemons ask of the values in their configuration; looks at nothing but the values.

Each check yields key, problem and cure of each thing that is wrong.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import NamedTuple

from tpkt.daemon.schema import SecretHolder

SUN_PATH = 107  # bytes that the address of a Unix socket holds


class Problem(NamedTuple):
    """One thing that is wrong, where, and what mends it."""

    key: str
    problem: str
    cure: str


def socket_path(key: str, path: str, below: str = "") -> Iterator[Problem]:
    """Check the path of a socket, or of a directory in which `below` is the longest one."""
    if not os.path.isabs(path):
        yield Problem(key, f"`{path}` is not an absolute path", "begin it with /")
    longest = f"{path}/{below}" if below else path
    if len(os.fsencode(longest)) > SUN_PATH:
        yield Problem(key, f"is too long: sockets there would exceed {SUN_PATH} bytes", "shorten it")


def addresses(key: str, values: Iterable[str]) -> Iterator[Problem]:
    """Check that `values` are IP addresses."""
    for value in values:
        try:
            ip_address(value)
        except ValueError:
            yield Problem(key, f"`{value}` is not an IP address", "write addresses, not names")


def one_secret(key: str, holder: SecretHolder) -> Iterator[Problem]:
    """Check that the table `key` names a secret, and in one place only; opens no file."""
    if holder.secret is None and holder.secret_file is None:
        yield Problem(f"{key}.secret_file", "is missing", "name a file that holds the secret (mode 0600)")
    elif holder.secret is not None and holder.secret_file is not None:
        yield Problem(f"{key}.secret_file", "stands beside secret", "keep one of the two")
    elif holder.secret == "":
        yield Problem(f"{key}.secret", "is empty", "write the secret, or name a secret_file")
