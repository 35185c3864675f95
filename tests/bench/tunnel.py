# SPDX-License-Identifier: Apache-2.0
"""A tunnel from a UE to the core network, whoever makes it, and the three figures that are taken of it.

Goodput is what iperf3's receiver got of one TCP connection inside the tunnel; the round trip is the median of
pings through the idle tunnel. Knows no product.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from statistics import median

from tests.bench.case import Comparison, Metrics, Settings
from tests.lab.netns import Namespace
from tests.lab.topology import CORE
from tests.lab.wait import until

PORT = 5201
START_SECONDS = 10.0
SPARE_SECONDS = 30.0
PING_INTERVAL = 0.01
UP, DOWN, RTT = "goodput up", "goodput down", "round trip"


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A tunnel that is up: whose it is, and the inner address that `ue` has in it."""

    name: str
    ue: Namespace
    inner: str


def answers(tunnel: Tunnel) -> bool:
    """Tell whether a ping comes back through it; the first may wait for routes."""
    argv = ["ping", "-n", "-q", "-c", "1", "-W", "1", "-I", tunnel.inner, CORE]
    return tunnel.ue.run(argv, check=False).returncode == 0


def measure(tunnel: Tunnel, core: Namespace, settings: Settings) -> Metrics:
    """Take the three figures once."""
    return {
        UP: _iperf(tunnel, core, settings),
        DOWN: _iperf(tunnel, core, settings, "--reverse"),
        RTT: _round_trip(tunnel, settings),
    }


def _iperf(tunnel: Tunnel, core: Namespace, settings: Settings, *options: str) -> float:
    argv = ["iperf3", "--server", "--one-off", "--port", str(PORT)]
    server = core.popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _listens(core), START_SECONDS, "iperf3 listens in the core network")
        seconds = max(1, round(settings.seconds))
        argv = ["iperf3", "--client", CORE, "--port", str(PORT), "--bind", tunnel.inner, "--json"]
        argv += ["--time", str(seconds), "--omit", "1", *options]
        said = json.loads(tunnel.ue.run(argv, check=False, seconds=seconds + SPARE_SECONDS).stdout)
    finally:
        core.stop(server)
    if "error" in said:
        raise RuntimeError(f"{tunnel.name}: iperf3: {said['error']}")
    return float(said["end"]["sum_received"]["bits_per_second"]) / 1e6


def _listens(core: Namespace) -> bool:
    return bool(core.run(["ss", "-Hltn", f"sport = :{PORT}"]).stdout)


def _round_trip(tunnel: Tunnel, settings: Settings) -> float:
    argv = ["ping", "-n", "-c", str(settings.pings), "-i", str(PING_INTERVAL), "-W", "1"]
    said = tunnel.ue.run([*argv, "-I", tunnel.inner, CORE], check=False).stdout
    times = [float(time) for time in re.findall(r"time=([\d.]+) ms", said)]
    if len(times) < settings.pings / 2:
        raise RuntimeError(f"{tunnel.name}: {len(times)} of {settings.pings} pings were answered")
    return median(times)


def comparisons(ours: str, against: str) -> list[Comparison]:
    """Give the rows for `ours` against `against`, with what was promised: as fast, and hardly later."""
    return [
        Comparison(metric=UP, unit="Mbit/s", ours=ours, against=against, goal=1.0),
        Comparison(metric=DOWN, unit="Mbit/s", ours=ours, against=against, goal=1.0),
        Comparison(metric=RTT, unit="ms", ours=ours, against=against, goal=1.3, direction="at most"),
    ]
