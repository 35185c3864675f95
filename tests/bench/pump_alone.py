# SPDX-License-Identifier: Apache-2.0
"""Case `pump`: how much of plain TCP on the same path is left when the pump stands in it; no charon, no ESP.

Both ends are tests/bench/load.c, which stands where a client's TCP and the gateway's charon or XFRM would.
"""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.bench import build
from tests.bench.case import Case, Comparison, Metrics, Settings, Variant
from tests.bench.pump_lab import PORT, PumpHost, pump_lab
from tests.lab.topology import GW, UE
from tests.lab.wait import until

CONGESTION = "cubic"
PLAIN_PORT = 8080
SPARE_SECONDS = 30.0
METRIC = "goodput"


@dataclass(frozen=True, slots=True)
class Path:
    """One way through the lab: a path of load.c, from whom to whom, in which portions."""

    name: str
    kind: str
    upwards: bool
    size: int
    batch: bool
    plain: str | None  # what it is compared with


PLAIN_UP, PLAIN_DOWN = "plain TCP up", "plain TCP down"
PATHS = (
    Path(PLAIN_UP, "tcp", True, 1400, True, None),
    Path(PLAIN_DOWN, "tcp", False, 1400, True, None),
    Path("stream to link, 1400", "stream_to_link", True, 1400, True, PLAIN_UP),
    Path("stream to link, 200", "stream_to_link", True, 200, True, PLAIN_UP),
    Path("stream to link, 1400, receiver without GRO", "stream_to_link", True, 1400, False, PLAIN_UP),
    Path("stream to link, 200, receiver without GRO", "stream_to_link", True, 200, False, PLAIN_UP),
    Path("link to stream, 1400", "link_to_stream", False, 1400, True, PLAIN_DOWN),
    Path("link to stream, 200", "link_to_stream", False, 200, True, PLAIN_DOWN),
    Path("link to stream, 1400, sender without GSO", "link_to_stream", False, 1400, False, PLAIN_DOWN),
    Path("link to stream, 200, sender without GSO", "link_to_stream", False, 200, False, PLAIN_DOWN),
)
GOALS = {"stream to link, 1400": 0.85}


def _measure(host: PumpHost, settings: Settings, path: Path) -> Metrics:
    ue, gw = str(host.topology.ue.path), str(host.topology.gw.path)
    sender, receiver = (ue, gw) if path.upwards else (gw, ue)
    # Plain TCP is accepted by its receiver, so downwards it goes to the UE's address.
    address = GW if path.upwards or path.kind != "tcp" else UE
    argv = [str(build.program("load")), path.kind, sender, receiver, address]
    argv += [str(PLAIN_PORT if path.kind == "tcp" else PORT), str(path.size), str(settings.seconds)]
    argv += [str(settings.max_bytes), str(int(path.batch))]
    before = host.ask()["counters"]
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, timeout=settings.seconds + SPARE_SECONDS
    )
    if done.returncode != 0:
        raise RuntimeError(f"{path.name}: {' '.join(argv)}: {done.stderr.strip()}; pump: {host.story()}")
    # What the sender had written still flows; the next one's sink must not get it.
    until(lambda: host.ask()["counters"]["connections_open"] == 0, SPARE_SECONDS, "the pump is idle again")
    figures = json.loads(done.stdout)
    if path.kind != "tcp" and figures["misshapen"]:
        raise RuntimeError(f"{path.name}: {figures['misshapen']} datagrams of another size than was sent")
    lost = figures["lost_bytes"] / max(1, figures["lost_bytes"] + figures["bytes"])
    return {
        METRIC: figures["gbit_per_second"],
        "lost": lost,
        **_batching(path, before, host.ask()["counters"]),
    }


def _batching(path: Path, before: Mapping[str, int], after: Mapping[str, int]) -> Metrics:
    """Frames that the pump moved with one message to the kernel: what its speed hangs on."""
    if path.kind == "tcp":
        return {}
    calls = f"{path.kind}_sends" if path.upwards else f"{path.kind}_writes"
    moved = {name: after[name] - before[name] for name in (f"{path.kind}_frames", calls)}
    return {"frames a call": moved[f"{path.kind}_frames"] / max(1, moved[calls])}


@contextlib.contextmanager
def _lab(settings: Settings) -> Iterator[Sequence[Variant]]:
    with pump_lab(congestion=CONGESTION) as host:
        yield [Variant(path.name, functools.partial(_measure, host, settings, path)) for path in PATHS]


PUMP = Case(
    name="pump",
    title="(a) the pump alone, against plain TCP on the same path",
    lab=_lab,
    comparisons=tuple(
        Comparison(
            metric=METRIC, unit="Gbit/s", ours=path.name, against=path.plain, goal=GOALS.get(path.name)
        )
        for path in PATHS
        if path.plain is not None
    ),
)
