# SPDX-License-Identifier: Apache-2.0
"""The lab of the cases about the pump alone: the network without charons, pump_hosts on the gateway."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from tests.bench.build import REPOSITORY
from tests.lab.topology import GW, Topology

PORT = 80
START_SECONDS = 20.0
ANSWER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class PumpHost:
    """The running pump and the network around it."""

    topology: Topology
    port: int
    descriptors: int  # that it may have
    _stdin: IO[bytes]
    _stdout: IO[bytes]

    def ask(self) -> dict[str, Any]:
        """Give its counters and its memory."""
        self._stdin.write(b"\n")
        self._stdin.flush()
        answer: dict[str, Any] = json.loads(_line(self._stdout, ANSWER_SECONDS))
        return answer

    def story(self) -> str:
        """Give what it has counted, for an error message."""
        return ", ".join(f"{name} {value}" for name, value in self.ask()["counters"].items() if value)

    def identified(self) -> int:
        """Give how many connections it has recognised, whatever they speak."""
        counters = self.ask()["counters"]
        return sum(value for name, value in counters.items() if name.startswith("identified"))


def _line(stdout: IO[bytes], seconds: float) -> bytes:
    # Unbuffered, so that what select sees is what there is.
    readable, _, _ = select.select([stdout], [], [], seconds)
    line = stdout.readline() if readable else b""
    if not line:
        raise RuntimeError(f"the pump said nothing within {seconds:g} s; its errors stand above")
    return line


@contextlib.contextmanager
def network(*, congestion: str) -> Iterator[Topology]:
    """Build the network with `congestion` everywhere, and take it down."""
    with Topology() as topology:
        topology.congestion(congestion)
        yield topology


@contextlib.contextmanager
def pump_host(topology: Topology, *, number: int = 0, workers: int = 1) -> Iterator[PumpHost]:
    """Run the pump `number` on the gateway, at a port of its own."""
    port = PORT + number
    argv = [sys.executable, "-m", "tests.bench.pump_host", topology.prefix]
    argv += [str(number), GW, str(port), str(workers)]
    process = topology.gw.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        descriptors = int(_line(process.stdout, START_SECONDS))
        yield PumpHost(topology, port, descriptors, process.stdin, process.stdout)
    finally:
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(START_SECONDS)
        topology.gw.stop(process)


@contextlib.contextmanager
def pump_lab(*, congestion: str, workers: int = 1) -> Iterator[PumpHost]:
    """Build the network, and run one pump on its gateway."""
    with network(congestion=congestion) as topology, pump_host(topology, workers=workers) as host:
        yield host
