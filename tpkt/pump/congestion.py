# SPDX-License-Identifier: Apache-2.0
"""Which congestion control a pump's connections get, out of what was wished for and what the kernel has.

Both roles ask here, so that both directions of a tunnel are treated alike. Knows no configuration file.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

PREFERRED = "bbr"  # with loss-based control a voice stream collapses under 3 % of loss
AUTO, SYSTEM = "auto", "system"
_SYSTEMS = Path("/proc/sys/net/ipv4/tcp_congestion_control")


def choose(wanted: str) -> tuple[str | None, str | None]:
    """Give the name for the pump, and a sentence when it is not what is wanted, its cure after a semicolon.

    `wanted` is a name, "auto" (BBR where the kernel has it) or "system". None leaves the system's own choice.
    """
    name = PREFERRED if wanted == AUTO else wanted
    if name == SYSTEM:
        return None, None
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
        except OSError as error:
            cure = f"modprobe tcp_{name}, or set link.congestion"
            return None, f"congestion control {name} cannot be had ({os.strerror(error.errno or 0)}); {cure}"
    return name, None


def described(wanted: str) -> str:
    """Say in a word which one it is."""
    name, _ = choose(wanted)
    return name or f"the system's choice ({_SYSTEMS.read_text(encoding='ascii').strip()})"
