# SPDX-License-Identifier: Apache-2.0
"""Voice-like traffic and what became of it: 50 packets a second each way, as a telephone call sends them.

    caller ── packet n, sent at t0 ──► reflector ── packet n, sent at t0, turned at t1 ──► caller, at t2

Both ends run on one machine and read one CLOCK_MONOTONIC: t1 - t0 and t2 - t1 are honest one-way delays.
As a program this is the caller: it prints `up` when the first packet came back, and its Report as JSON in
the end, which SIGTERM brings about sooner. It knows only addresses, not which tunnel lies between them.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

REPOSITORY = Path(__file__).resolve().parents[2]
PORT = 4007
INTERVAL = 0.02  # 20 ms of sound in a packet
PAYLOAD = 172  # RTP header and G.711: 200 bytes with UDP and IPv4
STRAGGLERS_SECONDS = 1.0
PACKET = struct.Struct("!QQQQ")  # sequence number, t0 ns, t1 ns, how many the reflector has turned so far
PADDING = bytes(PAYLOAD - PACKET.size)


class Direction(msgspec.Struct, frozen=True, kw_only=True):
    """What one direction did to the packets."""

    sent: int
    received: int
    p50_ms: float
    p99_ms: float
    jitter_ms: float
    longest_gap_ms: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole call. `received` counts round trips; the percentiles are one way, over both directions."""

    sent: int
    received: int
    p50_ms: float
    p99_ms: float
    jitter_ms: float
    longest_gap_ms: float
    up: Direction
    down: Direction

    @property
    def lost(self) -> int:
        """How many packets did not come back."""
        return self.sent - self.received


class Trip(msgspec.Struct, frozen=True):
    """One packet that came back: when it left, was turned and arrived, in nanoseconds."""

    left: int
    turned: int
    arrived: int


def percentile(values: Sequence[float], share: float) -> float:
    """Give the smallest of `values` that at least `share` of them do not exceed; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def jitter(delays: Sequence[float]) -> float:
    """Give the interarrival jitter of RFC 3550 section 6.4.1 after the last packet."""
    smoothed = 0.0
    for earlier, later in itertools.pairwise(delays):
        smoothed += (abs(later - earlier) - smoothed) / 16
    return smoothed


def evaluate(sent: int, turned: int, trips: Sequence[Trip]) -> Report:
    """Turn the trips of a call, in order of arrival, into its report; `turned` counts at the reflector."""
    up = _direction(sent, turned, [(trip.left, trip.turned) for trip in trips])
    down = _direction(turned, len(trips), [(trip.turned, trip.arrived) for trip in trips])
    delays = [_ms(trip.turned - trip.left) for trip in trips] + [
        _ms(trip.arrived - trip.turned) for trip in trips
    ]
    return Report(
        sent=sent,
        received=len(trips),
        p50_ms=percentile(delays, 0.5),
        p99_ms=percentile(delays, 0.99),
        jitter_ms=max(up.jitter_ms, down.jitter_ms),
        longest_gap_ms=max(up.longest_gap_ms, down.longest_gap_ms),
        up=up,
        down=down,
    )


def _direction(sent: int, received: int, pairs: Sequence[tuple[int, int]]) -> Direction:
    delays = [_ms(arrived - left) for left, arrived in pairs]
    arrivals = sorted(arrived for _, arrived in pairs)
    gaps = [_ms(later - earlier) for earlier, later in itertools.pairwise(arrivals)]
    return Direction(
        sent=sent,
        received=received,
        p50_ms=percentile(delays, 0.5),
        p99_ms=percentile(delays, 0.99),
        jitter_ms=round(jitter(delays), 3),
        longest_gap_ms=max(gaps, default=0.0),
    )


def _ms(nanoseconds: int) -> float:
    return round(nanoseconds / 1e6, 3)


def reflect(sock: socket.socket) -> None:
    """Turn every packet round for ever, stamped with the time and a count per caller."""
    counts: dict[object, int] = {}
    while True:
        data, caller = sock.recvfrom(2048)
        if len(data) < PACKET.size:
            continue
        number, left, _, _ = PACKET.unpack_from(data)
        counts[caller] = counts.get(caller, 0) + 1
        stamped = PACKET.pack(number, left, time.monotonic_ns(), counts[caller])
        with contextlib.suppress(OSError):  # a caller that is gone answers with ICMP
            sock.sendto(stamped + data[PACKET.size :], caller)


class Caller:
    """Sends on its schedule whatever the path does, and notes what comes back; duplicates do not count."""

    def __init__(self, sock: socket.socket) -> None:
        """Call over `sock`, a connected UDP socket."""
        self._sock = sock
        self._sock.setblocking(False)
        self._trips: dict[int, Trip] = {}
        self._turned = 0
        self._over = False

    def hang_up(self) -> None:
        """End the call before its time; what was said until then is reported."""
        self._over = True

    def run(self, seconds: float) -> Report:
        """Talk for `seconds`, wait a little for stragglers, and report."""
        begin = time.monotonic()
        announced = False
        sent = 0
        while sent < round(seconds / INTERVAL) and not self._over:
            self._receive_until(begin + sent * INTERVAL)
            with contextlib.suppress(OSError):  # no route, no buffer: lost like any other packet
                self._sock.send(PACKET.pack(sent, time.monotonic_ns(), 0, 0) + PADDING)
            sent += 1
            if self._trips and not announced:
                announced = True
                sys.stdout.write("up\n")
                sys.stdout.flush()
        end = time.monotonic() + STRAGGLERS_SECONDS
        while len(self._trips) < sent and time.monotonic() < end:
            self._receive_until(min(end, time.monotonic() + INTERVAL))
        return evaluate(sent, self._turned, list(self._trips.values()))

    def _receive_until(self, when: float) -> None:
        while True:
            rest = when - time.monotonic()
            ready, _, _ = select.select([self._sock], [], [], max(0.0, rest))
            if ready:
                self._receive()
            elif rest <= 0:
                return

    def _receive(self) -> None:
        try:
            data = self._sock.recv(2048)
        except OSError:  # ICMP errors of packets sent earlier
            return
        arrived = time.monotonic_ns()
        number, left, turned, count = PACKET.unpack_from(data)
        self._turned = max(self._turned, count)
        self._trips.setdefault(number, Trip(left, turned, arrived))


def command(target: str, seconds: float, *, source: str = "", port: int = PORT) -> list[str]:
    """Give the command line of a call; run it in REPOSITORY."""
    bind = ["--source", source] if source else []
    return [
        sys.executable,
        "-m",
        "tests.lab.voice",
        target,
        "--port",
        str(port),
        "--seconds",
        str(seconds),
        *bind,
    ]


def main() -> None:
    """Call, and print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--source", default="")
    arguments = parser.parse_args()
    family = socket.AF_INET6 if ":" in arguments.target else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        if arguments.source:
            sock.bind((arguments.source, 0))
        sock.connect((arguments.target, arguments.port))
        caller = Caller(sock)
        signal.signal(signal.SIGTERM, lambda *_: caller.hang_up())
        report = caller.run(arguments.seconds)
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")


if __name__ == "__main__":
    main()
