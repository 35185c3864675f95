# SPDX-License-Identifier: Apache-2.0
"""What the tests of the whole path expect again and again, each as one word."""

from __future__ import annotations

from typing import Any

from tests.lab import services
from tests.lab.client import Client
from tests.lab.lab import Lab
from tests.lab.ping import ping
from tests.lab.topology import CORE
from tests.lab.wait import until

SECOND_OF_VOICE = 50  # packets
TPKT = "tpkt"
FILE = 1_000_000
# Fast enough for tests, slow enough for a machine that does other things beside them.
QUICK: dict[str, float] = {"udp_reprobe_seconds": 2.0, "udp_reprobe_max_seconds": 2.0, "backoff_seconds": 0.2}


def traffic(client: Client, *, size: int = FILE) -> None:
    """Expect pings to be answered and a file to arrive whole through the tunnel of `client`."""
    inner = client.inner_address()
    pinged = ping(client.namespace, CORE, source=inner, count=5)
    assert pinged.received == pinged.sent == 5
    assert services.fetch(client.namespace, CORE, size, source=inner) == size


def session(lab: Lab, client: Client, protocol: str) -> dict[str, Any]:
    """Expect the gateway to show one session of `client` by `protocol`; give it."""
    inner = client.inner_address()

    def found() -> dict[str, Any] | None:
        mine = [shown for shown in lab.gateway.sessions() if inner in shown["inner"]]
        return mine[0] if len(mine) == 1 and mine[0]["protocol"] == protocol else None

    return until(found, 10, f"one session of {inner} by {protocol}")


def answers(client: Client) -> bool:
    """Tell whether a ping comes back through the tunnel of `client` at this moment."""
    inner = client.inner_address()
    return bool(inner) and ping(client.namespace, CORE, source=inner, count=1).received == 1
