# SPDX-License-Identifier: Apache-2.0
"""Which capabilities this process has of those that a daemon needs. Reads /proc, changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

# linux/capability.h, as far as a daemon of ours asks for them
BITS = {"CAP_NET_BIND_SERVICE": 10, "CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21}


class RightsError(Exception):
    """This user cannot run the daemon; one line with its cure."""


def missing(needed: Iterable[str]) -> list[str]:
    """Name the capabilities among `needed` that this process has not."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    effective = int(status.partition("\nCapEff:")[2].split()[0], 16)
    return [name for name in needed if not effective >> BITS[name] & 1]


def require(needed: Iterable[str], manual: str) -> None:
    """Raise RightsError unless this process has all of `needed`; `manual` is the page that says how."""
    absent = missing(needed)
    if absent:
        raise RightsError(
            f"this needs root: {', '.join(absent)} missing for user {os.geteuid()}; "
            f"run it with sudo, or as a systemd service ({manual})"
        )
