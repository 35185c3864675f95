# SPDX-License-Identifier: Apache-2.0
"""Kernel settings of the calling thread's network namespace: only of our own devices and namespaces."""

from __future__ import annotations

import logging
from pathlib import Path

logger = logging.getLogger(__name__)
ROOT = Path("/proc/sys/net")


def get(key: str) -> int | None:
    """Give `key` ("ipv4/conf/eseg0/rp_filter"), None where there is no such key."""
    try:
        return int((ROOT / key).read_text(encoding="ascii"))
    except FileNotFoundError:
        return None


def put(key: str, value: int) -> None:
    """Set `key` where there is such a key and it is not so already.

    What cannot be set (a container's /proc/sys is read-only) is logged and left: the link is built to work
    with any value, and its `check` tells what the present ones mean.
    """
    if get(key) in {None, value}:
        return
    try:
        (ROOT / key).write_text(str(value), encoding="ascii")
    except OSError as error:
        logger.warning("net.%s cannot be set to %d: %s", key.replace("/", "."), value, error.strerror)


def has_ipv6() -> bool:
    """Tell whether this kernel has IPv6 at all."""
    return (ROOT / "ipv6").exists()
