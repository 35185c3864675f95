# SPDX-License-Identifier: Apache-2.0
"""Case `connections`: how fast the pump accepts, and what a connection costs it that says nothing more.

A connection counts once its first frame was recognised. Memory is what the pump's process has for itself
(smaps: Private) with the connections less what it had before them; the kernel's sockets are not in it.
Where one process may not have descriptors for all, several share them, and the table says how many.
"""

from __future__ import annotations

import contextlib
import functools
import json
import select
import subprocess
import time
from collections.abc import Iterator, Sequence

from tests.bench import build
from tests.bench.case import Case, Comparison, Metrics, Settings, Variant
from tests.bench.pump_lab import PumpHost, network, pump_host
from tests.lab.topology import GW, UE
from tests.lab.wait import until

# One address has 28 232 ephemeral ports: several, so that searching for a free one is not what is measured.
SOURCES = (UE, *(f"192.0.2.{host}" for host in range(10, 14)))
SPARE_SECONDS = 60.0
BYTES_PER_CONNECTION = 2048
CONNECTIONS_PROMISED = 20_000
# Of the limit of a process: what either end needs for itself.
SPARE_DESCRIPTORS = 256
MOST_PROCESSES = 4
WORKERS = 2


def _measure(settings: Settings) -> Metrics:
    """Measure in a lab of its own: memory that an earlier round has left would hide what this one costs."""
    with contextlib.ExitStack() as stack:
        topology = stack.enter_context(network(congestion="cubic"))
        for source in SOURCES[1:]:
            topology.ue.ip(f"addr add {source}/24 dev eth0")
        hosts: list[PumpHost] = []
        shares: list[int] = []
        # As many processes as it takes: the machine may allow one fewer descriptors than are wanted.
        while (missing := settings.connections - sum(shares)) > 0 and len(hosts) < MOST_PROCESSES:
            hosts.append(stack.enter_context(pump_host(topology, number=len(hosts), workers=WORKERS)))
            shares.append(min(missing, hosts[-1].descriptors - SPARE_DESCRIPTORS))
        before = _private_bytes(hosts)
        seconds = sum(_hold(stack, host, share) for host, share in zip(hosts, shares, strict=True))
        memory = _private_bytes(hosts) - before
    return {
        "pump processes": len(hosts),
        "connections held": sum(shares),
        "accepted": sum(shares) / seconds,
        "memory per idle connection": memory / sum(shares),
    }


def _private_bytes(hosts: Sequence[PumpHost]) -> int:
    return sum(host.ask()["private_bytes"] for host in hosts)


def _hold(stack: contextlib.ExitStack, host: PumpHost, count: int) -> float:
    """Open `count` connections to `host`, held until `stack` ends; give the seconds until all are known."""
    ue = host.topology.ue
    argv = [str(build.program("idle")), GW, str(host.port), str(count), *SOURCES]
    process = ue.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stack.callback(ue.stop, process)
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], SPARE_SECONDS)
    line = process.stdout.readline() if readable else b""
    if not line:
        raise RuntimeError(f"the connections did not come about; pump: {host.story()}")
    seconds, answered = json.loads(line)["seconds"], time.monotonic()
    until(lambda: host.identified() >= count, SPARE_SECONDS, f"the pump has recognised {count}")
    return float(seconds + time.monotonic() - answered)


@contextlib.contextmanager
def _lab(settings: Settings) -> Iterator[Sequence[Variant]]:
    yield [Variant("pump", functools.partial(_measure, settings))]


CONNECTIONS = Case(
    name="connections",
    title="(d) many idle connections",
    lab=_lab,
    comparisons=(
        Comparison(metric="connections held", unit="", ours="pump", goal=CONNECTIONS_PROMISED),
        Comparison(metric="pump processes", unit="", ours="pump"),
        Comparison(metric="accepted", unit="/s", ours="pump"),
        Comparison(
            metric="memory per idle connection",
            unit="bytes",
            ours="pump",
            goal=BYTES_PER_CONNECTION,
            direction="at most",
        ),
    ),
)
