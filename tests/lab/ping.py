# SPDX-License-Identifier: Apache-2.0
"""Pings from inside a namespace, told as numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.lab.netns import Namespace


@dataclass(frozen=True, slots=True)
class Pinged:
    """How many echo requests left and how many answers came."""

    sent: int
    received: int
    rtt_ms: float  # average; 0 when nothing came back


def ping(namespace: Namespace, target: str, *, source: str, count: int = 5, interval: float = 0.1) -> Pinged:
    """Ping `target` from the address `source`; waits a second for the last answer."""
    argv = ["ping", "-n", "-q", "-c", str(count), "-i", str(interval), "-W", "1", "-I", source, target]
    said = namespace.run(argv, check=False, seconds=count * interval + 10).stdout
    counted = re.search(r"(\d+) packets transmitted, (\d+) received", said)
    if counted is None:
        return Pinged(count, 0, 0.0)
    times = re.search(r"= [\d.]+/([\d.]+)/", said)
    return Pinged(int(counted[1]), int(counted[2]), float(times[1]) if times else 0.0)
