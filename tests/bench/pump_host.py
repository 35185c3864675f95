# SPDX-License-Identifier: Apache-2.0
"""A process that is nothing but a pump on a gateway's link: no charon, no control plane.

Started inside the gateway's namespace. Says how many descriptors it may have when it listens; answers
each line of its standard input with one line of JSON (its counters and its memory); ends, and takes the
link down, at the end of input.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from ipaddress import IPv4Network
from pathlib import Path

from tpkt.link import GatewayLink, GatewayLinkConfig
from tpkt.pump import Limits, Pump, PumpConfig

# Several hosts may stand side by side on one gateway: each its device and its part of the pool.
POOLS = tuple(IPv4Network("198.18.0.0/15").subnets(new_prefix=17))
PLENTY = 65_536
# What is measured is what the pump can do, not what it is told to refuse; and nobody here speaks IKE.
LIMITS = Limits(
    half_identified=PLENTY,
    half_identified_per_source=PLENTY,
    accepts_per_second_per_source=0,
    ike_half_open=0,
    ike_seconds=0,
)


def raise_descriptors() -> int:
    """Allow this process as many descriptors as it may have; give their number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # not everybody may raise the hard limit, root included
        resource.setrlimit(resource.RLIMIT_NOFILE, (PLENTY, max(hard, PLENTY)))
        return PLENTY
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def private_bytes() -> int:
    """Memory of this process that is its own, as the kernel counts it."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def main(prefix: str, number: int, address: str, port: int, workers: int) -> None:
    """Serve as the host `number` of the lab `prefix` until standard input ends."""
    descriptors, pool = raise_descriptors(), POOLS[number]
    described = GatewayLinkConfig(instance=f"{prefix}-{number}", device=f"eseg{number}", pool4=pool)
    with GatewayLink(described) as link:
        config = PumpConfig(
            role="gateway", namespace=link.namespace, workers=workers, pool4=pool, pool6=None, limits=LIMITS
        )
        with Pump(config) as pump:
            pump.listen(address, port)
            print(descriptors, flush=True)
            for _ in sys.stdin:
                answer = {"private_bytes": private_bytes(), "counters": pump.counters()}
                print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
