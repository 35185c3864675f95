# SPDX-License-Identifier: Apache-2.0
"""The gateway's figures for Prometheus: a registry of one scrape, and the page it is served on.

Made anew for each scrape out of what status and counters say at that moment, so that nothing is counted
twice. The page may be reached over TCP where the operator asks for it; it shows figures, never who.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import TracebackType
from typing import Self

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from eseg.report import CLASSES, DIRECTIONS, DROPS, Status, family

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
GAUGES = {
    "connections_open": "TCP connections that are open",
    "connections_tls": "TCP connections inside TLS",
    "connections_half_identified": "accepted connections whose protocol is not known yet",
    "connections_ike_half_open": "identified connections that charon has not answered yet",
    "bans_active": "prefixes that are banned",
    "relays_open": "HTTP clients handed to the web backend",
    "queued_bytes": "memory of queues and of partial frames",
    "memory_bytes": "memory that grows with connections and traffic",
}
SCALARS = {
    "accepted": "TCP connections accepted",
    "accept_errors": "accept() failures that were not the peer's",
    "introduced": "connections whose client a load balancer named",
    "first_ike": "connections on which IKE began",
    "tls_begun": "TLS handshakes begun",
    "tls_established": "TLS handshakes that succeeded; why others failed: eseg_closed_total",
    "tls_resumed": "TLS handshakes by a session ticket",
    "tls_version_1_2": "TLS connections of version 1.2",
    "tls_version_1_3": "TLS connections of version 1.3",
    "tls_kernel_send": "TLS connections that the kernel encrypts",
    "tls_kernel_receive": "TLS connections that the kernel decrypts",
    "bans": "sources banned for what they did",
    "relays_failed": "HTTP clients whom the web backend failed",
    "relay_to_backend_bytes": "bytes of HTTP clients to the web backend",
    "relay_to_client_bytes": "bytes of the web backend to HTTP clients",
    "link_down": "times the link was seen gone",
}
FLOWS = {
    "bytes": "bytes of datagrams carried, framing not counted",
    "frames": "datagrams carried",
    "esp_frames": "ESP packets carried",
}
FAMILIES = {
    "closed": ("reason", "TCP connections closed"),
    "identified": ("protocol", "TCP connections by what their first bytes told"),
    "unknown_first_byte": ("byte", "connections of unknown protocol by their first byte"),
}


def page(status: Status, sessions: Mapping[str, int] | None) -> bytes:
    """Give the text of a scrape; `sessions` counts authenticated clients by protocol, None when unknown."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(status, sessions))
    return generate_latest(registry)


class _Snapshot(Collector):
    """One moment of one gateway."""

    def __init__(self, status: Status, sessions: Mapping[str, int] | None) -> None:
        self._status, self._sessions = status, sessions

    def collect(self) -> Iterator[Metric]:
        """Yield every figure."""
        status = self._status
        yield InfoMetricFamily(
            "eseg",
            "this gateway",
            {
                "instance": status.instance,
                "version": status.version,
                "config_hash": status.config_hash,
                "esp": status.charon.esp,
                "charon": status.charon.version,
            },
        )
        yield GaugeMetricFamily("eseg_uptime_seconds", "since the start", status.uptime_seconds)
        yield GaugeMetricFamily("eseg_healthy", "1 when link and charon are well", int(status.healthy))
        yield from self._charon()
        yield from self._pump(status.pump.counters)
        deadline = CounterMetricFamily(
            "eseg_deadline_closed", "connections closed for want of an IKE_SA", labels=["reason"]
        )
        for reason, count in status.deadlines.items():
            deadline.add_metric([reason], count)
        yield deadline

    def _charon(self) -> Iterator[Metric]:
        charon = self._status.charon
        yield GaugeMetricFamily("eseg_charon_up", "1 when charon answers", int(charon.health == "up"))
        yield CounterMetricFamily("eseg_charon_restarts", "charons that replaced another", charon.restarts)
        for name, value, text in (
            ("ike_sas", charon.ike_sas, "IKE_SAs that charon holds"),
            ("half_open", charon.half_open, "IKE_SAs whose peer is not authenticated yet"),
        ):
            if value is not None:
                yield GaugeMetricFamily(f"eseg_{name}", text, value)
        if self._sessions is not None:
            clients = GaugeMetricFamily("eseg_sessions", "sessions with an IKE_SA", labels=["protocol"])
            for protocol, count in self._sessions.items():
                clients.add_metric([protocol], count)
            yield clients

    @staticmethod
    def _pump(counters: Mapping[str, int]) -> Iterator[Metric]:
        for name, text in GAUGES.items():
            yield GaugeMetricFamily(f"eseg_{name}", text, counters.get(name, 0))
        for name, text in SCALARS.items():
            yield CounterMetricFamily(f"eseg_{name}", text, counters.get(name, 0))
        for name, text in FLOWS.items():
            metric = CounterMetricFamily(f"eseg_{name}", text, labels=["direction"])
            for direction in DIRECTIONS:
                metric.add_metric([direction], counters.get(f"{direction}_{name}", 0))
            yield metric
        dropped = CounterMetricFamily("eseg_dropped", "datagrams lost here", labels=["direction", "cause"])
        for direction in DIRECTIONS:
            for cause in DROPS[direction]:
                dropped.add_metric([direction, cause], counters.get(f"{direction}_{cause}", 0))
        yield dropped
        waited = CounterMetricFamily("eseg_waited", "datagrams that had to wait", labels=["class"])
        for name in CLASSES:
            waited.add_metric([name], counters.get(f"link_to_stream_queued_{name}", 0))
        yield waited
        yield CounterMetricFamily(
            "eseg_demoted",
            "datagrams that matter, beyond their share and treated as bulk",
            counters.get("link_to_stream_demoted", 0),
        )
        for name, (label, text) in FAMILIES.items():
            metric = CounterMetricFamily(f"eseg_{name}", text, labels=[label])
            for member, count in family(counters, f"{name}_").items():
                metric.add_metric([member], count)
            yield metric


def bind(address: str, port: int) -> socket.socket:
    """Give a socket to listen on. Raises OSError when the port cannot be had."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
    except OSError:
        listener.close()
        raise
    return listener


class Exporter:
    """Serves the page on an address and port of its own; an async context manager."""

    def __init__(self, listener: socket.socket, scrape: Callable[[], Awaitable[bytes]]) -> None:
        """Prepare to serve what `scrape` gives on `listener`, see bind()."""
        self._listener, self._scrape = listener, scrape
        app = web.Application(client_max_size=1024)
        app.router.add_get("/metrics", self._answer)
        self._runner = web.AppRunner(app, access_log=None)

    async def _answer(self, _: web.Request) -> web.Response:
        return web.Response(body=await self._scrape(), headers={"Content-Type": CONTENT_TYPE})

    async def __aenter__(self) -> Self:
        """Serve."""
        await self._runner.setup()
        await web.SockSite(self._runner, self._listener).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        await self._runner.cleanup()
