# SPDX-License-Identifier: Apache-2.0
"""Case `connections`: how fast the pump accepts, and what a connection costs it that says nothing more.

A connection counts once its first frame was recognised. Memory is what the pump's process has for itself
(smaps: Private) with the connections less what it had before them; the kernel's sockets are not in it.
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
from tests.bench.pump_lab import PORT, pump_lab
from tests.lab.topology import GW, UE
from tests.lab.wait import until

# One address has 28 232 ephemeral ports: several, so that searching for a free one is not what is measured.
SOURCES = (UE, *(f"192.0.2.{host}" for host in range(10, 14)))
SPARE_SECONDS = 60.0
BYTES_PER_CONNECTION = 2048
CONNECTIONS_PROMISED = 20_000
# Of the limit of a process: what either end needs for itself. Where it cannot be raised, fewer are held.
SPARE_DESCRIPTORS = 256
WORKERS = 2


def _measure(settings: Settings) -> Metrics:
    """Measure in a lab of its own: memory that an earlier round has left would hide what this one costs."""
    with pump_lab(congestion="cubic", workers=WORKERS) as host:
        ue = host.topology.ue
        for source in SOURCES[1:]:
            ue.ip(f"addr add {source}/24 dev eth0")
        before = host.ask()["private_bytes"]
        count = min(settings.connections, host.descriptors - SPARE_DESCRIPTORS)
        argv = [str(build.program("idle")), GW, str(PORT), str(count), *SOURCES]
        process = ue.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            readable, _, _ = select.select([process.stdout], [], [], SPARE_SECONDS)
            line = process.stdout.readline() if readable else b""
            if not line:
                raise RuntimeError(f"the connections did not come about; pump: {host.story()}")
            seconds, answered = json.loads(line)["seconds"], time.monotonic()
            until(lambda: host.identified() >= count, SPARE_SECONDS, f"the pump has recognised {count}")
            seconds += time.monotonic() - answered
            memory = host.ask()["private_bytes"] - before
        finally:
            ue.stop(process)
    return {
        "descriptors allowed": host.descriptors,
        "connections held": count,
        "accepted": count / seconds,
        "memory per idle connection": memory / count,
    }


@contextlib.contextmanager
def _lab(settings: Settings) -> Iterator[Sequence[Variant]]:
    yield [Variant("pump", functools.partial(_measure, settings))]


CONNECTIONS = Case(
    name="connections",
    title="(d) many idle connections",
    lab=_lab,
    comparisons=(
        Comparison(metric="connections held", unit="", ours="pump", goal=CONNECTIONS_PROMISED),
        Comparison(metric="descriptors allowed", unit="", ours="pump"),
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
