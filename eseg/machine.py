# SPDX-License-Identifier: Apache-2.0
"""The checks of the machine alone: sysctls, sockets, limits. Each is a look that yields what it finds."""

from __future__ import annotations

import os
import re
import resource
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

from eseg import tls
from eseg.findings import Check, Machine
from eseg.front import congestion_of, pools_of
from eseg.preflight import SPARE_DESCRIPTORS

SYSCTL = Path("/proc/sys/net")
SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104  # linux/udp.h
RESERVED = 16  # the first addresses of a pool of flow addresses belong to the link


def swanctl_version(swanctl: Path | None) -> str:
    """Give strongSwan's version as its tool tells it."""
    if swanctl is None:
        return "version unknown (swanctl is not installed)"
    try:
        done = subprocess.run([swanctl, "--version"], check=False, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"version unknown ({error})"
    # It says its version wherever it comes by, among complaints that no charon answers.
    found = re.search(r"strongSwan U?\d+\.[\w.]+", done.stdout + done.stderr)
    return found[0] if found else "version unknown"


def forwarding(seen: Machine) -> Iterator[Check]:
    """Without it clients reach this machine and nothing behind it. A link that is up tells it itself."""
    if seen.config is None or seen.status is not None:
        return
    families = {ip_network(text.partition("[")[0]).version for text in _reached(seen)}
    for version, key in ((4, "ipv4/ip_forward"), (6, "ipv6/conf/all/forwarding")):
        if version not in families:
            continue
        name = f"net.{key.replace('/', '.')}"
        if _sysctl(key) == "1":
            yield Check.ok("forwarding", f"{name} = 1")
        else:
            yield Check.warn("forwarding", f"{name} is off: nothing behind it is reached", f"sysctl {name}=1")


def _reached(seen: Machine) -> Iterator[str]:
    for connection in seen.config.connection if seen.config else ():
        for child in connection.children:
            yield from (selector for selector in child.local_ts if not selector.startswith("dynamic"))


def reverse_path(_: Machine) -> Iterator[Check]:
    """Only told: the link is built to work with any value."""
    yield Check.ok("rp_filter", f"all = {_sysctl('ipv4/conf/all/rp_filter')}; the link works with any")


def congestion(seen: Machine) -> Iterator[Check]:
    """Loss-based control starves a voice stream over a lossy path."""
    if seen.config is None:
        return
    name, problem = congestion_of(seen.config)
    if problem:
        found, _, cure = problem.partition("; ")
        yield Check.warn("congestion", found, cure)
    else:
        yield Check.ok(
            "congestion", name or f"the system's choice ({_sysctl('ipv4/tcp_congestion_control')})"
        )


def kernel_tls(seen: Machine) -> Iterator[Check]:
    """Only told: TLS works without it, at the price of copies."""
    if seen.config is None or seen.config.tls is None:
        return
    found = tls.kernel(seen.config.tls.kernel)
    if found.can or seen.config.tls.kernel == "off":
        yield Check.ok("kernel TLS", found.why)
    else:
        cure = "nothing must be done: it would save copies. modprobe tls, where the kernel has it"
        yield Check.warn("kernel TLS", found.why, cure)


def offload(_: Machine) -> Iterator[Check]:
    """Batching on the link is most of the pump's speed."""
    missing = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for name, option, value in (("UDP_SEGMENT", UDP_SEGMENT, 1400), ("UDP_GRO", UDP_GRO, 1)):
            try:
                probe.setsockopt(SOL_UDP, option, value)
            except OSError:
                missing.append(name)
    if missing:
        yield Check.warn("UDP offload", f"{', '.join(missing)} missing", "use Linux 5.0 or later")
    else:
        yield Check.ok("UDP offload", "UDP_SEGMENT and UDP_GRO")


def descriptors(seen: Machine) -> Iterator[Check]:
    """Each connection is a descriptor; the limit that counts is that of the running gateway."""
    if seen.config is None:
        return
    wanted = seen.config.limits.connections + seen.config.relays + SPARE_DESCRIPTORS
    if seen.status is not None:
        allowed = resource.prlimit(seen.status["pid"], resource.RLIMIT_NOFILE)[0]
        whose = "the running gateway"
    else:
        allowed, whose = resource.getrlimit(resource.RLIMIT_NOFILE)[1], "this shell"
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        cure = f"LimitNOFILE={wanted} in the unit, or lower limits.connections"
        yield Check.warn("descriptors", f"{allowed} for {whose}, {wanted} may be needed", cure)
    else:
        yield Check.ok("descriptors", f"enough for {seen.config.limits.connections} connections")


def web_backend(seen: Machine) -> Iterator[Check]:
    """A backend that is down is told to every web client as 502."""
    if seen.config is None or seen.config.http.where is None:
        return
    where, backend = seen.config.http.where, seen.config.http.backend
    if isinstance(where, str):
        family = socket.AF_UNIX
    else:
        family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(seen.config.http.connect_seconds)
        try:
            probe.connect(where)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else "no answer in time"
            yield Check.warn(
                "web backend", f"{backend} does not answer ({why})", "start it, or mend http.backend"
            )
        else:
            yield Check.ok("web backend", f"{backend} accepts connections")


def capacity(seen: Machine) -> Iterator[Check]:
    """A pool that is smaller than the limit is the limit."""
    if seen.config is None:
        return
    for pool in pools_of(seen.config):
        if pool is None:
            continue
        room = pool.num_addresses - RESERVED
        if room < seen.config.limits.connections:
            cure = "write a shorter prefix, or lower limits.connections"
            yield Check.warn("flow addresses", f"{pool} stands for {room} connections at most", cure)
        else:
            yield Check.ok("flow addresses", f"{pool} stands for {min(room, 1 << 24)} connections")


def _sysctl(key: str) -> str:
    try:
        return (SYSCTL / key).read_text().strip()
    except OSError as error:
        return f"unknown ({os.strerror(error.errno or 0)})"
