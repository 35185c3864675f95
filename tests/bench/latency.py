# SPDX-License-Identifier: Apache-2.0
"""Case `latency`: voice beside a saturating upload in the same tunnel, on a narrow line with a deep buffer.

    UE ── firewall ── internet ═ 20 Mbit/s, 100 ms of buffer ═► gw ── core

Voice is 50 packets a second each way, its delay one way, upwards. "Over idle" is the 99th percentile less
that of the same call without the upload. The last figure is of another client of ours that only talks.
"""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from tests.bench import ocserv, openvpn, tunnel
from tests.bench.build import REPOSITORY
from tests.bench.case import Case, Comparison, Direction, Metrics, Settings, Variant
from tests.bench.tunnel import Tunnel
from tests.lab import voice
from tests.lab.lab import Lab
from tests.lab.topology import CORE, GW
from tests.lab.wait import until

CONGESTION = "cubic"
OURS, NONE = "TrIKESec over TCP 80", "no tunnel"
MEGABITS = 20.0
LINE = ["rate", f"{MEGABITS:g}mbit", "burst", "4kb", "limit", "250kb"]  # bytes of 100 ms
UP_SECONDS, SPARE_SECONDS, LEAD_SECONDS = 30.0, 30.0, 3
OVER_IDLE, LOST, SHARE = "voice p99 over idle", "voice lost", "bulk share of the line"
OTHER = "another client's voice p99 over idle"


def _call(of: Tunnel, seconds: float) -> subprocess.Popen[bytes]:
    argv = voice.command(CORE, seconds, source=of.inner)
    return of.ue.popen(argv, stdout=subprocess.PIPE, cwd=REPOSITORY)


def _said(call: subprocess.Popen[bytes], seconds: float) -> voice.Report:
    said, _ = call.communicate(timeout=seconds + SPARE_SECONDS)
    return msgspec.json.decode(said.splitlines()[-1], type=voice.Report)


def _measure(of: Tunnel, other: Tunnel, lab: Lab, settings: Settings) -> Metrics:
    seconds = max(2.0, 2 * settings.seconds)
    idle = [_said(call, seconds) for call in [_call(of, seconds), _call(other, seconds)]]
    core = lab.topology.core
    argv = ["iperf3", "--server", "--one-off", "--port", str(tunnel.PORT)]
    server = core.popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(
            lambda: core.run(["ss", "-Hltn", f"sport = :{tunnel.PORT}"]).stdout, UP_SECONDS, "iperf3 listens"
        )
        argv = ["iperf3", "--client", CORE, "--port", str(tunnel.PORT), "--bind", of.inner, "--json"]
        argv += ["--time", str(round(seconds) + 1), "--omit", str(LEAD_SECONDS)]
        upload = of.ue.popen(argv, stdout=subprocess.PIPE)
        with contextlib.suppress(subprocess.TimeoutExpired):
            upload.wait(LEAD_SECONDS)  # the upload fills the line before anybody talks
        loaded = [_said(call, seconds) for call in [_call(of, seconds), _call(other, seconds)]]
        said = json.loads(upload.communicate(timeout=seconds + SPARE_SECONDS)[0])
    finally:
        core.stop(server)
    if "error" in said:
        raise RuntimeError(f"{of.name}: iperf3: {said['error']}")
    mine, theirs = loaded
    return {
        "voice p50": mine.up.p50_ms,
        "voice p99": mine.up.p99_ms,
        OVER_IDLE: mine.up.p99_ms - idle[0].up.p99_ms,
        LOST: 100 * (1 - mine.up.received / mine.up.sent),
        SHARE: float(said["end"]["sum_received"]["bits_per_second"]) / 1e6 / MEGABITS,
        OTHER: theirs.up.p99_ms - idle[1].up.p99_ms,
    }


def _ours(lab: Lab) -> Tunnel:
    ue = lab.neighbour()
    ue.congestion(CONGESTION)
    client = lab.client(namespace=ue, udp=False)
    client.start()
    client.until_up("tcp")
    return Tunnel(OURS, ue, client.inner_address())


def _bare(lab: Lab) -> Tunnel:
    """Reach the core network as it is, by the same line."""
    ue = lab.neighbour()
    ue.congestion(CONGESTION)
    lab.topology.internet.ip(f"route add 10.9.0.0/24 via {GW}")
    said = json.loads(ue.run(["ip", "-j", "-4", "route", "get", CORE]).stdout)
    return Tunnel(NONE, ue, said[0]["prefsrc"])


@contextlib.contextmanager
def _lab(settings: Settings) -> Iterator[Sequence[Variant]]:
    lab = Lab()
    lab.topology.congestion(CONGESTION)
    with lab, contextlib.ExitStack() as peers:
        tunnels, other = [_ours(lab), _bare(lab)], _ours(lab)
        for name, bring_up in (("openvpn", openvpn.openvpn), ("ocserv", ocserv.ocserv)):
            ue = lab.neighbour()
            ue.congestion(CONGESTION)
            directory = Path(lab.directory) / name
            tunnels.append(peers.enter_context(bring_up(lab.topology.gw, ue, directory, lab.authority)))
        for each in (*tunnels, other):
            until(
                functools.partial(tunnel.answers, each), UP_SECONDS, f"a ping comes back through {each.name}"
            )
        lab.topology.internet.run(["tc", "qdisc", "add", "dev", "gw0", "root", "tbf", *LINE])
        yield [
            Variant(each.name, functools.partial(_measure, each, other, lab, settings)) for each in tunnels
        ]


def _row(metric: str, unit: str, ours: str, goal: float | None = None, *, least: bool = False) -> Comparison:
    direction: Direction = "at least" if least else "at most"
    return Comparison(metric=metric, unit=unit, ours=ours, goal=goal, direction=direction)


LATENCY = Case(
    name="latency",
    title="(e) voice beside an upload, 20 Mbit/s with 100 ms of buffer",
    lab=_lab,
    comparisons=(
        _row(OVER_IDLE, "ms", OURS, 20.0),
        _row(LOST, "%", OURS, 0.5),
        _row(SHARE, "", OURS, 0.85, least=True),
        _row(OTHER, "ms", OURS, 10.0),
        *(_row(OVER_IDLE, "ms", name) for name in (NONE, openvpn.NAME, ocserv.NAME)),
        *(_row(SHARE, "", name) for name in (NONE, openvpn.NAME, ocserv.NAME)),
    ),
)
