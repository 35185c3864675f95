# SPDX-License-Identifier: Apache-2.0
"""The demo's report: what was seen, as `build/demo/report.json`, and which of it had to hold."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

UDP_VERDICT_SECONDS = 3.0  # UDP that is silently dropped is recognised by then
FIRST_ESP_SECONDS = 5.0  # and ESP flows over TCP by then, counted from the client's start
VOICE_LOSS = 0.01  # nothing loses a packet here but a machine too busy to read its sockets
MOVE_LOSS = 10  # packets of a call that may be lost when the SA changes its path: 0.2 s of voice


class Rung(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One transport that the client tried."""

    rung: str
    port: int | None = None
    result: str
    seconds: float | None = None  # nothing was under way when it was lost


class Ping(msgspec.Struct, frozen=True, kw_only=True):
    """Echo requests through the tunnel."""

    sent: int
    received: int


class Voice(msgspec.Struct, frozen=True, kw_only=True):
    """A call through the tunnel, delays one way."""

    sent: int
    received: int
    p50_ms: float
    p99_ms: float


class EspFrames(msgspec.Struct, frozen=True, kw_only=True):
    """ESP packets that travelled in frames over TCP: up from the client, down to it."""

    up: int
    down: int


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a running call when UDP was unblocked."""

    ok: bool
    lost_packets: int
    new_ike_sa: bool


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The file."""

    rungs: list[Rung]
    inner_address: str
    ping: Ping
    download_bytes: int
    voice: Voice
    esp_frames: EspFrames
    moved_to_udp: Moved
    esp: str


class Verdict(NamedTuple):
    """One line of the table in the end."""

    what: str
    seen: str
    wanted: str
    held: bool


def fate(result: str, seconds: float | None) -> str:
    """Say what became of a rung."""
    return result if seconds is None else f"{result} after {seconds:.1f} s"


def _within(seconds: float | None, limit: float) -> bool:
    return seconds is not None and seconds <= limit


def verdicts(report: Report, *, download_size: int, first_esp_seconds: float) -> list[Verdict]:
    """Judge `report`; the demo succeeded when every verdict held."""
    found = {rung.rung: rung for rung in report.rungs}
    udp, tcp = found.get("udp"), found.get("tcp")
    ping, voice, frames, moved = report.ping, report.voice, report.esp_frames, report.moved_to_udp
    lost = voice.sent - voice.received
    return [
        Verdict(
            "UDP 4500",
            fate(udp.result, udp.seconds) if udp else "not tried",
            f"blocked, known within {UDP_VERDICT_SECONDS:g} s",
            udp is not None and udp.result == "blocked" and _within(udp.seconds, UDP_VERDICT_SECONDS),
        ),
        Verdict(
            "TCP 80",
            fate(tcp.result, tcp.seconds) if tcp else "not tried",
            "established",
            tcp is not None and (tcp.result, tcp.port) == ("established", 80),
        ),
        Verdict(
            "first ESP over TCP",
            f"{first_esp_seconds:.1f} s after the client's start",
            f"within {FIRST_ESP_SECONDS:g} s",
            first_esp_seconds <= FIRST_ESP_SECONDS,
        ),
        Verdict("inner address", report.inner_address or "none", "one", bool(report.inner_address)),
        Verdict("ping", f"{ping.received} of {ping.sent}", "all", 0 < ping.sent == ping.received),
        Verdict(
            "HTTP download",
            f"{report.download_bytes:,} bytes right",
            f"{download_size:,}",
            report.download_bytes == download_size,
        ),
        Verdict(
            "voice",
            f"{voice.received} of {voice.sent}, {voice.p50_ms:.1f} ms, p99 {voice.p99_ms:.1f} ms",
            f"at most {VOICE_LOSS:.0%} lost",
            voice.sent > 0 and lost <= voice.sent * VOICE_LOSS,
        ),
        Verdict(
            "ESP in frames",
            f"{frames.up} up, {frames.down} down",
            "both ways",
            frames.up > 0 and frames.down > 0,
        ),
        Verdict(
            "back on UDP",
            f"{moved.lost_packets} packets of a running call lost" if moved.ok else "it did not move",
            f"at most {MOVE_LOSS} lost",
            moved.ok and moved.lost_packets <= MOVE_LOSS,
        ),
        Verdict(
            "IKE_SA",
            "a new one" if moved.new_ike_sa else "the same throughout",
            "the same",
            not moved.new_ike_sa,
        ),
    ]
