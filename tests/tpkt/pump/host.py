# SPDX-License-Identifier: Apache-2.0
"""A process that is nothing but a pump: with descriptors of its own to run out of, and threads to look at.

    python -m tests.tpkt.pump.host <link's namespace> <address> <limits as JSON>

Runs in the gateway's namespace. Says its port when it listens; answers each line of its standard input
with its counters as one line of JSON; ends at the end of input.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

from tests.tpkt.pump.rig import GW, POOL4, POOL6, Network, Rig
from tpkt.pump import Limits, Pump, PumpConfig


def main(namespace: str, address: str, options: str) -> None:
    given = json.loads(options)
    descriptors = given.pop("descriptors", None)
    if descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    config = PumpConfig(
        role="gateway",
        namespace=namespace,
        workers=given.pop("workers", 1),
        pool4=POOL4,
        pool6=POOL6,
        limits=Limits(**given),
    )
    with Pump(config) as pump:
        print(pump.listen(address, 0), flush=True)
        for _ in sys.stdin:
            pump.poll_events()
            print(json.dumps(pump.counters()), flush=True)


class Host(Rig):
    """A rig whose pump is such a process; it is asked instead of looked into."""

    def __init__(self, network: Network, namespace: str, **options: Any) -> None:
        super().__init__(network, namespace, "gateway")  # the pump it makes is never started
        argv = [sys.executable, "-m", __name__, namespace, GW, json.dumps(options)]
        self._process = network.gw.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._asking = threading.Lock()

    def __enter__(self) -> Self:
        self._closing.callback(self._process.communicate, timeout=30)
        self._port = int(self._line())
        return self

    def listen(self, address: str = GW) -> int:
        """It does already."""
        assert address == GW
        return self._port

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the pump's process ended with {self._process.wait(10)}"
        return line

    def counters(self) -> dict[str, int]:
        assert self._process.stdin is not None
        with self._asking:
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
            return dict(json.loads(self._line()))

    # From outside: a process without descriptors cannot look into /proc itself.

    @property
    def _seen(self) -> Path:
        return Path(f"/proc/{self._process.pid}")

    def descriptors(self) -> int:
        return len(list((self._seen / "fd").iterdir()))

    def private_bytes(self) -> int:
        """Its own memory, as the kernel counts it."""
        lines = (self._seen / "smaps_rollup").read_text(encoding="ascii").splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))

    def thread(self, name: str) -> int:
        """The number of the thread of this name."""
        return next(
            int(task.name)
            for task in (self._seen / "task").iterdir()
            if (task / "comm").read_text().strip() == name
        )

    def non_zero(self) -> dict[str, int]:
        return {name: value for name, value in self.counters().items() if value}


if __name__ == "__main__":
    main(*sys.argv[1:])
